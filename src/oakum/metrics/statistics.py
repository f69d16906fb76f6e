"""Intervals and tests: how sure a mean is, whether two systems differ, how much a seed alone moves a number.

Means are resampled by the unit that is independent (a user, or a cluster of rows). Everything is drawn from
`oakum.seeds.generator`, so equal input gives equal intervals on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from oakum.errors import DataError, ParameterError
from oakum.metrics.estimate import Estimate
from oakum.seeds import Rng, generator

Floats = NDArray[np.float64]
NAN = float("nan")

DIRECT = 10_000  # up to here every resample is drawn; above, the mean of so many units is normal to four digits
DISTINCT = 1_024  # few distinct values: resampling their counts is exact at any n
BLOCK = 2_000_000  # numbers held at once while resampling


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison of two systems on the same units.

    difference: mean of (name - against) with the interval of a paired bootstrap. p_value: two-sided, of
    `test`. p_adjusted: after Holm's correction over `comparisons` comparisons made together (equal to p_value
    for one). wins, ties, losses: units on which `name` is above, equal to, below `against`.
    """

    name: str
    against: str
    difference: Estimate
    p_value: float
    p_adjusted: float
    wins: int
    ties: int
    losses: int
    test: str
    comparisons: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        d = self.difference
        return (
            f"{self.name} - {self.against}: {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}], p = "
            f"{self.p_adjusted:.3g}"
            f" ({self.test}, Holm over {self.comparisons}), n = {d.n}"
        )


def estimate(
    values: Any,
    *,
    seed: int = 0,
    clusters: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    unit: str = "users",
) -> Estimate:
    """The mean of one value a unit, with a percentile bootstrap interval.

    values: float [n]; NaN means "this unit has no value": left out, and counted in `how`. clusters: [n] codes
    or names; where given, whole clusters are drawn (their mean is a ratio of sums) and `n` counts clusters.
    Up to 10,000 units all `resamples` are drawn in blocks. Above that, values with at most 1,024 different
    numbers (hits, short-list recalls) are resampled exactly through multinomial counts, and for others the
    interval is that of the normal distribution which the bootstrap of a mean has reached by then; `how` says
    which. Cost: O(min(n, 10,000) * resamples) time, 16 MB of memory beside the values. Raises DataError on
    infinities.
    """
    return _estimated([_Units.of(values, clusters, level, resamples)], seed, resamples, level, unit)[0]


def estimates(
    values: Mapping[str, Any], *, seed: int = 0, resamples: int = 1000, level: float = 0.95, unit: str = "users"
) -> dict[str, Estimate]:
    """`estimate` of many values by name, without clusters: the same numbers, but drawn once for all that have as many
    units (every draw of a seed is the same)."""
    units = [_Units.of(v, None, level, resamples) for v in values.values()]
    return dict(zip(values, _estimated(units, seed, resamples, level, unit), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """What is drawn: sums of units; sizes where a unit is a cluster; how many values were missing."""

    sums: Floats
    sizes: Floats | None
    left_out: int

    @classmethod
    def of(cls, values: Any, clusters: Any, level: float, resamples: int) -> _Units:
        array, names, left_out = _usable(values, clusters, level, resamples)
        return cls(*_by_cluster(array, names), left_out)

    @property
    def value(self) -> float:
        return float(self.sums.sum() / (len(self.sums) if self.sizes is None else self.sizes.sum()))


def _estimated(all_units: Sequence[_Units], seed: int, resamples: int, level: float, unit: str) -> list[Estimate]:
    means = _resampled(all_units, seed, resamples)
    percent = f"{100 * level:g} %"
    out = []
    for own, found in zip(all_units, means, strict=True):
        n = len(own.sums)
        note = f"; {own.left_out} without a value left out" if own.left_out else ""
        label = f"clusters of {unit}" if own.sizes is not None else unit
        if n == 0:
            out.append(Estimate(NAN, NAN, NAN, 0, f"no {unit} with a value{note}"))
        elif n < 2:
            out.append(Estimate(own.value, NAN, NAN, n, f"one of {label}: no interval{note}"))
        elif found is not None:
            value = own.value
            low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
            how = f"bootstrap over {label}, {resamples} resamples, {percent}{note}"
            out.append(Estimate(value, float(min(low, value)), float(max(high, value)), n, how))
        else:
            value = own.value
            half = float(special.ndtri((1 + level) / 2)) * _standard_error(own.sums, own.sizes)
            how = f"normal limit of the bootstrap over {label}, {percent}{note}"
            out.append(Estimate(value, value - half, value + half, n, how))
    return out


def proportion(successes: float, n: int, *, level: float = 0.95, unit: str = "users") -> Estimate:
    """A share of n independent units with Wilson's interval, which is honest also at 0 and at n successes.

    low, high = (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    """
    if n < 0 or not 0 <= successes <= max(n, 0):
        raise ParameterError(f"A proportion needs 0 <= successes <= n. Got {successes} of {n}.")
    if n == 0:
        return Estimate(NAN, NAN, NAN, 0, f"no {unit}")
    z = float(special.ndtri((1 + level) / 2))
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    low, high = max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))
    return Estimate(p, low, high, n, f"Wilson over {unit}, {100 * level:g} %")


