"""What an attack achieved: how often promoted items reach the lists of genuine users, and what that cost.

For targets T, a user u counts for target t if u is genuine and does not own t (in train, validation or test):

    T-HR@k   = mean over t of mean over such u of 1[t in the first k of u's list]
    T-NDCG@k = the same with 1 / log2(place + 1)

Fake users are in no denominator. The per-user values whose mean is T-HR are its linearisation over users, so
that intervals, paired comparisons, lift and success reduction all resample users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ids, Ragged, Ranking
from oakum.errors import DataError, ProtocolError
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import NAN, estimate, influence, proportion

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TargetExposure:
    """Where targets stand in lists. targets int32 [t]; gains float64 [q, t]: 1 / log2(place + 1), 0 where not
    in the first k; counts bool [q, t]: this user counts for this target; genuine bool [q]."""

    k: int
    targets: Ids
    gains: Floats
    counts: NDArray[np.bool_]
    genuine: NDArray[np.bool_]

    @property
    def hits(self) -> Floats:
        """1 where the target is in the first k, 0 where not, NaN where the user does not count, [q, t]."""
        return np.where(self.counts, (self.gains > 0).astype(np.float64), np.nan)

    @property
    def by_target(self) -> Floats:
        """Share of counting users who are shown each target, [t]; NaN where nobody counts."""
        return _column_means((self.gains > 0).astype(np.float64), self.counts)

    def values(self, kind: str = "hit") -> Floats:
        """One value a query whose mean over genuine users is T-HR ("hit") or T-NDCG ("ndcg"); NaN for
        fakes."""
        gains = self.gains if kind == "ndcg" else (self.gains > 0).astype(np.float64)
        means = _column_means(gains, self.counts)
        known = ~np.isnan(means)
        if not known.any():
            return np.full(len(gains), np.nan)
        share = self.counts[:, known].sum(axis=0) / self.genuine.sum()
        moved = np.where(self.counts[:, known], (gains[:, known] - means[known]) / share, 0.0).mean(axis=1)
        return np.where(self.genuine, float(means[known].mean()) + moved, np.nan)

    def hit_rate(self, *, seed: int = 0, resamples: int = 1000) -> Estimate:
        """T-HR@k with an interval over genuine users; Wilson's where no target, or every one, is shown."""
        values = self.values("hit")
        found = estimate(values, seed=seed, resamples=resamples)
        shown = np.nanmax(self.hits, initial=0.0) if self.counts.any() else 0.0
        if found.n and (shown == 0.0 or np.nanmin(self.hits, initial=1.0) == 1.0):
            return proportion(found.n * shown, found.n)
        return _within(found, 0.0, 1.0)

    def ndcg(self, *, seed: int = 0, resamples: int = 1000) -> Estimate:
        """T-NDCG@k with an interval over genuine users."""
        return _within(estimate(self.values("ndcg"), seed=seed, resamples=resamples), 0.0, 1.0)


def target_hit(
    ranking: Ranking, targets: Any, owned: Ragged, k: int, *, genuine: NDArray[np.bool_] | None = None
) -> TargetExposure:
    """Look the targets up in the first k places. owned: one row a query with all that its user has in any
    part; genuine: bool [q], False for fake users (default: all genuine). Lists must not hold training or
    validation items.
    """
    wanted = np.unique(np.asarray(targets, np.int32))
    q = len(ranking)
    if len(wanted) == 0:
        raise DataError("There is no target: name at least one item whose exposure is to be measured.")
    if len(owned) != q or (genuine is not None and len(genuine) != q):
        raise ProtocolError(
            f"There are {q} lists but {len(owned)} rows of owned items; give one row a query."
        )
    if k > ranking.k:
        raise ProtocolError(
            f"A cut-off of {k} needs lists as long; these have {ranking.k} places: rank more."
        )
    real = np.ones(q, bool) if genuine is None else np.asarray(genuine, bool)
    gains = np.zeros((q, len(wanted)))
    items = ranking.items[:, :k]
    column = np.minimum(np.searchsorted(wanted, items), len(wanted) - 1)
    rows, places = np.nonzero((wanted[column] == items) & (items >= 0))
    # Written from the last place to the first, so that an item listed twice counts where it stands first.
    rows, places = rows[::-1], places[::-1]
    gains[rows, column[rows, places]] = 1.0 / np.log2(places + 2.0)
    counts = np.broadcast_to(real[:, None], gains.shape).copy()
    column = np.minimum(np.searchsorted(wanted, owned.items), len(wanted) - 1)
    has = wanted[column] == owned.items
    counts[owned.owners()[has], column[has]] = False
    return TargetExposure(k, wanted, gains, counts, real)


