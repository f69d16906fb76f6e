"""Row solves against a general solver; the same at any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.kernels import spread
from oakum.kernels.als import HELD, gram_of, weighted_rows
from tests.oracles.least_squares import solved_rows


def problem(rows: int, items: int, d: int, density: float, seed: int, kind: type = np.float32) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    x = sparse.random(rows, items, density, format="csr", random_state=rng)
    x.sort_indices()
    factors = rng.normal(0, 0.5, (items, d)).astype(kind)
    gram = (0.1 * gram_of(factors)).astype(kind)
    ridge = (0.05 + rng.random(rows)).astype(kind)
    return factors, gram, x.indptr, x.indices, ridge


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 60),
    st.integers(1, 40),
    st.floats(0.05, 0.9),
    st.floats(0.1, 20),
    st.floats(0.1, 20),
    st.booleans(),
    st.integers(0, 99),
)
def test_rows_equal_a_general_solver(
    rows: int, items: int, d: int, density: float, extra: float, target: float, double: bool, seed: int
) -> None:
    kind = np.float64 if double else np.float32
    parts = problem(rows, items, d, density, seed, kind)
    want = solved_rows(*parts, extra, target)
    found = weighted_rows(*parts, extra, target)
    assert found.dtype == kind
    assert found.shape == want.shape
    scale = np.abs(want).max() + 1e-12
    np.testing.assert_allclose(found / scale, want / scale, atol=1e-10 if double else 5e-5)
    many = weighted_rows(*parts, extra, target, steps=3 * d + 20)
    np.testing.assert_allclose(many / scale, want / scale, atol=1e-8 if double else 5e-4)


def test_a_few_steps_from_a_good_start_come_nearer() -> None:
    parts = problem(50, 80, 24, 0.3, 1)
    want = solved_rows(*parts)
    far = lambda a: float(np.abs(a - want).max())
    near = (want + np.random.default_rng(0).normal(0, 0.05, want.shape)).astype(np.float32)
    errors = [far(weighted_rows(*parts, start=near, steps=steps)) for steps in (1, 3, 6)]
    assert far(near) > errors[0] > errors[1] > errors[2]
    assert far(weighted_rows(*parts, start=want.astype(np.float32), steps=1)) < 1e-5


@pytest.mark.parametrize("steps", [0, 90])
def test_rows_longer_than_what_is_held_and_empty_rows(steps: int) -> None:
    rng = np.random.default_rng(0)
    factors = rng.normal(0, 0.5, (3 * HELD, 20)).astype(np.float32)
    gram = np.asarray(0.1 * gram_of(factors), np.float32)
    lengths = [2 * HELD + 37, 0, 5, HELD, HELD + 1, 0, 12, 13, 3]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate([np.sort(rng.choice(3 * HELD, n, replace=False)) for n in lengths]).astype(np.int32)
    ridge = np.full(len(lengths), 0.3, np.float32)
    want = solved_rows(factors, gram, indptr, indices, ridge)
    start = np.ones((len(lengths), 20), np.float32)
    found = weighted_rows(factors, gram, indptr, indices, ridge, start=start, steps=steps)
    np.testing.assert_allclose(found, want, atol=2e-4)
    assert (found[[1, 5]] == 0).all()


@pytest.mark.parametrize("steps", [0, 3])
def test_threads_change_nothing(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = problem(200, 90, 33, 0.2, 4)
    one = weighted_rows(*parts, steps=steps)
    monkeypatch.setattr(spread, "WORTH", 1)
    monkeypatch.setattr(spread, "cores", lambda: 3)
    np.testing.assert_array_equal(weighted_rows(*parts, steps=steps), one)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_gram_matrix_is_that_of_the_factors(kind: type) -> None:
    factors = np.random.default_rng(1).normal(size=(2 * HELD + 3, 21)).astype(kind)
    want = factors.astype(np.float64).T @ factors
    np.testing.assert_allclose(gram_of(factors), want, atol=1e-3 if kind is np.float32 else 1e-9)
    assert (gram_of(factors) == gram_of(factors).T).all()
