"""k-means against one slow round, on blobs, and by seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.kernels.kmeans import kmeans, nearest_centre
from tests.oracles.mixtures import kmeans_round


def blobs(spherical: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    middles = np.eye(4) * 5
    truth = np.repeat(np.arange(4), 40)
    x = middles[truth] + rng.normal(0, 0.4, (160, 4))
    if spherical:
        x = x * rng.uniform(0.5, 3, (160, 1))
    return x.astype(np.float32), truth


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(5, 30), st.booleans(), st.integers(0, 1000))
def test_what_comes_back_is_a_fixed_point_of_a_slow_round(k: int, n: int, spherical: bool, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    if spherical:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    centres, codes = kmeans(x, k, spherical=spherical, epochs=200, seed=seed)
    found, again = kmeans_round(x, centres, spherical)
    np.testing.assert_array_equal(codes, found)
    np.testing.assert_allclose(centres, again, atol=1e-5)
    assert len(np.unique(codes)) == k  # no centre is left without rows while rows differ


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("batch_size", [0, 32])
def test_blobs_are_found(spherical: bool, batch_size: int) -> None:
    x, truth = blobs(spherical)
    centres, codes = kmeans(x, 4, spherical=spherical, batch_size=batch_size, seed=3)
    assert len({(a, b) for a, b in zip(truth, codes, strict=True)}) == 4
    if spherical:
        np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    again, same = kmeans(x, 4, spherical=spherical, batch_size=batch_size, seed=3)
    np.testing.assert_array_equal(centres, again)
    np.testing.assert_array_equal(codes, same)


def test_the_sum_of_squares_never_rises() -> None:
    x = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    sums = []
    for epochs in range(1, 12):
        centres, _ = kmeans(x, 7, epochs=epochs)
        sums.append(nearest_centre(x, centres)[1].sum())
    assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(sums))


def test_equal_rows_and_wrong_counts() -> None:
    centres, codes = kmeans(np.ones((5, 2), np.float32), 3)
    assert np.isfinite(centres).all()
    assert set(codes) == {0}
    with pytest.raises(ValueError, match="1 to 5 centres"):
        kmeans(np.ones((5, 2), np.float32), 6)
