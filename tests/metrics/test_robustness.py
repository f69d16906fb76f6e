from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.lists import random_lists, ranking
from oakum.data import Ragged
from oakum.errors import ProtocolError
from oakum.metrics import robustness
from oakum.metrics.robustness import exposure, exposure_by_user, target_hits, target_ndcg

NONE = np.nan


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_target_rates_agree_with_the_definition(seed):
    rng = np.random.default_rng(seed)
    lists, owned = random_lists(rng, 12, 5, 15), random_lists(rng, 12, 4, 15)
    genuine = rng.random(12) < 0.8
    targets = rng.permutation(15)[:3]
    given = (ranking(lists, k=5), targets, Ragged.of(owned), 4)
    found, gained = target_hits(*given, genuine=genuine), target_ndcg(*given, genuine=genuine)
    again = target_hits(ranking(lists, k=5).items, targets, Ragged.of(owned).matrix(15), 4, genuine=genuine)
    assert np.array_equal(found, again, equal_nan=True)
    hits, gains = [], []
    for t in sorted(targets):
        users = [u for u in range(12) if genuine[u] and t not in owned[u]]
        if users:
            hits.append(np.mean([t in lists[u][:4] for u in users]))
            gains.append(np.mean([1 / np.log2(lists[u].index(t) + 2) if t in lists[u][:4] else 0 for u in users]))
    if hits:
        assert np.nanmean(exposure_by_user(found)) == pytest.approx(np.mean(hits))
        assert np.nanmean(exposure_by_user(gained)) == pytest.approx(np.mean(gains))
    assert np.isnan(exposure_by_user(found))[~genuine].all()


def exposed(share: float, *, seed: int = 0, q: int = 400, extra: int = 0, of=target_hits) -> np.ndarray:
    """Target 0 stands first for a share of users; user 5 owns it; `extra` fake users all see it."""
    shown = np.random.default_rng(seed).random(q) < share
    lists = ranking([[0 if s else 1, 2] for s in shown] + [[0, 2]] * extra)
    owned = Ragged.of([[0] if u == 5 else [] for u in range(q + extra)])
    return of(lists, [0], owned, 2, genuine=np.arange(q + extra) < q)


@pytest.mark.parametrize("of", [target_hits, target_ndcg])
def test_fake_users_change_no_number(of):
    assert exposure(exposed(0.2, of=of)).n == 399
    plain, crowded = exposure(exposed(0.2, of=of)), exposure(exposed(0.2, extra=1000, of=of))
    assert (plain.value, plain.low, plain.high, plain.n) == (
        crowded.value,
        crowded.low,
        crowded.high,
        crowded.n,
    )


def test_a_model_compared_with_itself_and_one_that_shows_targets_to_all():
    clean = exposed(0.2)
    same = robustness.lift(clean, clean)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert np.nanmean(robustness.reach(clean, clean)) == 0
    assert np.isnan(robustness.success_reduction(clean, clean, clean).value)
    assert robustness.retention([0.2, 0.4], [0.2, 0.4]).value == 1
    targets = [3, 1, 4]
    lists = ranking([targets] * 30)
    everywhere = exposure(target_hits(lists, targets, Ragged.empty(30), 3))
    assert everywhere.value == 1
    assert everywhere.low < 1
    gained = exposure(target_ndcg(lists, targets, Ragged.empty(30), 3))
    assert gained.value == pytest.approx(np.mean(1 / np.log2([2, 3, 4])))
    never = exposure(target_hits(ranking([[8]] * 30), targets, Ragged.empty(30), 1))
    assert never.value == 0
    assert never.high > 0


def test_intervals_of_the_target_hit_rate_cover():
    repetitions, rate = 300, 0.1
    inside = 0
    for r in range(repetitions):
        found = exposure(exposed(rate, seed=r), seed=r, resamples=400)
        inside += found.low <= rate <= found.high
    error = 3.3 * np.sqrt(0.95 * 0.05 / repetitions)
    assert min(0.93, 0.95 - error) <= inside / repetitions <= max(0.97, 0.95 + error)


def test_lift_and_reach_by_hand():
    clean, attacked = exposed(0.0), exposed(0.3, seed=1)
    n = int((~np.isnan(clean)).sum())
    hits = int(np.nansum(attacked))
    odds = np.log((hits + 0.5) / (n - hits + 0.5)) - np.log(0.5 / (n + 0.5))
    found = robustness.lift(clean, attacked)
    assert found.value == pytest.approx(odds)
    assert found.low > 0
    reached = robustness.reach(clean, attacked)
    assert np.nansum(reached) == hits
    assert np.isnan(reached[5])


def test_success_reduction_is_the_share_undone():
    clean, attacked, half = exposed(0.0), exposed(0.4, seed=2), exposed(0.2, seed=3)
    rate = lambda e: float(np.nanmean(e))
    found = robustness.success_reduction(clean, attacked, half)
    assert found.value == pytest.approx((rate(attacked) - rate(half)) / (rate(attacked) - rate(clean)))
    assert robustness.success_reduction(clean, attacked, clean).value == pytest.approx(1)
    assert robustness.success_reduction(clean, attacked, attacked).value == pytest.approx(0)
    with pytest.raises(ProtocolError, match="same users"):
        robustness.success_reduction(clean, attacked, exposed(0.1, q=399))


def test_exposure_ratio_takes_test_items_out():
    lists = ranking([[7, 8, 0, 1], [1, 2, 3, 0]])
    held_out = Ragged.of([[7, 8], [9]])
    plain = target_hits(lists, [0], Ragged.empty(2), 2)
    ratio = robustness.exposure_ratio(lists, [0], Ragged.empty(2), held_out, 2)
    assert plain.mean() == 0.0
    assert ratio.mean() == 0.5
    with pytest.raises(ProtocolError, match="rank 5 items"):
        robustness.exposure_ratio(lists, [0], Ragged.empty(2), held_out, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_counted_ranks_agree_with_sorting(seed):
    scores = np.random.default_rng(seed).integers(0, 6, (5, 12)).astype(np.float32)
    scores[0, 3] = NONE
    ranks = robustness.target_ranks(scores, np.arange(12))
    for row, found in zip(scores, ranks, strict=True):
        down, up = np.sort(-row[~np.isnan(row)]), -row
        first = np.searchsorted(down, up, side="left") + 1
        last = np.searchsorted(down, up, side="right")
        assert found[~np.isnan(row)] == pytest.approx(((first + last) / 2)[~np.isnan(row)])
    assert np.isnan(ranks[0, 3])


def test_rank_shift_is_the_mean_over_pairs():
    clean = np.array([[10.0, NONE], [4.0, 8.0], [NONE, NONE]])
    attacked = np.array([[5.0, NONE], [4.0, 2.0], [NONE, NONE]])
    found = robustness.rank_shift(clean, attacked, 10)
    assert np.nanmean(found) == pytest.approx((0.5 + 0.0 + 0.6) / 3)
    assert np.isnan(found[2])


def test_budget_to_harm_is_interpolated_in_the_log_of_the_share():
    shares = [0.001, 0.003, 0.01, 0.03, 0.1]
    found = robustness.budget_to_harm(shares, [0, 0, 0.0, 0.1, 0.3])
    assert found.share == pytest.approx(np.sqrt(0.01 * 0.03))
    assert str(robustness.budget_to_harm(shares, [0, 0, 0, 0, 0.04])) == "> 10 %"
    assert str(robustness.budget_to_harm(shares, [0.2, 0, 0, 0, 0])) == "<= 0.1 %"
