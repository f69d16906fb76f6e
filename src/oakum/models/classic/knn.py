"""Nearest neighbours: what people with your items had, what goes with your items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset, Ids, Queries, Schema
from oakum.engine.closed import ClosedForm, pack, pick, unpack
from oakum.kernels.neighbours import nearest_rows, neighbours
from oakum.kernels.sums import rows_times
from oakum.parameters import Range, Spec


class ItemKNN(Spec):
    """Items similar to what a person had: s = x S with S[i, j] the similarity of items i and j, k kept.

    S[i, j] = <w_i, w_j> / (|w_i| |w_j| + shrink), S[i, i] = 0. Weightings with items as documents and users as terms
    (implicit's): cosine w = x; tf-idf w = x · idf_u, then cosine; bm25 w = x (K1 + 1) / (K1 L_i + x) · idf_u, not
    normalised. `side` says whose k neighbours are kept; the candidate's is better on all sets we measured but sequences.
    decay < 1 counts an event decay^age in the history that asks (age in steps), for logs whose order says something.
    Of equally similar items those of lower code are kept. Memory items · k; time Σ_u |H_u|². Newcomers: their row times S, equal to a known user's.
    """

    slug = "item-knn"
    k: Annotated[int, Range(1, 10_000, search=(20, 500), log=True), "neighbours kept an item"] = 100
    shrink: Annotated[float, Range(0, search=(0, 500)), "pulls similarities of few common users to 0"] = 10.0
    weighting: Annotated[Literal["cosine", "tf-idf", "bm25"], "how a user's event counts"] = "cosine"
    side: Annotated[Literal["candidate", "history"], "whose k nearest are kept"] = "candidate"
    decay: Annotated[float, Range(above=0, high=1, search=(0.5, 1)), "weight of an item one step older"] = 1.0
    k1: Annotated[float, Range(0), "bm25: how fast repeated weight saturates"] = 1.2
    b: Annotated[float, Range(0, 1), "bm25: share of the length normalisation"] = 0.75

    def build(self, schema: Schema) -> ItemKNNModel:
        """An empty graph."""
        return ItemKNNModel(self, schema)


class ItemKNNModel(ClosedForm):
    """A sparse similarity table between items."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Weigh, multiply in blocks, keep k."""
        spec = self.spec
        x = data.matrix.astype(np.float32)
        if spec.weighting != "cosine":
            idf = np.log(data.num_items) - np.log1p(data.user_counts)
            if spec.weighting == "bm25":
                counts = data.item_counts
                length = 1 - spec.b + spec.b * counts / max(1e-12, counts[counts > 0].mean())
                x = x.multiply((spec.k1 + 1) / (spec.k1 * length + 1)[None]).tocsr()
            x = sparse.diags(idf.astype(np.float32)) @ x
        x = x.tocsr().astype(np.float32)
        norms = None
        if spec.weighting != "bm25":
            norms = np.sqrt(np.asarray(x.multiply(x).sum(0)).ravel()).astype(np.float32)
        self.table = neighbours(x, spec.k, norms=norms, shrink=spec.shrink, side=spec.side, progress=progress)
        self.seen = data.item_counts > 0

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """The history's row times the table."""
        histories = queries.histories
        rows = histories.matrix(self.schema.num_items)
        if self.spec.decay < 1:
            weights = (self.spec.decay ** histories.age()).astype(np.float32)
            rows = sparse.csr_matrix((weights, (histories.owners(), histories.items)), shape=rows.shape)
        out = rows_times(rows, self.table)
        out[:, ~self.seen] = np.nan
        out[queries.histories.lengths == 0] = np.nan
        return pick(out, items)

    def state(self) -> dict[str, NDArray[Any]]:
        """The table and which items were seen."""
        return {**pack("table", self.table), "seen": self.seen}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        self.table = unpack("table", state, self.schema.num_items)
        self.seen = state["seen"].astype(bool)


class UserKNN(Spec):
    """What the k people most like you had: s(u, j) = Σ over the k nearest v of cos(x_u, x_v) x_vj.

    Memory: the log itself; time a request: the events of everybody who shares an item. Newcomers: the similarity of
    their row to all training rows, equal to a known user's (who is his own neighbour, which seen-item removal hides).
    """

    slug = "user-knn"
    k: Annotated[int, Range(1, 10_000, search=(50, 400), log=True), "neighbours read a request"] = 100
    shrink: Annotated[float, Range(0, search=(0, 500)), "pulls similarities of few common items to 0"] = 0.0

    def build(self, schema: Schema) -> UserKNNModel:
        """An empty log."""
        return UserKNNModel(self, schema)


class UserKNNModel(ClosedForm):
    """The training rows themselves."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Keep the log."""
        self._keep(data.matrix)

    def _keep(self, x: sparse.csr_matrix) -> None:
        self.x = x.tocsr().astype(np.float32)
        self.xt = self.x.T.tocsr()
        self.norms = np.sqrt(np.diff(self.x.indptr)).astype(np.float32)
        self.seen = np.bincount(self.x.indices, minlength=self.schema.num_items) > 0

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Similarities to all training users, the k largest kept, times their rows."""
        rows = queries.histories.matrix(self.schema.num_items)
        out = nearest_rows(self.x, self.xt, rows, self.spec.k, self.norms, self.spec.shrink)
        out[:, ~self.seen] = np.nan
        out[queries.histories.lengths == 0] = np.nan
        return pick(out, items)

    def state(self) -> dict[str, NDArray[Any]]:
        """The rows, as CSR without data (all ones)."""
        return {"indptr": self.x.indptr.astype(np.int64), "indices": self.x.indices.astype(np.int32)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        ones = np.ones(len(state["indices"]), np.float32)
        shape = (self.schema.num_users, self.schema.num_items)
        self._keep(sparse.csr_matrix((ones, state["indices"], state["indptr"]), shape=shape))
