"""Models that are computed rather than trained: counts, closed forms, alternating solves. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Filter, Ids, Interactions, Queries, Ranking, Schema

if TYPE_CHECKING:
    from scipy import sparse


class ClosedForm:
    """A model without gradients.

    `fit` reads a data set once; `state` names every array that scoring needs, so that saving it and restoring it
    gives bit-equal scores.
    """

    def __init__(self, spec: Any, schema: Schema) -> None:
        self.spec = spec
        self.schema = schema

    @property
    def candidates(self) -> Ids | None:
        """The items it may recommend, int32 codes (a target domain); None for all."""
        return None

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Compute the state from the training events; `progress` is told the share done, in [0, 1]."""
        raise TypeError(f"{type(self).__name__} does not say how it is fitted.")

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Scores, float32 [q, items] (all), [q, i] (`items` [i]) or [q, c] (`items` [q, c], -1 pads).

        NaN where the model cannot say.
        """
        raise TypeError(f"{type(self).__name__} does not say how it scores.")

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays: all that `score` needs."""
        raise TypeError(f"{type(self).__name__} does not say what it keeps.")

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put a saved state back."""
        raise TypeError(f"{type(self).__name__} does not say how it is restored.")


@runtime_checkable
class Vectors(Protocol):
    """Capability: the score is a dot product, so top-k can be found by exact or approximate search."""

    def query_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """Float32 [q, d]; a row of NaN where the model cannot say."""
        ...

    def item_vectors(self) -> NDArray[np.float32]:
        """Float32 [items, d]; a row of NaN for an item never seen in training."""
        ...


@runtime_checkable
class Pictured(Protocol):
    """Capability: a model that has something to show in a report, learned or closed form."""

    def pictures(self, data: Dataset, *, seed: int = 0) -> list[dict[str, Any]]:
        """Plots of the fitted model over its training data, as the plain values of an audit's plot: kind, title, alt,
        x_label, y_label, series."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """Capability: says of a labelled row how likely it is positive, whoever's it is."""

    def predict(self, log: Interactions) -> Any:
        """Probabilities [n] in [0, 1] of rows in the codes of the training data (-1: unknown user or item)."""
        ...

    def labels(self, log: Interactions) -> NDArray[np.float32]:
        """What happened, 0 or 1, float32 [n]; `DataError` where the rows do not say."""
        ...


@runtime_checkable
class Recommender(Protocol):
    """Capability: the model makes its lists itself (slates, rounds, beams, several interests), so their order may
    differ from the order of its scores. `rank` asks for them in place of ranking scores."""

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        """At most `k` distinct items a request, all allowed by `where` (whose `exclude` rows are the requests').

        Lists that end early hold -1 and NaN. Random only through `seed`: the same requests in the same order get the
        same lists, and None asks for the best guess instead of a draw (no exploration: what evaluation measures).
        `rank` asks for a few hundred requests at once.
        """
        ...


def pick(scores: NDArray[np.float32], items: Ids | None) -> NDArray[np.float32]:
    """Choose columns of full scores [q, items]: all (None), the same for every row [i], or own ones [q, c].

    -1 in `items` gives NaN.
    """
    if items is None:
        return scores
    if items.ndim == 1:
        out = scores[:, np.maximum(items, 0)]
        out[:, items < 0] = np.nan
        return out
    out = np.take_along_axis(scores, np.maximum(items, 0).astype(np.int64), axis=1)
    out[items < 0] = np.nan
    return out


def pack(name: str, matrix: sparse.csr_matrix) -> dict[str, NDArray[Any]]:
    """A square sparse matrix as three named arrays."""
    return {
        f"{name}_indptr": matrix.indptr.astype(np.int64),
        f"{name}_indices": matrix.indices.astype(np.int32),
        f"{name}_data": matrix.data.astype(np.float32),
    }


def unpack(name: str, state: Mapping[str, NDArray[Any]], n: int) -> sparse.csr_matrix:
    """The inverse of `pack`."""
    parts = (state[f"{name}_data"], state[f"{name}_indices"], state[f"{name}_indptr"])
    from scipy import sparse

    return sparse.csr_matrix(parts, shape=(n, n))
