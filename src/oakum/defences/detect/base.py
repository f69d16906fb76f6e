"""Detectors: one score a user, higher is more suspicious; they are judged apart from what is done with the score."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset
from oakum.defences.base import Defence, Marks, without_users
from oakum.errors import DataError
from oakum.metrics.calibration import auc
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import proportion
from oakum.parameters import Range

Floats = NDArray[np.float64]


class Detector(Defence):
    """Takes the most suspicious accounts out before training. Blind to labels."""

    share: Annotated[float | None, Range(0, 0.5), "share of users flagged; none cuts at the knee of the scores"] = 0.03

    def scores(self, data: Dataset) -> Floats:
        """Float64 [users], higher is more suspicious; NaN for users without events."""
        raise TypeError(f"{type(self).__name__} does not say how it scores.")

    def clean(self, data: Dataset) -> tuple[Dataset, Marks]:
        """The data without the flagged accounts."""
        scores = self.scores(data)
        known = np.flatnonzero(np.isfinite(scores))
        count = knee(scores[known]) if self.share is None else round(self.share * len(known))
        flagged = known[np.argsort(-scores[known], kind="stable")[:count]]
        return without_users(data, flagged), Marks("users", scores, flagged)


def knee(scores: Floats, *, most: float = 0.2) -> int:
    """How many of the highest scores stand apart: the point of the falling curve of the `most` share of users that lies
    farthest below the straight line between its ends (Satopää et al. 2011); 0 where the curve is straight or flat.

    A guess without labels: on a log without fakes it still flags whoever stands apart.
    """
    top = -np.sort(-scores)[: max(2, int(most * len(scores)))]
    if len(top) < 3 or top[0] == top[-1]:
        return 0
    curve = (top - top[-1]) / (top[0] - top[-1])
    below = np.linspace(1.0, 0.0, len(top)) - curve
    at = int(np.argmax(below))
    return at if below[at] > 0.1 else 0


@dataclass(frozen=True, slots=True)
class Detection:
    """How well accounts were told apart, against labels that the detector never saw.

    at_true_share: share of fakes among the F most suspicious, F the true number (precision equals recall there). auc:
    chance that a fake scores above a genuine account. precision, recall: of the accounts that were flagged; NaN where none
    was. false_positives: share flagged among genuine accounts; new: those with at most 5 items; heavy: the 5 % with most.
    """

    at_true_share: float
    auc: float
    precision: float
    recall: float
    false_positives: Estimate
    false_positives_new: Estimate
    false_positives_heavy: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: v.to_json() if isinstance(v, Estimate) else v for n, v in values.items()}


def detection(marks: Marks, fake: NDArray[np.bool_], data: Dataset) -> Detection:
    """Judge marks on users against the truth. fake: bool [users]; data: the log that was given to the detector.

    Users without events or without a score count nowhere.
    """
    if marks.unit != "users" or len(marks.scores) != len(fake):
        raise DataError(
            f"A detection is judged on users: got {len(marks.scores)} scores of {marks.unit} for {len(fake)} users."
        )
    known = np.flatnonzero(np.isfinite(marks.scores))
    scores, truth, counts = marks.scores[known], fake[known], data.user_counts[known]
    total = int(truth.sum())
    if total == 0 or total == len(truth):
        raise DataError("A detection needs both fake and genuine accounts among those scored.")
    taken = np.isin(known, marks.flagged)
    hit = int((taken & truth).sum())
    genuine = ~truth

    def falsely(group: NDArray[np.bool_]) -> Estimate:
        return proportion(int((taken & group).sum()), int(group.sum()), unit="genuine accounts")

    return Detection(
        at_true_share=float(truth[np.argsort(-scores, kind="stable")[:total]].mean()),
        auc=auc(scores, truth.astype(np.float64)),
        precision=hit / int(taken.sum()) if taken.any() else float("nan"),
        recall=hit / total,
        false_positives=falsely(genuine),
        false_positives_new=falsely(genuine & (counts <= 5)),
        false_positives_heavy=falsely(genuine & (counts >= np.quantile(counts[genuine], 0.95))),
    )
