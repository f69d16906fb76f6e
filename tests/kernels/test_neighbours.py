"""Similar and co-occurring columns against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.kernels.neighbours import cooccurring, neighbours
from tests.oracles.cooccurrence import omega


def random_matrix(users: int, items: int, seed: int, density: float = 0.15) -> sparse.csr_matrix:
    out = sparse.random(users, items, density, format="csr", random_state=np.random.default_rng(seed))
    out.data[:] = 1
    return out.astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 12), st.booleans(), st.integers(1, 9), st.integers(0, 99))
def test_cooccurring_equals_a_dense_sort(users: int, items: int, k: int, diagonal: bool, block: int, seed: int) -> None:
    x = random_matrix(users, items, seed)
    rng = np.random.default_rng(seed)
    left, right = rng.random(items) + 0.1, rng.random(items) + 0.1
    found, weights = cooccurring(x, k, left, right, diagonal=diagonal, block=block)
    dense = left[:, None] * (x.T @ x).toarray() * right
    if not diagonal:
        np.fill_diagonal(dense, 0)
    for i in range(items):
        order = [j for j in np.lexsort((np.arange(items), -dense[i])) if dense[i, j] > 0][:k]
        assert found[i][: len(order)].tolist() == order
        assert (found[i][len(order) :] == -1).all()
        np.testing.assert_allclose(weights[i][: len(order)], dense[i, order], rtol=1e-5)
        assert (weights[i][len(order) :] == 0).all()


@pytest.mark.parametrize("side", ["candidate", "history"])
@pytest.mark.parametrize("block", [3, 512])
def test_neighbours_equal_a_dense_sort(side: str, block: int) -> None:
    x = random_matrix(60, 25, 1, 0.3)
    norms = np.sqrt(np.asarray(x.sum(0)).ravel()).astype(np.float32)
    told: list[float] = []
    found = neighbours(x, 4, norms=norms, shrink=2.0, side=side, block=block, progress=told.append).toarray()
    dense = (x.T @ x).toarray() / (norms[:, None] * norms + 2.0)
    np.fill_diagonal(dense, 0)
    kept = dense.T if side == "candidate" else dense
    for own, row in zip(kept, found.T if side == "candidate" else found, strict=True):
        assert (row > 0).sum() == min(4, (own > 0).sum())
        np.testing.assert_allclose(np.sort(row)[-4:], np.sort(own)[-4:], rtol=1e-5)
        np.testing.assert_allclose(row[row > 0], own[row > 0], rtol=1e-5)
    assert told == sorted(told)
    assert told[-1] == 1


def test_the_paper_s_weights_never_name_the_item_itself() -> None:
    x = random_matrix(300, 200, 5, 0.05)
    dense = omega(x.toarray().astype(np.float64), "paper")
    assert (np.diag(dense) == 0).all()
    assert (dense >= 0).all()
