"""Sparse products against sums one by one, for all rows, for some, and at any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.kernels import spmm, spread
from oakum.kernels.spmm import push, times

Case = tuple[sparse.csr_matrix, np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A sparse matrix of any shape, with empty rows, and vectors for its columns and its rows."""
    n, m, d = (draw(st.integers(1, high)) for high in (12, 20, 9))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    there = rng.random((n, m)) < draw(st.sampled_from([0.0, 0.2, 0.9]))
    dense = np.where(there, rng.normal(size=(n, m)), 0)
    kind = draw(st.sampled_from([np.float32, np.float64]))
    matrix = sparse.csr_matrix(dense.astype(kind))
    return matrix, rng.normal(size=(m, d)).astype(kind), rng.normal(size=(n, d)).astype(kind)


def slowly(matrix: sparse.csr_matrix, x: np.ndarray) -> np.ndarray:
    """A x in float64, entry by entry."""
    out = np.zeros((matrix.shape[0], x.shape[1]))
    for r, c, value in zip(*matrix.nonzero(), matrix.data, strict=True):
        out[r] += float(value) * x[c].astype(np.float64)
    return out


@given(cases())
@settings(max_examples=60, deadline=None)
def test_products_equal_the_sum_entry_by_entry(case: Case) -> None:
    matrix, x, base = case
    of = (matrix.indptr, matrix.indices, matrix.data)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 if x.dtype == np.float32 else 1e-12)
    close(times(*of, x), slowly(matrix, x))
    close(times(*of, x, base=base), base + slowly(matrix, x))
    rows = np.array([matrix.shape[0] - 1, 0, matrix.shape[0] // 2])
    # A row is the same sum, bit by bit, whichever rows are asked for.
    assert np.array_equal(times(*of, x, base=base, rows=rows), times(*of, x, base=base)[rows])
    found = np.zeros_like(x)
    push(*of, np.arange(len(base)), base, found)
    close(found, slowly(matrix.T.tocsr(), base))
    some = np.unique(rows)
    kept = np.zeros_like(base)
    kept[some] = base[some]
    found = np.ones_like(x)
    push(*of, some, base[some], found)
    close(found, 1 + slowly(matrix.T.tocsr(), kept))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_change_no_bit(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spmm, "LEAST", 1)
    monkeypatch.setattr(spread, "cores", lambda: threads)
    rng = np.random.default_rng(0)
    matrix = sparse.random(50, 40, 0.2, "csr", np.float32, rng)
    x, base = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    of, rows = (matrix.indptr, matrix.indices, matrix.data), rng.integers(0, 50, 31)
    assert np.array_equal(times(*of, x, base=base, threads=threads), times(*of, x, base=base))
    assert np.array_equal(times(*of, x, rows=rows, threads=threads), times(*of, x, rows=rows))


def test_a_small_product_takes_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "cores", lambda: 16)
    monkeypatch.setattr(spread, "ThreadPoolExecutor", None)
    matrix = sparse.identity(30, np.float32, "csr")
    x = np.ones((30, 4), np.float32)
    assert np.array_equal(times(matrix.indptr, matrix.indices, matrix.data, x, threads=16), x)
