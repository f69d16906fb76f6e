"""Row solves of weighted least squares: the inner loop of alternating least squares, and the fold-in of a new row."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


@njit(cache=True, nogil=True, parallel=True)
def weighted_rows(factors, gram, indptr, indices, ridge):  # type: ignore[no-untyped-def]
    """p_r = (gram + Σ_{i in row r} q_i q_iᵀ + ridge_r · 1)⁻¹ Σ_{i in row r} q_i, float32 [rows, d].

    factors: float32 [items, d]; gram: float32 [d, d], already times its weight; ridge: float32 [rows]. An empty row
    gives zeros. Rows are independent, so threads change nothing. Cost a row: |row| d² + d³ / 3.
    """
    n, d = len(indptr) - 1, factors.shape[1]
    out = np.zeros((n, d), np.float32)
    for r in prange(n):
        low, high = indptr[r], indptr[r + 1]
        if low == high:
            continue
        rows = np.empty((high - low, d), np.float32)
        right = np.zeros(d, np.float32)
        for at in range(low, high):
            for c in range(d):
                value = factors[indices[at], c]
                rows[at - low, c] = value
                right[c] += value
        left = gram + np.dot(rows.T, rows)
        for c in range(d):
            left[c, c] += ridge[r]
        lower = np.linalg.cholesky(left)
        for c in range(d):
            total = right[c]
            for e in range(c):
                total -= lower[c, e] * right[e]
            right[c] = total / lower[c, c]
        for c in range(d - 1, -1, -1):
            total = right[c]
            for e in range(c + 1, d):
                total -= lower[e, c] * right[e]
            right[c] = total / lower[c, c]
        out[r] = right
    return out


def loss(
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    unobserved: float,
    ridge_users: NDArray[np.float32],
    ridge_items: NDArray[np.float32],
) -> float:
    """Σ_observed (p·q − 1)² + a₀ Σ_all (p·q)² + Σ_u λ_u |p_u|² + Σ_i λ_i |q_i|², in float64."""
    p, q = users.astype(np.float64), items.astype(np.float64)
    owners = np.repeat(np.arange(len(p)), np.diff(indptr))
    seen = np.einsum("ed,ed->e", p[owners], q[indices])
    everything = np.einsum("de,de->", p.T @ p, q.T @ q)
    return float(
        ((seen - 1) ** 2).sum() + unobserved * everything + ridge_users @ (p**2).sum(1) + ridge_items @ (q**2).sum(1)
    )
