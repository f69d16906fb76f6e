"""Steps over triples against a loop in float64."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.kernels.bpr import descend
from tests.oracles.triples import stepped


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(3, 9),
    st.integers(1, 70),
    st.integers(1, 60),
    st.integers(1, 3),
    st.floats(1e-3, 0.2),
    st.floats(0, 0.1),
    st.integers(0, 99),
)
def test_steps_equal_a_loop(
    people: int, things: int, d: int, count: int, n: int, rate: float, l2: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    users, items = (rng.normal(0, 0.5, (m, d)).astype(np.float32) for m in (people, things))
    who, had = rng.integers(0, people, count), rng.integers(0, things, count)
    others = (had[:, None] + rng.integers(1, things, (count, n))) % things
    triples = [(int(u), int(i), int(j)) for u, i, row in zip(who, had, others, strict=True) for j in row]
    p, q, ranking, squares = stepped(users, items, triples, rate, l2)
    each = lambda x: np.repeat(x, n)
    found = descend(users, items, each(who), each(had), others.ravel(), rate, l2)
    np.testing.assert_allclose(users, p, atol=2e-4)
    np.testing.assert_allclose(items, q, atol=2e-4)
    np.testing.assert_allclose(found, (ranking, squares), rtol=2e-4, atol=1e-5)


def test_losses_of_any_size_are_added_up() -> None:
    users = np.array([[30.0]], np.float32)
    items = np.array([[-1.0], [1.0]], np.float32)
    who = np.zeros(40, np.int64)
    ranking, _ = descend(users.copy(), items.copy(), who, who, np.ones(40, np.int64), 0.0, 0.0)
    assert abs(ranking - 60) < 1e-3
    ranking, _ = descend(users.copy(), items.copy(), who, who + 1, np.zeros(40, np.int64), 0.0, 0.0)
    assert 0 <= ranking < 1e-6


def test_diverging_rows_give_no_finite_loss() -> None:
    table = np.full((3, 2), np.nan, np.float32)
    one = np.zeros(1, np.int64)
    assert not np.isfinite(descend(table.copy(), table, one, one, np.ones(1, np.int64), 0.1, 0.1)[1])
