from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from oakum.errors import DataError, ParameterError
from oakum.metrics.statistics import compare, compare_all, estimate, estimates, holm, influence, proportion
from oakum.seeds import generator


def coverage_band(repetitions: int, level: float = 0.95) -> tuple[float, float]:
    """93 to 97 %, widened by what this many repetitions leave open (3.3 standard errors)."""
    error = 3.3 * np.sqrt(level * (1 - level) / repetitions)
    return min(0.93, level - error), max(0.97, level + error)


@pytest.mark.parametrize("n", [400, 2_000])
def test_bootstrap_intervals_of_a_hit_rate_cover(n):
    repetitions, rate = 300, 0.2
    draws = np.random.default_rng(n).random((repetitions, n)) < rate
    inside = 0
    for r, row in enumerate(draws):
        found = estimate(row, seed=r, resamples=400)
        inside += found.low <= rate <= found.high
    low, high = coverage_band(repetitions)
    assert low <= inside / repetitions <= high


def test_cluster_intervals_cover_where_plain_ones_are_too_narrow():
    rng, repetitions = np.random.default_rng(5), 200
    names = np.repeat(np.arange(60), 10)
    inside = {"cluster": 0, "plain": 0}
    for r in range(repetitions):
        values = rng.normal(size=60)[names] + 0.3 * rng.normal(size=600)
        for how, clusters in (("cluster", names), ("plain", None)):
            found = estimate(values, seed=r, resamples=300, clusters=clusters)
            inside[how] += found.low <= 0 <= found.high
    low, _ = coverage_band(repetitions)
    assert inside["cluster"] / repetitions >= low - 0.02
    assert inside["plain"] / repetitions < 0.7


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40), st.integers(0, 100))
def test_the_interval_holds_the_mean_and_shifts_with_the_values(values, seed):
    found = estimate(values, seed=seed, resamples=100)
    assert found.value == pytest.approx(np.mean(values))
    assert found.low <= found.value <= found.high
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    moved = estimate(np.array(values) + 3, seed=seed, resamples=100)
    assert moved.low == pytest.approx(found.low + 3, abs=1e-9)


def test_the_three_ways_of_resampling_agree():
    rng = np.random.default_rng(0)
    direct = rng.exponential(size=10_000)
    normal = np.append(direct, direct.mean())
    rounded = np.round(normal, 1)
    a, b, c = (estimate(x, resamples=2000) for x in (direct, normal, rounded))
    assert "normal limit" in b.how
    assert "bootstrap over users, 2000" in a.how
    assert "bootstrap over users, 2000" in c.how
    width = b.high - b.low
    for other in (a, c):
        assert other.high - other.low == pytest.approx(width, rel=0.08)


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).random(300)
    assert estimate(values, seed=4) == estimate(values, seed=4)
    assert estimate(values, seed=4) != estimate(values, seed=5)


def test_missing_values_are_left_out_and_counted():
    found = estimate([1.0, np.nan, 3.0, np.nan])
    assert (found.value, found.n) == (2.0, 2)
    assert "2 without a value left out" in found.how


def test_nothing_and_one_value_have_no_interval():
    assert estimate([np.nan]).n == 0
    one = estimate([4.0])
    assert one.value == 4.0
    assert np.isnan(one.low)
    assert np.isnan(one.high)


def test_memory_is_bounded_at_a_million_values():
    values = np.random.default_rng(0).random(1_000_000)
    tracemalloc.start()
    found = estimate(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(1 / 12 / 1e6), rel=0.01)


def test_misuse_is_one_sentence():
    with pytest.raises(DataError, match="1 of 2 values are infinite"):
        estimate([1.0, np.inf])
    with pytest.raises(ParameterError, match=r"in \(0, 1\)"):
        estimate([1.0, 2.0], level=95)
    with pytest.raises(DataError, match="3 cluster labels for 2 values"):
        estimate([1.0, 2.0], clusters=[1, 2, 3])


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (20, 20), (517, 1000)])
def test_proportion_agrees_with_scipy(hits, n):
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    found = proportion(hits, n)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_compare_gives_the_paired_t_test_and_wilcoxon():
    rng = np.random.default_rng(3)
    b = rng.random(60)
    a = b + rng.normal(0.1, 0.3, 60)
    found = compare(a, b, name="new", against="old")
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.difference.value == pytest.approx((a - b).mean())
    assert found.wins + found.losses == 60
    signed = compare(a, b, test="wilcoxon")
    assert signed.p_value == pytest.approx(stats.wilcoxon(a - b, zero_method="pratt", method="approx").pvalue)


def test_compare_equal_systems_and_unequal_lengths():
    same = compare([1.0, 2.0, np.nan], [1.0, 2.0, 3.0])
    assert (same.p_value, same.ties, same.difference.n) == (1.0, 2, 2)
    with pytest.raises(DataError, match="same units on both sides"):
        compare([1.0], [1.0, 2.0])


def test_p_values_are_uniform_without_a_difference():
    rng = np.random.default_rng(11)
    p = [compare(rng.random(50), rng.random(50), resamples=1).p_value for _ in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_holm_by_hand_and_bounds():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, np.nan]) == [1.0, 1.0]
    assert holm([]) == []


def test_compare_all_is_against_the_best_or_the_baseline():
    rng = np.random.default_rng(0)
    values = {"low": rng.random(80), "high": rng.random(80) + 1, "middle": rng.random(80) + 0.5}
    found = compare_all(values)
    assert {c.against for c in found} == {"high"}
    assert all(c.difference.high < 0 and c.comparisons == 2 for c in found)
    assert all(c.p_adjusted >= c.p_value for c in found)
    named = compare_all(values, baseline="low")
    assert [c.name for c in named] == ["high", "middle"]
    with pytest.raises(ParameterError, match="baseline 'none' is not among"):
        compare_all(values, baseline="none")
    assert compare_all({}) == []


def test_influence_carries_a_ratio_of_means():
    rng = np.random.default_rng(0)
    top, bottom = rng.random(4000), rng.random(4000) + 0.5
    values = influence(top, bottom)
    assert values.mean() == pytest.approx(top.mean() / bottom.mean())
    index = rng.integers(0, 4000, (1000, 4000))
    spread = (top[index].mean(1) / bottom[index].mean(1)).std()
    assert values.std() / np.sqrt(4000) == pytest.approx(spread, rel=0.1)


def test_many_estimates_at_once_are_those_of_each():
    rng = np.random.default_rng(3)
    values = {
        "a": rng.random(400), "b": rng.random(400) < 0.2, "few": rng.integers(0, 3, 3000), "many": rng.random(12_000),
        "gaps": np.where(rng.random(400) < 0.1, np.nan, rng.random(400)), "none": [], "one": [0.5],
    }  # fmt: skip
    together = estimates(values, seed=5)
    assert list(together) == list(values)
    for name, own in values.items():
        alone = estimate(own, seed=5)
        assert (together[name].n, together[name].how) == (alone.n, alone.how)
        for field in ("value", "low", "high"):
            assert getattr(together[name], field) == pytest.approx(getattr(alone, field), abs=1e-12, nan_ok=True)


def test_resamples_are_means_of_drawn_values():
    values = np.random.default_rng(4).random(50)
    index = generator(9, "bootstrap").integers(0, 50, size=(200, 50), dtype=np.int32)
    low, high = np.quantile(values[index].mean(1), [0.025, 0.975])
    found = estimate(values, seed=9, resamples=200)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
