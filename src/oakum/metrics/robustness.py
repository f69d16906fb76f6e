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
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ids, Ragged, Ranking
from oakum.errors import DataError, ProtocolError
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import NAN, estimate, influence, proportion

Floats = NDArray[np.float64]
Owned: TypeAlias = Any  # one row a query of what its user has: Ragged or CSR [q, items]


def target_hits(
    lists: Ids | Ranking, targets: Any, owned: Owned, k: int, *, genuine: NDArray[np.bool_] | None = None
) -> Floats:
    """1 where a target is in the first k of a user's list, 0 where not, NaN where the user does not count,
    [q, t].

    owned: all that each user has in any part, one row a query (Ragged or CSR [q, items]); genuine: bool [q],
    False for fake users (default: all are genuine). The lists must not hold training or validation items.
    """
    gains = target_ndcg(lists, targets, owned, k, genuine=genuine)
    return np.where(np.isnan(gains), np.nan, (gains > 0).astype(np.float64))


def target_ndcg(
    lists: Ids | Ranking, targets: Any, owned: Owned, k: int, *, genuine: NDArray[np.bool_] | None = None
) -> Floats:
    """1 / log2(place + 1) of each target in the first k, 0 where it is not there, NaN as in `target_hits`,
    [q, t]."""
    items = lists.items if isinstance(lists, Ranking) else lists
    wanted = np.asarray(targets, np.int64)
    q = len(items)
    if len(wanted) == 0:
        raise DataError("There is no target: name at least one item whose exposure is to be measured.")
    rows = len(owned) if isinstance(owned, Ragged) else owned.shape[0]
    if rows != q or (genuine is not None and len(genuine) != q):
        raise ProtocolError(f"There are {q} lists but {rows} rows of owned items; give one row a query.")
    if k > items.shape[1]:
        raise ProtocolError(f"A cut-off of {k} needs lists as long; these have {items.shape[1]} places: rank more.")
    out = np.zeros((q, len(wanted)))
    discounts = 1.0 / np.log2(np.arange(2.0, k + 2.0))
    for column, target in enumerate(wanted):
        match = items[:, :k] == target
        out[:, column] = np.where(match.any(axis=1), discounts[match.argmax(axis=1)], 0.0)
        if isinstance(owned, Ragged):
            out[owned.owners()[owned.items == target], column] = np.nan
        else:
            out[owned[:, [target]].nonzero()[0], column] = np.nan
    if genuine is not None:
        out[~np.asarray(genuine, bool)] = np.nan
    return out


def exposure_by_user(values: Floats) -> Floats:
    """One value a user whose mean is the mean over targets of the mean over counting users, [q].

    values: [q, t] of `target_hits` or `target_ndcg` (or their mean over seeds), NaN where a user does not
    count; a user who counts for no target is NaN. The linearisation M + mean_t (v_ut - m_t) / share_t over
    counting pairs.
    """
    counts = ~np.isnan(values)
    some = counts.any(axis=0)
    people = counts.any(axis=1)
    if not some.any():
        return np.full(len(values), np.nan)
    kept, known = np.where(counts, values, 0.0)[:, some], counts[:, some]
    means = kept.sum(axis=0) / known.sum(axis=0)
    share = known.sum(axis=0) / people.sum()
    moved = np.where(known, (kept - means) / share, 0.0).mean(axis=1)
    return np.where(people, float(means.mean()) + moved, np.nan)


def exposure(values: Floats, *, seed: int = 0, resamples: int = 1000) -> Estimate:
    """T-HR@k (or T-NDCG@k) from its values by user and target, with an interval over users.

    Where no target is shown to anybody, or all to all, Wilson's interval of that many users.
    """
    found = estimate(exposure_by_user(values), seed=seed, resamples=resamples)
    seen = values[~np.isnan(values)]
    if found.n > 1 and seen.min() == seen.max() and seen[0] in (0.0, 1.0):
        return proportion(found.n * float(seen[0]), found.n)
    return _within(found, 0.0, 1.0)


def exposure_ratio(
    ranking: Ranking,
    targets: Any,
    owned: Owned,
    held_out: Ragged,
    k: int,
    *,
    genuine: NDArray[np.bool_] | None = None,
) -> Floats:
    """ER@k of the federated literature: `target_hits` with held-out (test) items taken out of the lists too,
    [q, t].

    The lists must be longer than k by the held-out items they hold, else this refuses. Fewer competitors: ER
    >= T-HR.
    """
    width = int(max(ranking.items.max(initial=0), held_out.items.max(initial=0))) + 1
    rows = np.arange(len(ranking))[:, None]
    out = np.isin(rows * width + ranking.items, held_out.owners() * width + held_out.items) & (ranking.items >= 0)
    left = np.where(out, -1, ranking.items).astype(np.int32)
    left = np.take_along_axis(left, np.argsort(left < 0, axis=1, kind="stable"), axis=1)
    full = (ranking.items >= 0).all(axis=1)
    if ranking.k < k or (full & ((left >= 0).sum(axis=1) < k)).any():
        need = k + int(held_out.lengths.max(initial=0))
        raise ProtocolError(f"Lists of {ranking.k} places are too short for ER@{k}: rank {need} items a query.")
    return target_hits(left, targets, owned, k, genuine=genuine)