def compare(
    a: Any,
    b: Any,
    *,
    seed: int = 0,
    name: str = "a",
    against: str = "b",
    test: Literal["t", "wilcoxon"] = "t",
    clusters: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    unit: str = "users",
) -> Comparison:
    """Whether `a` differs from `b` on the same units: mean difference, paired bootstrap interval, p-value.

    a, b: float [n], aligned; a unit where either is NaN is left out. test: "t" is the paired t test (on
    cluster sums where `clusters` is given), "wilcoxon" the signed-rank test (Pratt's treatment of zeros; no
    clusters).
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise DataError(
            f"A paired comparison needs the same units on both sides: '{name}' has {first.shape[0]} values "
            "and "
            f"'{against}' has {second.shape[0]}. Measure both on the same queries."
        )
    d = first - second
    found = estimate(d, seed=seed, clusters=clusters, resamples=resamples, level=level, unit=unit)
    kept, names, _ = _usable(d, clusters, level, resamples)
    if test not in ("t", "wilcoxon"):
        raise ParameterError(f"The test must be 't' or 'wilcoxon'. Got {test!r} instead.")
    if test == "wilcoxon":
        if names is not None:
            raise ParameterError("The Wilcoxon test takes independent units: leave out `clusters` or use test='t'.")
        p, label = _wilcoxon(kept), "Wilcoxon signed-rank test"
    else:
        p, label = _t_test(*_by_cluster(kept, names)), "paired t test"
    counts = int((kept > 0).sum()), int((kept == 0).sum()), int((kept < 0).sum())
    return Comparison(name, against, found, p, p, *counts, label)


def compare_all(
    values: Mapping[str, Any],
    *,
    baseline: str | None = None,
    seed: int = 0,
    test: Literal["t", "wilcoxon"] = "t",
    clusters: Any = None,
    resamples: int = 1000,
    level: float = 0.95,
    unit: str = "users",
) -> list[Comparison]:
    """Every system against the baseline, or against the best mean where none is named; Holm-corrected.

    The intervals are not widened, the p-values are. "Best" is chosen by the same data, which favours it: name
    a baseline where one is known beforehand.
    """
    if not values:
        return []
    if baseline is None:
        means = {n: float(np.nanmean(v)) if np.isfinite(v).any() else -np.inf for n, v in values.items()}
        baseline = max(means, key=lambda n: means[n])
    elif baseline not in values:
        raise ParameterError(f"The baseline '{baseline}' is not among {', '.join(values)}.")
    against = baseline
    others = [n for n in values if n != against]
    options = {
        "seed": seed,
        "test": test,
        "clusters": clusters,
        "resamples": resamples,
        "level": level,
        "unit": unit,
    }
    found = [compare(values[n], values[against], name=n, against=against, **options) for n in others]  # type: ignore[arg-type]
    adjusted = holm([c.p_value for c in found])
    return [replace(c, p_adjusted=p, comparisons=len(found)) for c, p in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p_(i) * (m - i + 1), made monotone and cut at 1. NaN counts as 1."""
    p = np.where(np.isnan(p_values), 1.0, np.asarray(p_values, np.float64))
    order = np.argsort(p, kind="stable")
    out = np.empty(len(p))
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(x) for x in out]


def influence(numerator: Any, denominator: Any) -> Floats:
    """One value a unit whose mean is mean(numerator) / mean(denominator), and whose spread is that ratio's.

    value_i = R + (numerator_i - R * denominator_i) / mean(denominator): so the ratio of two means over the
    same users (retention, price) goes through `estimate` like any mean. Units where either is NaN stay NaN.
    """
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    known = ~(np.isnan(top) | np.isnan(bottom))
    mean = float(bottom[known].mean()) if known.any() else 0.0
    if mean == 0.0:
        return np.full(top.shape, np.nan)
    ratio = float(top[known].mean()) / mean
    return np.asarray(np.where(known, ratio + (top - ratio * bottom) / mean, np.nan))


