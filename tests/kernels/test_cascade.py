from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.kernels.cascade import links, reach, reach_sketch, roots
from oracles.cascade import descendants, edges


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30), st.integers(0, 200), st.integers(0, 6))
def test_agrees_with_breadth_first_search_from_every_row(seed, people, things, rows, length):
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, people, rows), rng.integers(0, things, rows)
    graph = edges(users.tolist(), items.tolist(), length)
    by = links(users, items, length)
    for j in range(rows):
        before = {i for i in range(rows) if j in graph[i]}
        assert before == {int(b[j]) for b in by if b[j] >= 0}
    every = rng.permutation(rows)
    wanted = [descendants(graph, int(r)) for r in every]
    assert reach(*by, every).tolist() == wanted
    if rows:
        top = roots(*by)
        assert len(top)
        assert reach(*by, top).max() == max(wanted)  # the largest is among the rows that nothing leads to


def test_without_edges_along_items_a_row_reaches_the_rest_of_its_history():
    rng = np.random.default_rng(1)
    users = rng.integers(0, 12, 200)
    by_user, by_item = links(users, np.arange(200))
    assert (by_item < 0).all()
    left = [int((users[r:] == users[r]).sum()) for r in range(200)]
    assert reach(by_user, by_item, np.arange(200)).tolist() == left


@pytest.mark.parametrize("length", [0, 5])
def test_the_sketch_is_exact_below_its_size_and_near_above(length):
    rng = np.random.default_rng(2)
    users, items = rng.integers(0, 150, 4000), rng.integers(0, 400, 4000)
    by = links(users, items, length)
    exact = reach(*by, np.arange(4000))
    found = reach_sketch(users, items, *by, size=256, seed=3)
    small = exact < 256
    np.testing.assert_array_equal(found[small], exact[small])
    assert np.abs(found / exact - 1).mean() < 2 / np.sqrt(256)
    if not length:
        assert exact.max() > 2000
