"""Drift: whether what comes in now looks like what was learned from, and how much lists moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oakum.errors import ParameterError

DAY = 86_400_000_000  # microseconds
RATES = (1, 2, 3, 5, 9, 17)  # from how many events of a person on one day each bin begins
RATE_NAMES = ("1", "2", "3–4", "5–8", "9–16", "17 or more")
FEWEST = 50  # people below whom nothing is said
MODERATE, STRONG = 0.1, 0.25  # the customary bounds of the index


@dataclass(frozen=True, slots=True)
class Shift:
    """A population stability index. value: NaN where nothing can be said; bar: what chance alone reaches once in a hundred
    times; bins: their names; expected, actual: shares of the bins; people: how many the newer events come from."""

    value: float
    bar: float
    expected: tuple[float, ...]
    actual: tuple[float, ...]
    people: int
    bins: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """calm, moderate or strong; not measured below `FEWEST` people."""
        if not np.isfinite(self.value):
            return "not measured"
        if self.value <= max(MODERATE, self.bar):
            return "calm"
        return "moderate" if self.value <= STRONG else "strong"


def stability(expected: ArrayLike, actual: ArrayLike, *, people: tuple[int, int], bins: Sequence[str] = ()) -> Shift:
    """The population stability index of two histograms over the same bins: Σ (a − e) ln(a / e) over their shares.

    Half a count is added to each bin, so that an empty one is no infinity. people: how many people each histogram comes
    from. Chance alone makes the index about (1/n + 1/m) times a χ² of one degree less than there are bins; `bar` is its 99 %
    point with n and m people, not events, since events of a person go together.
    Paper: Yurdakul & Naranjo 2020, "Statistical properties of the population stability index".
    """
    from scipy.stats import chi2

    old, new = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if old.shape != new.shape or old.ndim != 1 or len(old) < 2:
        raise ParameterError(
            f"Two histograms over the same two or more bins are compared. Got {old.shape}, {new.shape}."
        )
    e, a = ((x + 0.5) / (x.sum() + 0.5 * len(x)) for x in (old, new))
    value = float(((a - e) * np.log(a / e)).sum())
    if min(people) < FEWEST:
        value = float("nan")
    bar = float(chi2.ppf(0.99, len(old) - 1) * (1 / max(1, people[0]) + 1 / max(1, people[1])))
    return Shift(value, bar, tuple(e.tolist()), tuple(a.tolist()), people[1], tuple(bins))


def popularity_bins(counts: ArrayLike, bins: int = 10) -> NDArray[np.int64]:
    """A bin for each item, int64 [items]: `bins` groups of about equal share of the events, the most popular first, and
    one more for items without any. Ties keep the order of their codes."""
    counts = np.asarray(counts, np.float64)
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(counts[order])[:-1]])
    total = max(1.0, float(counts.sum()))
    out = np.empty(len(counts), np.int64)
    out[order] = np.minimum((before / total * bins).astype(np.int64), bins - 1)
    out[counts == 0] = bins
    return out


def item_drift(counts: ArrayLike, items: ArrayLike, *, people: tuple[int, int], bins: int = 10) -> Shift:
    """Whether newer events go to the items of each popularity as often as the training log's did.

    counts: users of each item in training, [items]; items: codes of the newer events, those the model does not know left out.
    """
    counts = np.asarray(counts, np.float64)
    place = popularity_bins(counts, bins)
    codes = np.asarray(items, np.int64)
    old = np.bincount(place, weights=counts, minlength=bins + 1)
    new = np.bincount(place[codes], minlength=bins + 1)
    used = (old > 0) | (new > 0)
    if used.sum() < 2:
        return Shift(float("nan"), float("nan"), (), (), people[1])
    names = [*(str(b + 1) for b in range(bins)), "never learned"]
    return stability(old[used], new[used], people=people, bins=[n for n, u in zip(names, used, strict=True) if u])


def rates(people: ArrayLike, times: ArrayLike) -> NDArray[np.int64]:
    """How many days of a person had 1, 2, 3–4, 5–8, 9–16, 17 or more events, int64 [6]. times: microseconds."""
    who, day = np.asarray(people, np.int64), np.asarray(times, np.int64) // DAY
    if not len(who):
        return np.zeros(len(RATES), np.int64)
    first = day.min()
    one = np.sort(
        who * (day.max() - first + 1) + (day - first)
    )  # a number a person and day; sorting lets other threads run
    ends = np.flatnonzero(np.append(one[1:] != one[:-1], True))
    count = np.diff(ends, prepend=-1)
    return np.bincount(np.searchsorted(RATES, count, side="right") - 1, minlength=len(RATES))


def changed(before: Sequence[Sequence[object]], after: Sequence[Sequence[object]]) -> NDArray[np.float64]:
    """Share of each list that the other does not hold, [n], for lists of ids of any catalogue; NaN where both are empty."""
    out = np.full(len(before), np.nan)
    for r, (a, b) in enumerate(zip(before, after, strict=True)):
        if a or b:
            out[r] = 1 - len(set(a) & set(b)) / max(len(a), len(b))
    return out