def _usable(values: Any, clusters: Any, level: float, resamples: int) -> tuple[Floats, NDArray[Any] | None, int]:
    if not 0 < level < 1:
        raise ParameterError(f"The level of an interval must be in (0, 1), for example 0.95. Got {level!r} instead.")
    if resamples < 1:
        raise ParameterError(f"The number of resamples must be at least 1. Got {resamples!r} instead.")
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise DataError(f"An estimate takes one value a unit, shape [n]. Got shape {array.shape}.")
    names = None if clusters is None else np.asarray(clusters)
    if names is not None and names.shape != array.shape:
        raise DataError(f"There are {len(names)} cluster labels for {len(array)} values; give one a value.")
    known = ~np.isnan(array)
    kept = array[known]
    if np.isinf(kept).any():
        raise DataError(f"{int(np.isinf(kept).sum())} of {len(array)} values are infinite; a mean needs finite values.")
    return kept, None if names is None else names[known], int(len(array) - len(kept))


def _by_cluster(values: Floats, names: NDArray[Any] | None) -> tuple[Floats, Floats | None]:
    """Sums and sizes of the units that are drawn; sizes None: every unit is one value."""
    if names is None:
        return values, None
    _, codes = np.unique(names, return_inverse=True)
    return np.bincount(codes, weights=values).astype(np.float64), np.bincount(codes).astype(np.float64)


def _resampled(all_units: Sequence[_Units], seed: int, resamples: int) -> list[Floats | None]:
    """Bootstrap means [resamples] of each, or None where n is so large that the normal limit serves, or below 2."""
    out: list[Floats | None] = [None] * len(all_units)
    together: dict[int, list[int]] = {}
    for at, own in enumerate(all_units):
        n = len(own.sums)
        if n < 2:
            continue
        if own.sizes is None and n > DISTINCT and len(np.unique(own.sums[: 4 * DISTINCT])) <= DISTINCT:
            levels, counts = np.unique(own.sums, return_counts=True)
            if len(levels) <= DISTINCT:
                drawn = generator(seed, "bootstrap").multinomial(n, counts / n, size=resamples)
                out[at] = np.einsum("rl,l->r", drawn, levels) / n  # no BLAS: its sums depend on the threads it has
                continue
        if n <= DIRECT:
            together.setdefault(n, []).append(at)
    for n, members in together.items():
        sizes = {at: held for at in members if (held := all_units[at].sizes) is not None}
        columns = [all_units[at].sums for at in members] + list(sizes.values())
        totals = _drawn(np.stack(columns, axis=1), generator(seed, "bootstrap"), resamples)
        drawn_sizes = dict(zip(sizes, totals.T[len(members) :], strict=True))
        for at, total in zip(members, totals.T, strict=False):
            out[at] = total / drawn_sizes.get(at, n)
    return out


def _drawn(table: Floats, rng: Rng, resamples: int) -> Floats:
    """Sums of n rows drawn with replacement from a table [n, m], float64 [resamples, m]."""
    from oakum.kernels.resampling import drawn_sums  # compiled code: only where something is drawn

    n = len(table)
    step = max(1, BLOCK // n)
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([drawn_sums(rng.integers(0, n, size=(rows, n), dtype=np.int32), table) for rows in sizes])


def _standard_error(sums: Floats, sizes: Floats | None) -> float:
    """Of the mean, or of the ratio of sums (linearised) for clusters."""
    n = len(sums)
    if sizes is None:
        return float(sums.std(ddof=1) / np.sqrt(n))
    residual = sums - sums.sum() / sizes.sum() * sizes
    return float(np.sqrt((residual**2).sum() / (n - 1) / n) / sizes.mean())


def _t_test(sums: Floats, sizes: Floats | None) -> float:
    n = len(sums)
    if n < 2:
        return NAN
    error = _standard_error(sums, sizes)
    mean = float(sums.sum() / (n if sizes is None else sizes.sum()))
    return float(2 * special.stdtr(n - 1, -abs(mean / error))) if error else float(mean == 0.0)


def _wilcoxon(d: Floats) -> float:
    if len(d) < 2 or not d.any():
        return NAN if len(d) < 2 else 1.0
    from scipy import stats  # half a second to import: only where the test is asked for

    return float(stats.wilcoxon(d, zero_method="pratt", method="approx").pvalue)
