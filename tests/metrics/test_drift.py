"""Indexes of drift against their definition, and against chance."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from oakum.errors import ParameterError
from oakum.metrics.drift import DAY, changed, item_drift, popularity_bins, rates, stability


def test_the_index_is_its_definition() -> None:
    found = stability([30, 70], [60, 40], people=(100, 100))
    e, a = [30.5 / 101, 70.5 / 101], [60.5 / 101, 40.5 / 101]
    assert found.value == pytest.approx(sum((y - x) * math.log(y / x) for x, y in zip(e, a, strict=True)))
    assert found.verdict == "strong"
    assert stability([50, 50], [50, 50], people=(100, 100)).value == pytest.approx(0, abs=1e-12)
    assert stability([1, 9], [9, 1], people=(10, 100)).verdict == "not measured"
    with pytest.raises(ParameterError, match="same two or more bins"):
        stability([1, 2], [1, 2, 3], people=(100, 100))


def test_chance_passes_the_bar_about_once_in_a_hundred_times() -> None:
    rng = np.random.default_rng(0)
    p = np.full(10, 0.1)
    over = [
        (s := stability(rng.multinomial(2000, p), rng.multinomial(500, p), people=(2000, 500))).value > s.bar
        for _ in range(2000)
    ]
    assert 0.003 < np.mean(over) < 0.02


def test_items_fall_into_groups_of_equal_share() -> None:
    counts = np.array([50, 25, 25, 0])
    assert popularity_bins(counts, 2).tolist() == [0, 1, 1, 2]
    many = np.random.default_rng(1).integers(1, 20, 500)
    share = np.bincount(popularity_bins(many), weights=many) / many.sum()
    assert len(share) == 10
    assert np.abs(share - 0.1).max() < 0.01


def test_what_people_turn_to_is_seen_and_the_same_taste_is_not() -> None:
    rng = np.random.default_rng(2)
    counts = rng.zipf(1.5, 300).clip(max=200)
    same = rng.choice(300, 1000, p=counts / counts.sum())
    assert item_drift(counts, same, people=(500, 400)).verdict == "calm"
    assert item_drift(counts, rng.integers(0, 300, 1000), people=(500, 400)).verdict == "strong"
    assert item_drift(counts, [], people=(500, 0)).verdict == "not measured"


def test_rates_count_days_of_people() -> None:
    people = [0, 0, 0, 1, 1, 2]
    times = [0, 5, DAY, 0, 1, 3 * DAY]  # two on one day, one; two; one
    assert rates(people, times).tolist() == [2, 2, 0, 0, 0, 0]
    assert rates([7] * 20, [1] * 20).tolist() == [0, 0, 0, 0, 0, 1]
    assert rates([], []).sum() == 0


def test_change_of_lists() -> None:
    found = changed([["a", "b"], [], ["a"], ["a", "b"]], [["b", "a"], [], ["z"], ["a", "c"]])
    assert found[[0, 2, 3]].tolist() == [0.0, 1.0, 0.5]
    assert np.isnan(found[1])


def test_rates_agree_with_a_count_of_pairs() -> None:
    rng = np.random.default_rng(3)
    people, times = rng.integers(0, 40, 500), rng.integers(-4 * DAY, 3 * DAY, 500)
    counts = np.array(list(Counter(zip(people.tolist(), (times // DAY).tolist(), strict=True)).values()))
    assert rates(people, times).tolist() == [
        int(((low <= counts) & (counts < high)).sum()) for low, high in pairwise([1, 2, 3, 5, 9, 17, 10_000])
    ]