def reach(clean: Floats, attacked: Floats) -> Floats:
    """1 where a user is shown a target under attack and none was shown when clean, else 0, [q]; mean: the
    reach.

    Both [q, t] of `target_hits`; NaN for those who count for no target.
    """
    _same(clean, attacked)
    now, before = (np.nan_to_num(v).max(axis=1) > 0 for v in (attacked, clean))
    return np.where((~np.isnan(attacked)).any(axis=1), (now & ~before).astype(np.float64), np.nan)


def lift(clean: Floats, attacked: Floats, *, seed: int = 0, resamples: int = 1000) -> Estimate:
    """Log odds of T-HR under attack minus when clean; 0: the attack did nothing. Both [q, t] of
    `target_hits`.

    logit((N T-HR + 1/2) / (N + 1)) with N the counting pairs of user and target, so that 0 hits stay finite.
    """
    _same(clean, attacked)
    pairs = int((~np.isnan(clean)).sum())
    if pairs == 0:
        return Estimate(NAN, NAN, NAN, 0, "no user counts for any target")
    total, slopes = 0.0, np.zeros(len(clean))
    for sign, shown in ((1.0, attacked), (-1.0, clean)):
        values = exposure_by_user(shown)
        rate = float(np.nanmean(values))
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
    return influence(np.where(pairs > 0, np.nansum(moved, axis=1), np.nan), np.where(pairs > 0, pairs, np.nan))


def retention(before: Any, after: Any, *, seed: int = 0, resamples: int = 1000) -> Estimate:
    """Mean accuracy after over mean accuracy before, on the same queries: 1 = nothing lost.

    Quality retention (attacked over clean) and the price of a defence (defended over plain, on clean data).
    """
    found = estimate(influence(after, before), seed=seed, resamples=resamples)
    return Estimate(found.value, found.low, found.high, found.n, f"ratio of means; {found.how}")


def success_reduction(
    clean: Floats, attacked: Floats, defended: Floats, *, seed: int = 0, resamples: int = 1000
) -> Estimate:
    """Share of the attack's success that the defence took away: (T_a - T_d) / (T_a - T_c), cut to [-1, 1].

    Undefined (NaN, with the reason in `how`) where T_a - T_c is below two standard errors: there is nothing
    to undo.
    """
    _same(clean, attacked)
    _same(clean, defended)
    now, cured = exposure_by_user(attacked), exposure_by_user(defended)
    gained = now - exposure_by_user(clean)
    known = gained[~np.isnan(gained)]
    n = len(known)
    if n < 2 or float(known.mean()) <= 0 or float(known.mean()) < 2 * float(known.std(ddof=1)) / np.sqrt(n):
        return Estimate(NAN, NAN, NAN, n, "undefined: the attack's success is below two standard errors")
    found = estimate(influence(now - cured, gained), seed=seed, resamples=resamples)
    return _within(found, -1.0, 1.0)


@dataclass(frozen=True, slots=True)
class BudgetToHarm:
    """The smallest fake share at which T-HR reaches `harm`.

    share: as a fraction of users; infinite where even `largest`, the largest share tried, is not enough.
    bound: "at" (interpolated), "at most" (the smallest share tried was already enough), "above" (not
    reached).
    """

    share: float
    bound: str
    harm: float
    largest: float

    def __str__(self) -> str:
        sign = {"at": "", "at most": "<= ", "above": "> "}[self.bound]
        return f"{sign}{100 * min(self.share, self.largest):.3g} %"


def budget_to_harm(
    shares: Sequence[float] | Floats, rates: Sequence[float] | Floats, *, harm: float = 0.05
) -> BudgetToHarm:
    """First crossing of `harm` by T-HR over fake shares, between two shares interpolated in the log of the
    share."""
    s, r = np.asarray(shares, np.float64), np.asarray(rates, np.float64)
    if len(s) != len(r) or len(s) == 0 or (s <= 0).any() or np.isnan(r).any():
        raise DataError("Budget to harm needs one T-HR a fake share, and shares above 0.")
    order = np.argsort(s)
    s, r = s[order], r[order]
    reached = np.flatnonzero(r >= harm)
    if len(reached) == 0:
        return BudgetToHarm(float("inf"), "above", harm, float(s[-1]))
    i = int(reached[0])
    if i == 0:
        return BudgetToHarm(float(s[0]), "at most", harm, float(s[-1]))
    way = (harm - r[i - 1]) / (r[i] - r[i - 1])
    share = float(np.exp(np.log(s[i - 1]) + way * np.log(s[i] / s[i - 1])))
    return BudgetToHarm(share, "at", harm, float(s[-1]))


def _within(found: Estimate, low: float, high: float) -> Estimate:
    value, a, b = (float(np.clip(x, low, high)) for x in (found.value, found.low, found.high))
    return Estimate(value, a, b, found.n, found.how)


def _same(a: Floats, b: Floats) -> None:
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        raise ProtocolError("Both exposures must be of the same users, targets, owned items and cut-off.")