def exposure_ratio(
    ranking: Ranking,
    targets: Any,
    owned: Ragged,
    held_out: Ragged,
    k: int,
    *,
    genuine: NDArray[np.bool_] | None = None,
) -> TargetExposure:
    """ER@k of the federated literature: T-HR with held-out (test) items taken out of the lists too.

    The lists must be longer than k by the held-out items they hold, else this refuses. Fewer competitors: ER
    >= T-HR.
    """
    width = int(max(ranking.items.max(initial=0), held_out.items.max(initial=0))) + 1
    rows = np.arange(len(ranking))[:, None]
    out = np.isin(rows * width + ranking.items, held_out.owners() * width + held_out.items) & (
        ranking.items >= 0
    )
    left = np.where(out, -1, ranking.items)
    order = np.argsort(left < 0, axis=1, kind="stable")
    left = np.take_along_axis(left, order, axis=1)
    full = (ranking.items >= 0).all(axis=1)
    if ranking.k < k or (full & ((left >= 0).sum(axis=1) < k)).any():
        need = k + int(held_out.lengths.max(initial=0))
        raise ProtocolError(
            f"Lists of {ranking.k} places are too short for ER@{k}: rank {need} items a query."
        )
    scores = np.where(left >= 0, np.take_along_axis(ranking.scores, order, axis=1), np.nan).astype(np.float32)
    return target_hit(Ranking(left, scores), targets, owned, k, genuine=genuine)


def reach(clean: TargetExposure, attacked: TargetExposure) -> Floats:
    """1 where a user is shown a target under attack and none was shown when clean, else 0, [q]; mean: the
    reach.

    NaN for fake users and for those who own every target.
    """
    _same(clean, attacked)
    now = (attacked.gains > 0) & attacked.counts
    before = (clean.gains > 0) & clean.counts
    value = (now.any(axis=1) & ~before.any(axis=1)).astype(np.float64)
    return np.where(attacked.counts.any(axis=1), value, np.nan)


