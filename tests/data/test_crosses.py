"""Crosses of two fields against a dictionary that a slow loop fills."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data.crosses import join_keys, learn_crosses, pairs_of, part_keys
from oakum.data.fields import UNKNOWN, FieldSize, Layout

SIZES = (("a", "categorical", 5, 1), ("tags", "multi", 4, 2), ("b", "categorical", 4, 1), ("n", "numeric", 2, 1))
LAYOUT = Layout(tuple(FieldSize(*s) for s in (*SIZES, ("c", "categorical", 3, 1))))


def slow(codes: np.ndarray, pair: tuple[int, int], min_count: int) -> list[tuple[int, int]]:
    """Pairs of values that came often enough, in order."""
    seen = Counter((int(row[pair[0]]), int(row[pair[1]])) for row in codes)
    return sorted(v for v, n in seen.items() if n >= min_count and UNKNOWN not in v)


def random_codes(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    widths = [f.rows for f in LAYOUT.fields for _ in range(f.width)]
    return np.stack([rng.integers(0, w, n) for w in widths], 1).astype(np.int32)


def test_pairs_are_those_of_categorical_fields() -> None:
    found = pairs_of(LAYOUT)
    assert [p.names for p in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p.slots for p in found] == [(0, 3), (0, 5), (3, 5)]  # the list of tags takes two slots
    assert [p.rows for p in found] == [(5, 4), (5, 3), (4, 3)]
    assert pairs_of(Layout(LAYOUT.fields[:2])) == ()


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 60), st.integers(1, 5))
def test_crosses_are_those_of_a_slow_loop(seed: int, n: int, min_count: int) -> None:
    codes, pairs = random_codes(seed, n), pairs_of(LAYOUT)
    found = learn_crosses(codes, pairs, min_count=min_count, largest=1000)
    for keys, pair in zip(found, pairs, strict=True):
        assert [divmod(int(k), pair.rows[1]) for k in keys] == slow(codes, pair.slots, min_count)
    for keys, again in zip(found, part_keys(join_keys(found, pairs), pairs), strict=True):
        np.testing.assert_array_equal(keys, again)
    order = np.random.default_rng(seed).permutation(n)
    for keys, again in zip(found, learn_crosses(codes[order], pairs, min_count=min_count, largest=1000), strict=True):
        np.testing.assert_array_equal(keys, again)


def test_of_too_many_the_most_frequent_are_kept() -> None:
    codes = np.array([[2, 2]] * 2 + [[3, 2]] * 5 + [[2, 3]] * 3 + [[3, 3]] * 3, np.int32)
    pairs = pairs_of(Layout(tuple(FieldSize(n, "categorical", 4) for n in "ab")))
    keys = learn_crosses(codes, pairs, min_count=1, largest=2)[0]
    assert [divmod(int(k), 4) for k in keys] == [(2, 3), (3, 2)]  # of the two with three rows the lower key


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 4))
def test_every_cross_has_a_row_of_its_own_and_the_rest_the_rare_one(seed: int, n: int, min_count: int) -> None:
    torch = pytest.importorskip("torch")
    from oakum.nn.fields import CrossEmbedding

    codes, pairs = random_codes(seed, n), pairs_of(LAYOUT)
    found = learn_crosses(codes, pairs, min_count=min_count, largest=1000)
    table = CrossEmbedding(pairs, [len(k) for k in found], 3)
    assert len(table.table.weight) == sum(len(k) + 1 for k in found)
    asked = random_codes(seed + 1, 50)
    keys = torch.from_numpy(join_keys(found, pairs))
    places = table.places(torch.from_numpy(asked).long(), keys)
    row = 0
    for p, pair in enumerate(pairs):
        own = {value: row + 1 + k for k, value in enumerate(slow(codes, pair.slots, min_count))}
        wanted = [own.get((int(r[pair.slots[0]]), int(r[pair.slots[1]])), row) for r in asked]
        assert places[:, p].tolist() == wanted
        row += 1 + len(own)
    assert (table.table.weight[table.rare] == 0).all()
    assert table(torch.from_numpy(asked).long(), keys).shape == (50, 3, 3)
