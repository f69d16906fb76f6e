"""Who carries the harm: a metric by group of users, the worst group, the worst tenth; exposure by group of
items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from oakum.data import Ranking
from oakum.errors import DataError
from oakum.metrics.beyond import exposure
from oakum.metrics.estimate import Estimate
from oakum.metrics.groups import Groups
from oakum.metrics.statistics import NAN, estimate

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class ByGroup:
    """A metric by group. groups: label to estimate, groups of at least `min_size` users only; left_out: the
    small ones with their sizes. worst: the label that fares worst; gap: best minus worst mean (0 = equal);
    worst_to_mean: mean of the worst group over the mean of all (1 = equal; above 1 for a harm, below 1 for a
    good)."""

    name: str
    groups: Mapping[str, Estimate]
    left_out: Mapping[str, int]
    overall: Estimate
    worst: str | None
    gap: float
    worst_to_mean: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "groups": {label: e.to_json() for label, e in self.groups.items()},
            "left_out": dict(self.left_out),
            "overall": self.overall.to_json(),
            "worst": self.worst,
            "gap": self.gap,
            "worst_to_mean": self.worst_to_mean,
        }


def by_group(
    values: Any,
    groups: Groups,
    *,
    better: Better = "higher",
    min_size: int = 50,
    seed: int = 0,
    resamples: int = 1000,
) -> ByGroup:
    """A per-query metric (accuracy, exposure, a harm) within each group, and its worst group.

    values: float [q], NaN left out; better: which end is good, "lower" for a harm. The largest of several
    noisy means is too large on average: the interval of the worst group is its own, not that of the maximum.
    """
    array = np.asarray(values, np.float64)
    if len(array) != len(groups):
        raise DataError(f"The grouping '{groups.name}' has {len(groups)} queries, the metric {len(array)}.")
    found: dict[str, Estimate] = {}
    small: dict[str, int] = {}
    for code, label in enumerate(groups.labels):
        own = array[(groups.codes == code) & ~np.isnan(array)]
        if len(own) >= max(1, min_size):
            found[label] = estimate(own, seed=seed, resamples=resamples)
        elif len(own):
            small[label] = len(own)
    overall = estimate(array, seed=seed, resamples=resamples)
    if not found:
        return ByGroup(groups.name, found, small, overall, None, NAN, NAN)
    sign = 1.0 if better == "higher" else -1.0
    worst = min(found, key=lambda label: sign * found[label].value)
    means = [e.value for e in found.values()]
    ratio = found[worst].value / overall.value if overall.value else NAN
    return ByGroup(groups.name, found, small, overall, worst, max(means) - min(means), ratio)


def worst_share(
    values: Any, *, share: float = 0.1, better: Better = "lower", seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Conditional value at risk: the mean over the worst `share` of users (CVaR_10 for 0.1).

    values: float [q], NaN left out. better: "lower" takes the highest values as worst (a harm), "higher" the
    lowest. The border user counts in part. Interval: bootstrap of q + max(x - q, 0) / share at the estimated
    border q (Rockafellar and Uryasev 2000), whose mean this is.
    """
    if not 0 < share <= 1:
        raise DataError(f"The worst share must be in (0, 1]. Got {share!r} instead.")
    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    if not len(array):
        return estimate(array)
    sign = 1.0 if better == "lower" else -1.0
    x = sign * array
    border = np.sort(x)[::-1][min(len(x) - 1, int(np.ceil(share * len(x) - 1e-9)) - 1)]
    found = estimate(sign * (border + np.maximum(x - border, 0) / share), seed=seed, resamples=resamples)
    return Estimate(found.value, found.low, found.high, found.n, f"worst {100 * share:g} %; {found.how}")


def item_exposure(ranking: Ranking, k: int, items: Groups, *, discounted: bool = True) -> dict[str, float]:
    """Share of all exposure (discounted by place) that each group of items gets; adds up to 1 with the
    ungrouped."""
    shown = exposure(ranking, k, len(items), discounted=discounted)
    total = float(shown.sum())
    if total == 0:
        return dict.fromkeys(items.labels, NAN)
    return {label: float(shown[items.codes == c].sum() / total) for c, label in enumerate(items.labels)}
