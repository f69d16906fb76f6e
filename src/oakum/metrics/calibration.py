"""Can the numbers be believed: predicted probabilities against labels, and lists against the taste they
serve.

Each function over predictions gives one value a row whose mean is the metric (for AUC and ECE by
linearisation), so that `statistics.estimate` puts an interval on it, by rows or by clusters of users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Ragged, Ranking
from oakum.errors import DataError, ParameterError
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import estimate, influence, proportion

Floats = NDArray[np.float64]
Binning = Literal["equal-width", "equal-mass"]
FLOOR = 1e-7  # log loss takes predictions as at least this far from 0 and 1 (the resolution of float32)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted probabilities with what happened. values float [n] in [0, 1]; labels [n], 0 or 1; weights [n]
    >= 0 or None (all 1); users [n]: codes that say which rows belong together (clusters of the bootstrap), or
    None; places int [n]: where in its list a row stands, 1 = first, or None."""

    values: Floats
    labels: Floats
    weights: Floats | None = None
    users: NDArray[Any] | None = None
    places: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        p, y = np.asarray(self.values, np.float64), np.asarray(self.labels, np.float64)
        w = np.ones(len(p)) if self.weights is None else np.asarray(self.weights, np.float64)
        if p.ndim != 1 or p.shape != y.shape or p.shape != w.shape:
            raise DataError(
                f"Predictions, labels and weights must be of one length: got {p.shape}, {y.shape}, {w.shape}."
            )
        if not ((p >= 0) & (p <= 1)).all():
            row = int(np.flatnonzero(~((p >= 0) & (p <= 1)))[0])
            raise DataError(f"Prediction {row} is {p[row]}; probabilities lie in [0, 1]. Calibrate the scores first.")
        if not ((y == 0) | (y == 1)).all():
            row = int(np.flatnonzero((y != 0) & (y != 1))[0])
            raise DataError(f"Label {row} is {y[row]}; labels are 0 or 1. Cut ratings at a threshold first.")
        if not (w >= 0).all() or (len(w) and w.sum() == 0):
            raise DataError("Weights must be 0 or more, and not all 0.")
        if self.places is not None and (len(self.places) != len(p) or (np.asarray(self.places) < 1).any()):
            raise DataError(f"Places count from 1, one a prediction: got {len(self.places)} for {len(p)}.")
        for name, array in (("values", p), ("labels", y), ("weights", w)):
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: NDArray[Any]) -> Predictions:
        """These rows only (positions or a mask)."""
        pick = lambda a: None if a is None else a[index]
        return Predictions(
            self.values[index], self.labels[index], pick(self.weights), pick(self.users), pick(self.places)
        )

    @property
    def weight(self) -> Floats:
        """The weights, ones where none were given."""
        return np.ones(len(self)) if self.weights is None else self.weights


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions between low and high: how many, what was predicted on average, what happened, with its
    interval."""

    low: float
    high: float
    n: int
    predicted: float
    happened: Estimate


def brier(predictions: Predictions) -> Floats:
    """Squared error (p - y)² a row (Brier 1950), weighted: its mean is the score, in [0, 1]."""
    w = predictions.weight
    return influence(w * (predictions.values - predictions.labels) ** 2, w)


def log_loss(predictions: Predictions) -> Floats:
    """-y ln p - (1-y) ln(1-p) a row, in nats, weighted; p is kept 1e-7 away from 0 and 1."""
    p = np.clip(predictions.values, FLOOR, 1 - FLOOR)
    y, w = predictions.labels, predictions.weight
    return influence(-w * np.where(y == 1, np.log(p), np.log1p(-p)), w)


def auc(scores: Any, labels: Any, weights: Any = None) -> float:
    """The chance that a positive row is scored above a negative one, ties one half, weighted.

    scores: any real numbers [n], higher = more positive; labels: [n], 0 or 1; weights: [n] or None.
    NaN where one class is missing.
    """
    values = auc_by_row(scores, labels, weights)
    return float(values.mean()) if len(values) else float("nan")


def auc_by_row(scores: Any, labels: Any, weights: Any = None) -> Floats:
    """One value a row whose mean is `auc` and whose spread gives its variance (DeLong et al. 1988), [n].

    NaN in all rows where one class is missing. Cost: one sort.
    """
    s, positive = np.asarray(scores, np.float64), np.asarray(labels) > 0
    w = np.ones(len(s)) if weights is None else np.asarray(weights, np.float64)
    if np.isnan(s).any():
        raise DataError(f"{int(np.isnan(s).sum())} of {len(s)} scores are NaN and cannot be ranked; leave them out.")
    total1, total0 = float(w[positive].sum()), float(w[~positive].sum())
    if total1 == 0 or total0 == 0:
        return np.full(len(w), np.nan)
    _, code = np.unique(s, return_inverse=True)
    ones = np.bincount(code, weights=w * positive)
    zeros = np.bincount(code, weights=w * ~positive)
    below = (np.cumsum(zeros) - zeros / 2)[code] / total0  # share of negatives below a row, ties half
    above = 1 - (np.cumsum(ones) - ones / 2)[code] / total1
    placement = np.where(positive, below, above)
    value = float((w * below)[positive].sum() / total1)
    return np.asarray(value + len(w) * w * (placement - value) / np.where(positive, total1, total0))


def expected_calibration_error(predictions: Predictions, *, bins: int = 15, binning: Binning = "equal-width") -> Floats:
    """ECE = sum over bins of (weight of bin) |mean label - mean prediction|, as one value a row.

    (Naeini et al. 2015.) Noise alone makes it positive, by about sqrt(p(1-p) bins / n): compare equal n only.
    """
    code = _bins(predictions, bins, binning)
    w = predictions.weight
    error = w * (predictions.labels - predictions.values)
    sign = np.sign(np.bincount(code, weights=error, minlength=bins))
    return influence(sign[code] * error, w)


def places_of(scores: Any, users: Any, items: Any) -> NDArray[np.int64]:
    """Where each row stands in its user's list, 1 = highest score; ties by the item's code. Int64 [n]."""
    s, u, i = np.asarray(scores, np.float64), np.asarray(users), np.asarray(items)
    order = np.lexsort((i, -s, u))
    starts = np.flatnonzero(np.r_[True, u[order][1:] != u[order][:-1]]) if len(u) else np.empty(0, np.int64)
    out = np.empty(len(u), np.int64)
    out[order] = np.arange(len(u)) - np.repeat(starts, np.diff(np.r_[starts, len(u)])) + 1
    return out


def ece_at(predictions: Predictions, n: int, *, bins: int = 15, binning: Binning = "equal-width") -> Floats:
    """ECE@n: the ECE of the rows at places 1 … n, as one value a row of these (Sato 2024)."""
    return expected_calibration_error(predictions.take(_placed(predictions, n)), bins=bins, binning=binning)


def rank_discounted_ece(
    predictions: Predictions, n: int, *, bins: int = 15, binning: Binning = "equal-width"
) -> Floats:
    """RDECE@n = Σ_k d_k ECE_k / Σ_k d_k, d_k = 1 / log2(k + 1), ECE_k over the rows at place k exactly, k = 1 … n.

    One value a row of the places 1 … n, whose mean is the metric. Places without rows count nowhere. (Sato 2024 gives
    discount weights; their form is taken from DCG.)
    """
    own = predictions.take(_placed(predictions, n))
    assert own.places is not None
    ranks = np.unique(own.places)
    discount = 1 / np.log2(ranks + 1)
    out = np.zeros(len(own))
    for k, share in zip(ranks, discount / discount.sum(), strict=True):
        at = own.places == k
        part = expected_calibration_error(own.take(at), bins=bins, binning=binning)
        out[at] = part * share * len(own) / at.sum()
    return out


def _placed(predictions: Predictions, n: int) -> NDArray[np.bool_]:
    if predictions.places is None:
        raise DataError("Metrics of the first places need predictions with places; `places_of` finds them.")
    if n < 1:
        raise ParameterError(f"The number of places must be at least 1. Got {n!r} instead.")
    return np.asarray(predictions.places <= n)


def reliability(
    predictions: Predictions, *, bins: int = 15, binning: Binning = "equal-mass", level: float = 0.95
) -> list[ReliabilityBin]:
    """The reliability diagram: bins that hold rows, each with what was predicted and what happened (Wilson).

    With weights, the interval is that of the effective number of rows (sum w)² / sum w².
    """
    code, w = _bins(predictions, bins, binning), predictions.weight
    out = []
    for b in range(bins):
        own = (code == b) & (w > 0)
        n = int(own.sum())
        if not n:
            continue
        p, weight = predictions.values[own], w[own]
        rate = float(np.average(predictions.labels[own], weights=weight))
        effective = max(1, round(float(weight.sum() ** 2 / (weight**2).sum())))
        found = proportion(rate * effective, effective, level=level, unit="rows")
        happened = Estimate(rate, found.low, found.high, n, found.how)
        low, high = float(p.min()), float(p.max())
        predicted = min(high, max(low, float(np.average(p, weights=weight))))  # equal values may round past themselves
        out.append(ReliabilityBin(low, high, n, predicted, happened))
    return out


def summarise_predictions(
    predictions: Predictions, *, seed: int = 0, resamples: int = 1000, bins: int = 15
) -> dict[str, Estimate]:
    """auc, log_loss, brier, ece with intervals: over rows, or over users where the predictions name them."""
    values = {
        "auc": auc_by_row(predictions.values, predictions.labels, predictions.weight),
        "log_loss": log_loss(predictions),
        "brier": brier(predictions),
        "ece": expected_calibration_error(predictions, bins=bins),
    }
    found = {
        name: estimate(v, seed=seed, clusters=predictions.users, resamples=resamples, unit="rows")
        for name, v in values.items()
    }
    top = {"auc": 1.0, "brier": 1.0, "ece": 1.0}
    return {
        name: Estimate(e.value, max(0.0, e.low), min(top.get(name, np.inf), e.high), e.n, e.how)
        for name, e in found.items()
    }


def list_miscalibration(
    ranking: Ranking, histories: Ragged, item_categories: Ragged, k: int, *, alpha: float = 0.01
) -> Floats:
    """How far the categories of a list are from those of the user's history: KL(p || q), 0 = same mix, [q].

    p: mean over the history of the items' category shares (1 / number of categories each), q: the same over
    the first k places, mixed with alpha * p so that the divergence is finite; natural log (Steck 2018). NaN
    where the history or the list holds no item with a category. At most ln(1 / alpha).
    """
    if not 0 < alpha < 1:
        raise ParameterError(f"The 'alpha' of list calibration must be in (0, 1). Got {alpha!r} instead.")
    width = int(item_categories.items.max(initial=0)) + 1
    shares = item_categories.matrix(width).astype(np.float64)
    per_item = np.asarray(shares.sum(axis=1)).ravel()
    shares = sparse.diags(1.0 / np.maximum(per_item, 1.0)) @ shares
    items = ranking.items[:, :k]
    shown = items >= 0
    offsets = np.concatenate([[0], np.cumsum(shown.sum(axis=1))])
    lists = sparse.csr_matrix((np.ones(offsets[-1]), items[shown], offsets), shape=(len(items), len(item_categories)))
    p, p_known = _mix(histories.matrix(len(item_categories), counts=True).astype(np.float64) @ shares)
    q, q_known = _mix(lists @ shares)
    # Only categories with p > 0 add to the divergence: it is summed over the stored entries of p.
    rows = np.repeat(np.arange(len(items)), np.diff(p.indptr))
    mixed = (1 - alpha) * np.asarray(q[rows, p.indices]).ravel() + alpha * p.data
    out = np.bincount(rows, weights=p.data * np.log(p.data / mixed), minlength=len(items))
    return np.where(p_known & q_known, np.maximum(out, 0.0), np.nan)


def _mix(table: Any) -> tuple[Any, NDArray[np.bool_]]:
    """Rows divided by their sum, and which rows have one."""
    table = sparse.csr_matrix(table)
    table.eliminate_zeros()
    total = np.asarray(table.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags(1.0 / np.where(total > 0, total, 1.0)) @ table), total > 0


def _bins(predictions: Predictions, bins: int, binning: str) -> NDArray[np.int64]:
    if bins < 1:
        raise ParameterError(f"The number of bins must be at least 1. Got {bins!r} instead.")
    p = predictions.values
    if binning == "equal-width":
        return np.minimum((p * bins).astype(np.int64), bins - 1)
    if binning != "equal-mass":
        raise ParameterError(f"The binning must be 'equal-width' or 'equal-mass'. Got {binning!r} instead.")
    # Equal predictions stay in one bin: borders are values, not ranks.
    borders = np.quantile(p, np.arange(1, bins) / bins) if len(p) else np.empty(0)
    return np.searchsorted(borders, p, side="left").astype(np.int64)