def lift(
    clean: TargetExposure, attacked: TargetExposure, *, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Log odds of T-HR under attack minus when clean; 0: the attack did nothing.

    logit((N T-HR + 1/2) / (N + 1)) with N the counting pairs of user and target, so that 0 hits stay finite.
    """
    _same(clean, attacked)
    pairs = int(clean.counts.sum())
    total, slopes = 0.0, np.zeros(len(clean.genuine))
    for sign, exposure in ((1.0, attacked), (-1.0, clean)):
        values = exposure.values()
        rate = float(np.nanmean(values)) if exposure.genuine.any() else NAN
        p = (pairs * rate + 0.5) / (pairs + 1)
        total += sign * float(np.log(p / (1 - p)))
        slopes = slopes + sign * (values - rate) / (p * (1 - p))
    found = estimate(total + slopes, seed=seed, resamples=resamples)
    return Estimate(found.value, found.low, found.high, found.n, f"linearised log odds; {found.how}")


def target_ranks(scores: Any, targets: Any, *, exclude: Ragged | None = None) -> Floats:
    """Rank of each target in whole score rows, [q, t]: 1 + items above it + half of the other items equal to
    it.

    scores: float [q, items], NaN is not ranked; exclude: one row of non-candidates a query. NaN for a target
    that is itself not a candidate. Cost: O(q items t).
    """
    table = np.array(scores, np.float32)
    if exclude is not None:
        table[exclude.owners(), exclude.items] = np.nan
    wanted = np.asarray(targets, np.int64)
    out = np.empty((len(table), len(wanted)))
    for column, target in enumerate(wanted):
        own = table[:, target : target + 1]
        above = (table > own).sum(axis=1)
        equal = (table == own).sum(axis=1) - 1
        out[:, column] = np.where(np.isnan(own[:, 0]), np.nan, 1 + above + equal / 2)
    return out


def rank_shift(clean_ranks: Any, attacked_ranks: Any, num_items: int) -> Floats:
    """Places that targets rose, as a share of the catalogue, in [-1, 1]: (clean - attacked) / items, [q].

    Ranks [q, t] as of `target_ranks`, NaN where a user does not count. One value a query whose mean is the
    mean over pairs of user and target.
    """
    moved = (np.asarray(clean_ranks, np.float64) - np.asarray(attacked_ranks, np.float64)) / num_items
    pairs = (~np.isnan(moved)).sum(axis=1).astype(np.float64)
    return influence(
        np.where(pairs > 0, np.nansum(moved, axis=1), np.nan), np.where(pairs > 0, pairs, np.nan)
    )


def retention(before: Any, after: Any, *, seed: int = 0, resamples: int = 1000) -> Estimate:
    """Mean accuracy after over mean accuracy before, on the same queries: 1 = nothing lost.

    Quality retention (attacked over clean) and the price of a defence (defended over plain, on clean data).
    """
    found = estimate(influence(after, before), seed=seed, resamples=resamples)
    return Estimate(found.value, found.low, found.high, found.n, f"ratio of means; {found.how}")


def success_reduction(
    clean: TargetExposure,
    attacked: TargetExposure,
    defended: TargetExposure,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """Share of the attack's success that the defence took away: (T_a - T_d) / (T_a - T_c), cut to [-1, 1].

    Undefined (NaN, with the reason in `how`) where T_a - T_c is below two standard errors: there is nothing
    to undo.
    """
    _same(clean, attacked)
    _same(clean, defended)
    gained = attacked.values() - clean.values()
    known = gained[~np.isnan(gained)]
    n = len(known)
    if n < 2 or float(known.mean()) <= 0 or float(known.mean()) < 2 * float(known.std(ddof=1)) / np.sqrt(n):
        return Estimate(NAN, NAN, NAN, n, "undefined: the attack's success is below two standard errors")
    found = estimate(influence(attacked.values() - defended.values(), gained), seed=seed, resamples=resamples)
    return _within(found, -1.0, 1.0)


@dataclass(frozen=True, slots=True)
class BudgetToHarm:
    """The smallest fake share at which T-HR reaches `harm`. share: as a fraction of users; bound: "at"
    (interpolated), "at most" (the smallest share tried was already enough), "above" (even the largest was
    not)."""

    share: float
    bound: str
    harm: float

    def __str__(self) -> str:
        sign = {"at": "", "at most": "<= ", "above": "> "}[self.bound]
        return f"{sign}{100 * self.share:.3g} %"


def budget_to_harm(shares: Sequence[float], rates: Sequence[float], *, harm: float = 0.05) -> BudgetToHarm:
    """First crossing of `harm` by T-HR over fake shares, between two shares interpolated in the log of the
    share."""
    s, r = np.asarray(shares, np.float64), np.asarray(rates, np.float64)
    if len(s) != len(r) or len(s) == 0 or (s <= 0).any() or np.isnan(r).any():
        raise DataError("Budget to harm needs one T-HR a fake share, and shares above 0.")
    order = np.argsort(s)
    s, r = s[order], r[order]
    reached = np.flatnonzero(r >= harm)
    if len(reached) == 0:
        return BudgetToHarm(float(s[-1]), "above", harm)
    i = int(reached[0])
    if i == 0:
        return BudgetToHarm(float(s[0]), "at most", harm)
    way = (harm - r[i - 1]) / (r[i] - r[i - 1])
    return BudgetToHarm(float(np.exp(np.log(s[i - 1]) + way * np.log(s[i] / s[i - 1]))), "at", harm)


def _column_means(values: Floats, counts: NDArray[np.bool_]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(counts, values, 0.0).sum(axis=0) / counts.sum(axis=0))


def _within(found: Estimate, low: float, high: float) -> Estimate:
    value, a, b = (float(np.clip(x, low, high)) for x in (found.value, found.low, found.high))
    return Estimate(value, a, b, found.n, found.how)


def _same(a: TargetExposure, b: TargetExposure) -> None:
    if a.k != b.k or not np.array_equal(a.targets, b.targets) or not np.array_equal(a.counts, b.counts):
        raise ProtocolError("Both exposures must be of the same users, targets, owned items and cut-off.")
