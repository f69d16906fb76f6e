"""Similar and co-occurring columns against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.kernels import spread
from oakum.kernels.neighbours import cooccurring, half_gram, nearest_rows, neighbours
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


def kept_by_sorting(x: sparse.csr_matrix, k: int, norms: np.ndarray | None, shrink: float) -> np.ndarray:
    """Row j: the similarities of column j to its k nearest, the others 0; equal ones by code."""
    dense = (x.T.astype(np.float64) @ x.astype(np.float64)).toarray()
    if norms is not None:
        dense = dense / (np.outer(norms, norms).astype(np.float64) + shrink + 1e-12)
    np.fill_diagonal(dense, 0)
    out = np.zeros_like(dense)
    for j, row in enumerate(dense):
        order = [i for i in np.lexsort((np.arange(len(row)), -np.round(row, 9))) if row[i] != 0][:k]
        out[j, order] = row[order]
    return out


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 90),
    st.integers(1, 12),
    st.floats(0.02, 0.9),
    st.sampled_from(["ones", "normed", "weighted", "signed"]),
    st.integers(1, 100),
    st.integers(0, 99),
)
def test_neighbours_equal_a_sort_of_everything(
    users: int, items: int, k: int, density: float, kind: str, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = random_matrix(users, items, seed, density)
    if kind in ("weighted", "signed"):  # small whole numbers: sums are exact, so equal ones are equal
        x.data = rng.integers(1, 4, x.nnz).astype(np.float32)
    if kind == "signed":
        x.data *= rng.choice([-1, 1], x.nnz)
    norms = rng.integers(1, 5, items).astype(np.float32) if kind in ("normed", "weighted") else None
    want = kept_by_sorting(x, k, norms, 3.0)
    by_candidate = neighbours(x, k, norms=norms, shrink=3.0, block=block)
    by_history = neighbours(x, k, norms=norms, shrink=3.0, side="history", block=block)
    np.testing.assert_allclose(by_candidate.toarray().T, want, rtol=1e-6)
    np.testing.assert_allclose(by_history.toarray(), want, rtol=1e-6)
    assert by_candidate.has_sorted_indices


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 9), st.floats(0, 5), st.integers(0, 99))
def test_the_nearest_rows_equal_a_sort_of_everything(users: int, items: int, k: int, shrink: float, seed: int) -> None:
    x, queries = random_matrix(users, items, seed, 0.3), random_matrix(7, items, seed + 1, 0.4)
    norms = np.sqrt(np.diff(x.indptr)).astype(np.float32)
    found = nearest_rows(x, x.T.tocsr(), queries, k, norms, shrink)
    own = np.sqrt(np.diff(queries.indptr)).astype(np.float32)
    common = (queries @ x.T).toarray()
    cosine = common / (np.outer(own, norms) + np.float32(shrink + 1e-12))
    for r in range(7):
        order = np.lexsort((np.arange(users), -cosine[r]))
        order = order[common[r, order] > 0][:k]
        np.testing.assert_allclose(found[r], cosine[r, order] @ x[order].toarray(), rtol=1e-4, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.floats(0, 0.9), st.integers(0, 99))
def test_half_the_gram_matrix(users: int, items: int, density: float, seed: int) -> None:
    x = random_matrix(users, items, seed, density)
    np.testing.assert_array_equal(half_gram(x), np.triu((x.T @ x).toarray()))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random_matrix(200, 150, 3, 0.2)
    one = neighbours(x, 9), cooccurring(x, 9, np.ones(150), np.ones(150))
    monkeypatch.setattr(spread, "WORTH", 1)
    monkeypatch.setattr(spread, "cores", lambda: 3)
    two = neighbours(x, 9), cooccurring(x, 9, np.ones(150), np.ones(150))
    assert (one[0] != two[0]).nnz == 0
    for a, b in zip(one[1], two[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_paper_s_weights_never_name_the_item_itself() -> None:
    x = random_matrix(300, 200, 5, 0.05)
    dense = omega(x.toarray().astype(np.float64), "paper")
    assert (np.diag(dense) == 0).all()
    assert (dense >= 0).all()
