"""Embarrassingly shallow autoencoder: one linear map from what people had to what they would have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Ids, Queries, Schema
from oakum.engine.closed import ClosedForm, pick
from oakum.errors import ParameterError
from oakum.kernels.neighbours import half_gram
from oakum.kernels.sums import rows_times
from oakum.parameters import Range, Spec


class EASE(Spec):
    """Each item's presence regressed on all others: B = argmin |X − XB|² + λ|B|², zero diagonal.

    Paper: Steck 2019. P = (XᵀX + λ1)⁻¹, B[i, j] = −P[i, j] / P[j, j], s = x B. Memory 4 · items² bytes,
    time items³ (under a second for 3,000 items, a quarter of an hour of one core for
    40,000); refused above `memory_gb`. Newcomers: their row times B, equal to a known user's.
    """

    slug = "ease"
    l2: Annotated[float, Range(above=0, search=(20, 2000), log=True), "λ; grows with the number of users"] = 300.0
    memory_gb: Annotated[float, Range(above=0), "largest memory the fit may need"] = 8.0

    def build(self, schema: Schema) -> EASEModel:
        """An empty map; a catalogue too large for the budget is refused before anything is allocated."""
        need = 4 * schema.num_items**2 / 2**30
        if need > self.memory_gb:
            raise ParameterError(
                f"EASE needs {need:.1f} GiB for {schema.num_items:,} items and memory_gb is {self.memory_gb:g}; "
                "raise memory_gb, or use item-knn or ials, whose memory grows with the data."
            )
        return EASEModel(self, schema)


class EASEModel(ClosedForm):
    """A dense items × items map."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Gram matrix, Cholesky, inverse in place, division by the diagonal of the *column*."""
        from scipy.linalg import lapack

        gram = half_gram(data.matrix)  # what lies above the diagonal here lies below it in the order of LAPACK
        gram.flat[:: len(gram) + 1] += np.float32(self.spec.l2)
        if progress is not None:
            progress(0.1)
        lower, info = lapack.spotrf(gram.T, lower=1, overwrite_a=1)
        inverse, info2 = lapack.spotri(lower, lower=1, overwrite_c=1)
        if info or info2:
            raise ParameterError(f"EASE could not invert its Gram matrix; raise l2 (now {self.spec.l2:g}).")
        out = inverse.T  # row by row in memory, filled from the diagonal on
        n, step = len(out), 1024
        scale = (-1 / np.diagonal(out)).astype(np.float32)
        for start in range(0, n, step):  # mirror in blocks, each row's part below the diagonal from the column above it
            stop = min(n, start + step)
            for low in range(0, start, step):
                out[start:stop, low : low + step] = out[low : low + step, start:stop].T
            block = out[start:stop, start:stop]
            block[:] = np.triu(block) + np.triu(block, 1).T
        for start in range(0, n, step):
            out[start : start + step] *= scale
        np.fill_diagonal(out, 0.0)
        self.map = np.ascontiguousarray(out, np.float32)
        self.seen = data.item_counts > 0

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """The history's row times the map."""
        out = rows_times(queries.histories.matrix(self.schema.num_items), self.map)
        out[:, ~self.seen] = np.nan
        out[queries.histories.lengths == 0] = np.nan
        return pick(out, items)

    def state(self) -> dict[str, NDArray[Any]]:
        """The map and which items were seen."""
        return {"map": self.map, "seen": self.seen}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        self.map, self.seen = state["map"], state["seen"].astype(bool)
