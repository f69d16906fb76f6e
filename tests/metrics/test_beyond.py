from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.lists import random_lists, ranking
from oakum.data import Ragged
from oakum.errors import DataError
from oakum.metrics import beyond


def test_exposure_coverage_gini_and_entropy_by_hand():
    lists = ranking([[0, 1], [0], []], k=2)
    assert beyond.exposure(lists, 2, 4).tolist() == [2, 1, 0, 0]
    assert beyond.exposure(lists, 2, 4, discounted=True)[1] == pytest.approx(1 / np.log2(3))
    assert beyond.coverage(lists, 2, 4) == 0.5
    assert beyond.coverage(lists, 1, 4) == 0.25
    assert beyond.gini(beyond.exposure(lists, 2, 4)) == pytest.approx(
        ((2 - 5) * 0 + (6 - 5) * 1 + (8 - 5) * 2) / (4 * 3)
    )
    share = np.array([2, 1]) / 3
    assert beyond.entropy(beyond.exposure(lists, 2, 4)) == pytest.approx(-(share * np.log(share)).sum() / np.log(4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_gini_is_the_mean_difference_over_twice_the_mean(values):
    x = np.array(values, float)
    found = beyond.gini(x)
    if x.sum() == 0:
        assert np.isnan(found)
        return
    assert found == pytest.approx(np.abs(x[:, None] - x[None]).mean() / (2 * x.mean()))
    assert 0 <= found + 1e-12 < 1
    assert beyond.gini(3 * x) == pytest.approx(found)


def test_popularity_novelty_and_tail_share():
    counts = np.array([10, 4, 1, 0])
    lists = ranking([[0, 1], [3], []], k=2)
    assert beyond.average_popularity(lists, 2, counts, 10)[:2] == pytest.approx([0.7, 0.0])
    bits = -np.log2((counts + 1) / 11)
    assert beyond.novelty(lists, 2, counts, 10)[:2] == pytest.approx([bits[:2].mean(), bits[3]])
    assert bits[0] == 0
    assert beyond.tail_share(lists, 2, counts)[:2].tolist() == [0.0, 1.0]
    for values in (beyond.novelty(lists, 2, counts, 10), beyond.tail_share(lists, 2, counts)):
        assert np.isnan(values[2])


def test_popularity_lift_is_one_for_the_users_own_history():
    counts = np.array([10, 4, 1, 0])
    own = Ragged.of([[0, 2], [1], []])
    found = beyond.popularity_lift(ranking([[0, 2], [0], [1]], k=2), 2, counts, own)
    assert found[:2] == pytest.approx([1.0, 2.5])
    assert np.isnan(found[2])


@pytest.mark.parametrize("block", [2, 100])
def test_diversity_within_lists_agrees_with_all_pairs(block):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    vectors[7] = 0  # an item without a vector is unlike all others
    categories = Ragged.of([rng.permutation(6)[: rng.integers(0, 4)].tolist() for _ in range(20)])
    lists = random_lists(rng, 30, 6, 20)
    hot = categories.matrix(6).toarray()
    for options, table in (({"item_vectors": vectors}, vectors), ({"item_categories": categories}, hot)):
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        unit = table / np.where(lengths > 0, lengths, 1)
        found = beyond.intra_list_diversity(ranking(lists, k=6), 6, block=block, **options)
        for value, row in zip(found, lists, strict=True):
            pairs = [1 - unit[i] @ unit[j] for a, i in enumerate(row) for j in row[:a]]
            assert value == pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True, abs=1e-6)


def test_diversity_of_equal_items_is_zero_and_needs_something_to_compare():
    same = np.ones((5, 3), np.float32)
    assert beyond.intra_list_diversity(ranking([[0, 1, 2]]), 3, item_vectors=same)[0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(DataError, match="vectors or item categories"):
        beyond.intra_list_diversity(ranking([[0, 1]]), 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=2, unique=True), min_size=6, max_size=6), st.integers(1, 5))
def test_the_spread_of_categories_is_counted_by_hand(categories, k):
    lists = [[0, 1, 2, 3, 4], [5], []]
    count, bits = beyond.category_spread(ranking(lists, k=5), k, Ragged.of(categories))
    for r, own in enumerate(lists):
        mass = {}
        for item in own[:k]:
            for c in categories[item]:
                mass[c] = mass.get(c, 0) + 1 / len(categories[item])
        if not mass:
            assert np.isnan(count[r])
            assert np.isnan(bits[r])
            continue
        p = np.array(list(mass.values())) / sum(mass.values())
        assert count[r] == len(mass)
        assert bits[r] == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-12)
