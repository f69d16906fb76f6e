"""What a training seed alone does to a number: the noise floor that every claimed gain must clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from oakum.errors import DataError
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import NAN


def seed_noise(values_by_seed: Sequence[Any], *, level: float = 0.95) -> Estimate:
    """The standard deviation between training seeds of a metric's mean, with its chi-square interval.

    values_by_seed: one entry a seed, each a mean or an array of one value a unit (NaN left out).
    low, high = s sqrt((m-1) / chi²). With 3 seeds the interval spans a factor of 12: it is printed for that
    reason.
    """
    means = np.array([_mean(v) for v in values_by_seed])
    m = len(means)
    if m < 2:
        return Estimate(NAN, NAN, NAN, m, "one seed: its noise is unknown")
    s = float(means.std(ddof=1))
    tail = (1 - level) / 2
    low = s * float(np.sqrt((m - 1) / special.chdtri(m - 1, tail)))
    high = s * float(np.sqrt((m - 1) / special.chdtri(m - 1, 1 - tail)))
    return Estimate(s, low, high, m, f"standard deviation over {m} seeds, chi-square, {100 * level:g} %")


def pooled(estimates: Sequence[Estimate], *, level: float = 0.95) -> Estimate:
    """One estimate from several seeds that were measured on the same users.

    Variance = mean of the squared standard errors within a seed + variance between seeds / m. The users are
    the same in every seed, so their part does not shrink with m (slightly conservative: it holds the
    interaction of both).
    """
    m = len(estimates)
    if m == 0:
        raise DataError("There is nothing to pool: give at least one estimate.")
    if m == 1:
        return estimates[0]
    values = np.array([e.value for e in estimates])
    within = float(np.mean([_standard_error(e, level) ** 2 for e in estimates]))
    between = float(values.var(ddof=1)) / m
    total = within + between
    # Welch-Satterthwaite: only the part between seeds is known from few numbers.
    freedom = (m - 1) * (total / between) ** 2 if between > 0 else 1e6
    half = float(special.stdtrit(min(freedom, 1e6), (1 + level) / 2)) * float(np.sqrt(total))
    value = float(values.mean())
    how = f"pooled over {m} seeds on the same users, {100 * level:g} %"
    return Estimate(value, value - half, value + half, min(e.n for e in estimates), how)


def difference_of(a: Sequence[Estimate], b: Sequence[Estimate], *, level: float = 0.95) -> Estimate:
    """The mean difference of two systems over training seeds, paired by position; n counts seeds.

    Two or more seeds: the t interval of the per-seed differences, so seed noise is in it. One seed: the two
    intervals are put together as if independent, seed noise is not in it, and `how` says so.
    """
    if len(a) != len(b) or not a:
        raise DataError(f"Differences over seeds are paired: got {len(a)} estimates against {len(b)}.")
    d = np.array([x.value - y.value for x, y in zip(a, b, strict=True)])
    m, value = len(d), float(d.mean())
    if m == 1:
        half = float(np.hypot(a[0].high - a[0].low, b[0].high - b[0].low)) / 2
        return Estimate(value, value - half, value + half, 1, "one seed: seed noise is not in this interval")
    half = float(special.stdtrit(m - 1, (1 + level) / 2) * d.std(ddof=1) / np.sqrt(m))
    return Estimate(value, value - half, value + half, m, f"paired t over {m} seeds, {100 * level:g} %")


def _mean(values: Any) -> float:
    array = np.asarray(values, np.float64)
    return float(array[~np.isnan(array)].mean()) if (~np.isnan(array)).any() else NAN


def _standard_error(found: Estimate, level: float) -> float:
    return (found.high - found.low) / 2 / float(special.ndtri((1 + level) / 2))
