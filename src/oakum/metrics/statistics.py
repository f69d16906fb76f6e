"""Intervals and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oakum.metrics.estimate import Estimate
from oakum.seeds import generator

RESAMPLES = 1000


def estimate(
    values: NDArray[np.floating],
    *,
    seed: int = 0,
    clusters: NDArray[np.integer] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> Estimate:
    """Mean with a percentile-bootstrap interval over units, or over clusters of units that hang together.

    values: [n]; NaN is left out. Above 20,000 units the interval is the normal one (the bootstrap of a mean of so
    many converges to it). Fewer than two units give no interval (NaN).
    """
    values = np.asarray(values, np.float64)
    kept = np.isfinite(values)
    unit = "units"
    if clusters is not None and kept.any():
        _, code = np.unique(np.asarray(clusters)[kept], return_inverse=True)
        sums, sizes = np.bincount(code, values[kept]), np.bincount(code)
        unit = "clusters"
    else:
        sums, sizes = values[kept], np.ones(int(kept.sum()))
    n = len(sums)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, "no units")
    mean = float(sums.sum() / sizes.sum())
    if n < 2:
        return Estimate(mean, float("nan"), float("nan"), n, "one unit: no interval")
    tail = (1 - level) / 2
    if n > 20_000:
        from scipy.special import ndtri

        ratio = sums - mean * sizes
        error = float(np.sqrt((ratio**2).sum() / (n - 1) / n) / sizes.mean())
        width = float(ndtri(1 - tail)) * error
        return Estimate(mean, mean - width, mean + width, n, f"normal interval over {unit}, {level:.0%}")
    rng = generator(seed, "bootstrap", n)
    means = np.empty(resamples)
    for start in range(0, resamples, block := max(1, 4_000_000 // n)):
        stop = min(resamples, start + block)
        pick = rng.integers(0, n, (stop - start, n))
        means[start:stop] = sums[pick].sum(1) / sizes[pick].sum(1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n, f"bootstrap over {unit}, {resamples} resamples, {level:.0%}")


def proportion(successes: int, n: int, *, level: float = 0.95) -> Estimate:
    """A share with Wilson's interval."""
    from scipy.special import ndtri

    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, "no units")
    z = float(ndtri(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(p, float(centre - half), float(centre + half), n, f"Wilson, {level:.0%}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference a − b: estimate, two-sided p-value of the paired t-test, units."""

    difference: Estimate
    p_value: float


def compare(
    a: NDArray[np.floating], b: NDArray[np.floating], *, seed: int = 0, clusters: NDArray[np.integer] | None = None
) -> Comparison:
    """Paired comparison over the same units; units where either is NaN are left out."""
    from scipy.stats import ttest_1samp

    both = np.isfinite(a) & np.isfinite(b)
    gaps = np.asarray(a, np.float64)[both] - np.asarray(b, np.float64)[both]
    found = estimate(gaps, seed=seed, clusters=None if clusters is None else clusters[both])
    p = 1.0
    if len(gaps) > 1 and np.ptp(gaps) > 0:
        p = float(ttest_1samp(gaps, 0.0).pvalue)
    elif len(gaps) > 1 and gaps[0] != 0:
        p = 0.0
    return Comparison(found, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: adjusted p-values in the order given."""
    order = np.argsort(p_values)
    out = np.empty(len(p_values))
    worst = 0.0
    for i, at in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - i) * p_values[at]))
        out[at] = worst
    return [float(x) for x in out]
