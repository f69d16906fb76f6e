"""Looking at an experiment while it runs: intervals that hold at every look, not only at the last."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from oakum.errors import ParameterError
from oakum.metrics.estimate import Estimate


def confidence_sequence(
    values: ArrayLike, *, level: float = 0.95, tightest: int = 1000, unit: str = "users"
) -> Estimate:
    """The mean of independent values, with an interval that covers it at all sample sizes at once.

    μ̂ₙ ± σ̂ₙ √(2 (nρ² + 1) / (n²ρ²) · ln(√(nρ² + 1) / α)), with ρ² = (−2 ln α + ln(1 − 2 ln α)) / tightest. Whoever stops as
    soon as it leaves out zero is wrong with probability α at most, however often they look (asymptotically: from some
    dozens of values on). It is about 1.5 times as wide as an interval for one look decided on beforehand.
    values: float [n] in the order of arrival, NaN left out. tightest: the n at which it is narrowest. O(n).
    Paper: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory".
    """
    if not 0 < level < 1:
        raise ParameterError(f"The level of an interval lies between 0 and 1. Got {level}.")
    if tightest < 1:
        raise ParameterError(f"tightest is a number of {unit}, at least 1. Got {tightest}.")
    x = np.asarray(values, np.float64)
    x = x[~np.isnan(x)]
    n, alpha = len(x), 1 - level
    how = f"confidence sequence over {unit}, {100 * level:g} % at every look"
    if n < 2:
        nan = float("nan")
        return Estimate(float(x.mean()) if n else nan, nan, nan, n, f"{how}; too few for an interval")
    rho2 = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / tightest
    scale = np.sqrt(2 * (n * rho2 + 1) / (n * n * rho2) * np.log(np.sqrt(n * rho2 + 1) / alpha))
    mean, half = float(x.mean()), float(x.std() * scale)
    return Estimate(mean, mean - half, mean + half, n, how)


def effect(
    outcomes: ArrayLike, treated: ArrayLike, share: float, *, level: float = 0.95, tightest: int = 1000
) -> Estimate:
    """Mean outcome of the treated minus that of the others, with a confidence sequence over units.

    outcomes: float [n], NaN left out; treated: bool [n]; share: the probability of being treated, decided beforehand. Each
    unit contributes (y − ȳ) (t / share − (1 − t) / (1 − share)), whose mean is the effect; ȳ, the mean over all units, takes
    away what varies between people but not between arms.
    """
    if not 0 < share < 1:
        raise ParameterError(f"The share of the treated lies between 0 and 1. Got {share}.")
    y, t = np.asarray(outcomes, np.float64), np.asarray(treated, bool)
    if y.shape != t.shape:
        raise ParameterError(f"Outcomes and arms differ in number: {len(y)} and {len(t)}.")
    centred = y - np.nanmean(y) if np.isfinite(y).any() else y
    return confidence_sequence(centred * np.where(t, 1 / share, -1 / (1 - share)), level=level, tightest=tightest)
