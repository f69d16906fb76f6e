"""Sparse rows times tables against SciPy, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.kernels import spread, sums
from oakum.kernels.sums import rows_times


def made(rng: np.random.Generator, q: int, n: int, density: float) -> sparse.csr_matrix:
    out = sparse.random(q, n, density, format="csr", dtype=np.float32, random_state=rng)
    out.data = rng.normal(size=len(out.data)).astype(np.float32)
    return out


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 12), st.integers(1, 30), st.integers(0, 150), st.integers(0, 10_000), st.integers(0, 5))
def test_products_are_scipys(q: int, n: int, m: int, seed: int, often: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = made(rng, q, n, 0.4), made(rng, n, m, 0.4)
    left.sort_indices()
    np.testing.assert_array_equal(rows_times(left, right), (left @ right).toarray())
    dense = right.toarray()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "OFTEN", often)
        np.testing.assert_array_equal(rows_times(left, dense), left @ dense)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    left, right = made(rng, 50, 40, 0.5), made(rng, 40, 300, 0.5)
    wanted = rows_times(left, right), rows_times(left, right.toarray())
    monkeypatch.setattr(spread, "WORTH", 1)
    monkeypatch.setattr(spread, "most", lambda: 3)
    np.testing.assert_array_equal(rows_times(left, right), wanted[0])
    np.testing.assert_array_equal(rows_times(left, right.toarray()), wanted[1])
