"""What sequence models too often lose to: repeat the last item, the own history, first-order transitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset, Ids, Queries, Ragged, Schema
from oakum.engine.closed import ClosedForm, pack, pick, unpack
from oakum.kernels.sums import rows_times
from oakum.parameters import Range, Spec

EPSILON = 1e-6  # popularity, scaled to at most this, only breaks ties


class RepeatLast(Spec):
    """The last item again: 1 for it, a trace of popularity for all others.

    Zero by construction while seen items are removed. Memory: one number an item; time: one pass. Newcomers: read.
    """

    slug = "repeat-last"

    def build(self, schema: Schema) -> HistoryModel:
        """An empty count."""
        return HistoryModel(self, schema)

    def weights(self, histories: Ragged) -> NDArray[np.float32]:
        """The weight of each event of the histories, float32 [e]."""
        return (histories.age() == 0).astype(np.float32)


class OwnHistory(RepeatLast):
    """One's own items again, the latest first: s(j) = 2^(−age of the latest j / half-life), age in steps.

    Zero by construction while seen items are removed. Memory: one number an item; time: one pass. Newcomers: read.
    """

    slug = "own-history"
    half_life: Annotated[float, Range(above=0, search=(1, 100), log=True), "steps"] = 5.0

    def weights(self, histories: Ragged) -> NDArray[np.float32]:
        """Decay with the age of the event."""
        return np.exp2(-histories.age() / self.half_life).astype(np.float32)


class Markov(RepeatLast):
    """What came next: T[a, b] = consecutive pairs a → b in training sequences; s = Σ over the history decay^age T[item].

    decay 0 reads the last item only (first order). Rows of T sum to 1, or (normalise off) stay counts, so that events with
    many successors say more where several are read. `skip` > 1 counts pairs up to that distance
    with weight 1 / distance (sequential rules). Memory: pairs that occur; time: one pass. Newcomers: read.
    """

    slug = "markov"
    decay: Annotated[float, Range(0, 1, search=(0, 0.95)), "weight of an item one step older"] = 0.0
    skip: Annotated[int, Range(1, 50, search=(1, 10)), "largest distance of a counted pair"] = 1
    normalise: Annotated[bool, "rows of T sum to 1; false: counts"] = True

    def build(self, schema: Schema) -> HistoryModel:
        """An empty table."""
        return MarkovModel(self, schema)

    def weights(self, histories: Ragged) -> NDArray[np.float32]:
        """decay^age, 0⁰ = 1."""
        return (self.decay ** histories.age()).astype(np.float32)


class HistoryModel(ClosedForm):
    """Scores from the weights of the own events, popularity underneath."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Count popularity."""
        counts = data.item_counts.astype(np.float32)
        self.trace = counts / max(1.0, float(counts.max())) * np.float32(EPSILON)
        self.trace[counts == 0] = np.nan

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """The largest weight of an item in the history; NaN for an empty history."""
        histories = queries.histories
        out = np.zeros((len(queries), self.schema.num_items), np.float32)
        np.maximum.at(out, (histories.owners(), histories.items), self.spec.weights(histories))
        return self._finish(out, histories, items)

    def _finish(self, out: NDArray[np.float32], histories: Ragged, items: Ids | None) -> NDArray[np.float32]:
        out += self.trace
        out[histories.lengths == 0] = np.nan
        return pick(out, items)

    def state(self) -> dict[str, NDArray[Any]]:
        """The trace of popularity."""
        return {"trace": self.trace}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put it back."""
        self.trace = state["trace"]


class MarkovModel(HistoryModel):
    """Scores from a sparse table of transitions."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Count consecutive pairs within users; no pair wraps over the end of a history."""
        super().fit(data)
        histories = data.histories
        owners = histories.owners()
        n = data.num_items
        table = sparse.csr_matrix((n, n), dtype=np.float32)
        for gap in range(1, self.spec.skip + 1):
            inside = owners[gap:] == owners[:-gap]
            a, b = histories.items[:-gap][inside], histories.items[gap:][inside]
            ones = np.full(len(a), 1 / gap, np.float32)
            table = table + sparse.csr_matrix((ones, (a, b)), shape=(n, n))
        if self.spec.normalise:
            total = np.asarray(table.sum(1)).ravel()
            table = sparse.diags(np.where(total > 0, 1 / np.maximum(total, 1e-12), 0)) @ table
        self.table = table.tocsr().astype(np.float32)
        self.table.sort_indices()

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Weights of the history times the table."""
        histories = queries.histories
        weights = self.spec.weights(histories)
        kept = weights > 1e-9
        place = (histories.owners()[kept], histories.items[kept])
        left = sparse.csr_matrix((weights[kept], place), shape=(len(queries), self.schema.num_items))
        return self._finish(rows_times(left, self.table), histories, items)

    def state(self) -> dict[str, NDArray[Any]]:
        """The trace and the table."""
        return {**super().state(), **pack("table", self.table)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        super().restore(state)
        self.table = unpack("table", state, self.schema.num_items)
