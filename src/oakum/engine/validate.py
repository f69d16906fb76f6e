"""The validation part as the engine sees it: one number that early stopping watches."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from oakum.data import Dataset
from oakum.errors import ParameterError
from oakum.splits.protocol import Split, Truth


class Validation:
    """Metrics of lists: full ranking of all candidates for the users of the validation part, training items removed.
    Metrics of rows (auc, log_loss ...): the probabilities of its rows."""

    def __init__(self, split: Split, *, users: int = 20_000, seed: int = 0) -> None:
        self.split, self.users, self.seed = split, users, seed

    @cached_property
    def truth(self) -> Truth:
        """What should be found, for people with a past, at most `users` of them."""
        truth = self.split.truth("valid")
        known = np.flatnonzero(truth.histories.lengths > 0)
        if len(known) > self.users:
            from oakum.seeds import generator

            known = np.sort(generator(self.seed, "validation users").choice(known, self.users, replace=False))
        return truth.take(known)

    @cached_property
    def dataset(self) -> Dataset:
        """The validation events as a data set, for phases that train on them."""
        assert self.split.valid is not None
        return self.split.train.with_interactions(self.split.valid)

    def measure(self, model: Any, metric: str) -> float:
        """The mean of the metric over the users (or rows) of the part."""
        from oakum.engine.closed import ClosedForm, Predicts
        from oakum.engine.scoring import Scoring
        from oakum.metrics import Context, measure
        from oakum.metrics import metric as named
        from oakum.recommending import rank

        if named(metric).definition.unit == "row":
            if not isinstance(model, Predicts):
                raise ParameterError(
                    f"'{metric}' is a metric of predicted rows, and this system ranks items: choose ndcg@10, for example."
                )
            found = Scoring(model).predictions(self.dataset.interactions)
            return float(np.nanmean(named(metric).measure(found, None, Context())))
        if not len(self.truth):
            return 0.0
        scorer = model if isinstance(model, ClosedForm) else Scoring(model, self.split.train)
        k = int(metric.partition("@")[2] or 10)
        truth = self.truth.within(model.candidates)
        if not len(truth):
            return 0.0
        where = truth.filter(remove_seen=self.split.protocol.remove_seen)
        ranking = rank(scorer, truth.queries, k, where=where, num_items=self.split.train.num_items)
        context = Context.of(self.split.train, propensities=self._propensities(model))
        return float(np.nanmean(measure(ranking, truth, [metric], context)[metric]))

    @staticmethod
    def _propensities(model: Any) -> Any:
        """The chances of exposure that the model was trained with, for metrics that weigh by them."""
        found = getattr(model, "facts", {}).get("propensity")
        return None if found is None else found.cpu().numpy()


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better (false for log_loss and the like)."""
    from oakum.metrics import metric as named

    return named(metric).better != "lower"
