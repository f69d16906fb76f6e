"""The randomised singular value decomposition against the dense one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.kernels.lowrank import normalised, randomised_svd, reconstruction
from tests.oracles.lowrank import dense_normalised
from tests.toys import random_log


def random_matrix(users: int, items: int, density: float, seed: int) -> sparse.csr_matrix:
    out = sparse.random(users, items, density, format="csr", random_state=np.random.default_rng(seed))
    out.data[:] = 1
    return out.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 99))
def test_normalised_equals_two_loops(users: int, items: int, density: float, seed: int) -> None:
    x = random_matrix(users, items, density, seed)
    np.testing.assert_allclose(normalised(x).toarray(), dense_normalised(x), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.integers(0, 99))
def test_no_worse_than_the_best_by_two_in_a_hundred(users: int, items: int, k: int, seed: int) -> None:
    x = normalised(random_matrix(users, items, 0.2, seed))
    u, s, v = randomised_svd(x, k)
    full = np.linalg.svd(x.toarray().astype(np.float64), compute_uv=False)
    best = np.sqrt((full[k:] ** 2).sum())
    found = np.linalg.norm(x.toarray() - (u * s) @ v.T)
    assert found <= best * 1.02 + 1e-5
    assert s.shape == (min(k, users, items),)
    assert (np.diff(s) <= 1e-6).all()


def test_popularity_is_the_first_direction() -> None:
    data = random_log()
    u, s, v = randomised_svd(normalised(data.matrix), 1)
    assert s[0] == pytest.approx(1, abs=1e-5)
    for vector, degree in ((u, data.user_counts), (v, data.item_counts)):
        np.testing.assert_allclose(np.abs(vector[:, 0]), np.sqrt(degree / degree.sum()), atol=1e-4)


def test_the_same_matrix_gives_the_same_factors_and_signs() -> None:
    x = normalised(random_log().matrix)
    first, second, other = randomised_svd(x, 4), randomised_svd(x, 4), randomised_svd(x, 4, seed=9, iterations=30)
    for a, b, c in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(np.abs(a), np.abs(c), atol=0.05)


def test_a_start_from_older_factors_needs_fewer_iterations() -> None:
    x = normalised(random_matrix(200, 150, 0.05, 3))
    u, s, v = randomised_svd(x, 5, iterations=20)
    best = np.linalg.norm(x.toarray() - (u * s) @ v.T)
    gap = lambda f: np.linalg.norm(x.toarray() - (f[0] * f[1]) @ f[2].T) - best
    assert gap(randomised_svd(x, 5, iterations=0, start=v)) < gap(randomised_svd(x, 5, iterations=0))


def test_single_entries_are_those_of_the_whole_picture() -> None:
    x = normalised(random_log().matrix)
    u, s, v = randomised_svd(x, 4)
    rows, columns = np.array([0, 3, 39, 7]), np.array([1, 0, 29, 7])
    np.testing.assert_allclose(reconstruction(u, s, v, rows, columns), ((u * s) @ v.T)[rows, columns], atol=1e-6)
