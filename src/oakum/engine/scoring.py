"""A learned model seen from outside: NumPy scores, no gradients, silent about what it has never seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from oakum.data import Dataset, Filter, Ids, Interactions, Queries, Ranking
from oakum.engine.closed import Predicts

if TYPE_CHECKING:
    from oakum.metrics.calibration import Predictions


class Scoring:
    """Wraps a torch model. Items without a training event score NaN (unless the model `reads_content`, which can
    place them); trained users without an event are asked as newcomers."""

    def __init__(self, model: Any, data: Dataset | None = None, *, seen_items: NDArray[np.bool_] | None = None) -> None:
        self.model = model
        if data is not None:
            seen_items = data.item_counts > 0
        self.unseen = None if seen_items is None or getattr(model, "reads_content", False) else ~seen_items
        if hasattr(model, "query_vectors") and hasattr(model, "item_vectors"):
            self.query_vectors = self._query_vectors
            self.item_vectors = self._item_vectors
        if hasattr(model, "recommend_lists"):
            self.recommend_lists = self._recommend_lists

    def _numpy(self, make: Any) -> NDArray[np.float32]:
        self.model.eval() if self.model.training else None
        with torch.no_grad():
            out: NDArray[np.float32] = make().float().cpu().numpy()
        return out

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Float32 [q, items], [q, i] or [q, c]."""
        if not isinstance(self.model, Predicts):  # which knows people by their features, also without an event
            queries = _asked(queries)
        out = self._numpy(lambda: self.model.score(queries, items))
        if self.unseen is not None:
            blank = self.unseen[slice(None) if items is None else items]
            out = np.where(blank, np.float32(np.nan), out)
        return out

    def _recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        self.model.eval() if self.model.training else None
        if self.unseen is not None and self.unseen.any():
            deny = np.flatnonzero(self.unseen).astype(np.int32)
            where = Filter(where.allow, deny if where.deny is None else np.union1d(deny, where.deny), where.exclude)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed or 0)
            made: Ranking = self.model.recommend_lists(_asked(queries), k, where, seed)
        return made

    def predict(self, log: Interactions) -> NDArray[np.float64]:
        """The probability of each row, float64 [n]; rows in the codes of the training data."""
        self.model.eval() if self.model.training else None
        with torch.no_grad():
            out: NDArray[np.float64] = self.model.predict(log).double().cpu().numpy()
        return out

    def predictions(self, log: Interactions) -> Predictions:
        """Probabilities beside what happened."""
        from oakum.metrics.calibration import Predictions

        users = None if (log.users < 0).all() else log.users
        return Predictions(self.predict(log), self.model.labels(log), users=users)

    def _query_vectors(self, queries: Queries) -> NDArray[np.float32]:
        return self._numpy(lambda: self.model.query_vectors(_asked(queries)))

    def _item_vectors(self) -> NDArray[np.float32]:
        out = self._numpy(self.model.item_vectors)
        if self.unseen is not None and self.unseen.any():
            out = out.copy()
            out[self.unseen] = np.nan
        return out


def _asked(queries: Queries) -> Queries:
    empty = (queries.histories.lengths == 0) & (queries.users >= 0)
    if not empty.any():
        return queries
    users = np.where(empty, -1, queries.users).astype(np.int32)
    return Queries(users, queries.histories, queries.at, queries.text, queries.fields)
