"""The validation part as the engine sees it: one number that early stopping watches."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from oakum.data import Dataset
from oakum.splits.protocol import Split, Truth


class Validation:
    """Full ranking of all candidates for the users of the validation part, training items removed."""

    def __init__(self, split: Split, *, users: int = 20_000, seed: int = 0) -> None:
        self.split = split
        truth = split.truth("valid")
        known = np.flatnonzero(truth.histories.lengths > 0)
        if len(known) > users:
            from oakum.seeds import generator

            known = np.sort(generator(seed, "validation users").choice(known, users, replace=False))
        self.truth: Truth = truth.take(known)

    @cached_property
    def dataset(self) -> Dataset:
        """The validation events as a data set, for phases that train on them."""
        assert self.split.valid is not None
        return self.split.train.with_interactions(self.split.valid)

    def measure(self, model: Any, metric: str) -> float:
        """The mean of the metric over the users of the part."""
        from oakum.engine.closed import ClosedForm
        from oakum.engine.scoring import Scoring
        from oakum.metrics import Context, measure
        from oakum.recommending import rank

        if not len(self.truth):
            return 0.0
        scorer = model if isinstance(model, ClosedForm) else Scoring(model, self.split.train)
        k = int(metric.partition("@")[2] or 10)
        truth = self.truth.within(model.candidates)
        if not len(truth):
            return 0.0
        ranking = rank(scorer, truth.queries, k, where=truth.filter(remove_seen=self.split.protocol.remove_seen))
        context = Context.of(self.split.train, propensities=self._propensities(model))
        return float(np.nanmean(measure(ranking, truth, [metric], context)[metric]))

    @staticmethod
    def _propensities(model: Any) -> Any:
        """The chances of exposure that the model was trained with, for metrics that weigh by them."""
        found = getattr(model, "facts", {}).get("propensity")
        return None if found is None else found.cpu().numpy()
