"""Row solves of weighted least squares: the inner loop of alternating least squares, and the fold-in of a new row."""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray


@njit(cache=True, nogil=True, parallel=True)
def weighted_rows(factors, gram, indptr, indices, ridge, extra=1.0, target=1.0):  # type: ignore[no-untyped-def]
    """p_r = (gram + extra Σ_{i in row r} q_i q_iᵀ + ridge_r · 1)⁻¹ target Σ_{i in row r} q_i, [rows, d].

    factors: float32 or float64 [items, d], which the result takes over; gram [d, d], already times its weight, and ridge
    [rows] of the same kind. extra: weight of an observed cell beyond the gram's; target: weight times value of the right
    side. An empty row gives zeros. Rows are independent, so threads change nothing. Cost a row: |row| d² + d³ / 3.
    """
    n, d = len(indptr) - 1, factors.shape[1]
    kind = factors.dtype.type
    out = np.zeros((n, d), factors.dtype)
    for r in prange(n):
        low, high = indptr[r], indptr[r + 1]
        if low == high:
            continue
        rows = np.empty((high - low, d), factors.dtype)
        right = np.zeros(d, factors.dtype)
        for at in range(low, high):
            for c in range(d):
                value = factors[indices[at], c]
                rows[at - low, c] = value
                right[c] += value
        left = gram + kind(extra) * np.dot(rows.T, rows)
        for c in range(d):
            right[c] *= kind(target)
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
    users: NDArray[np.floating],
    items: NDArray[np.floating],
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    unobserved: float,
    ridge_users: NDArray[np.floating],
    ridge_items: NDArray[np.floating],
    extra: float = 1.0,
    target: float = 1.0,
) -> float:
    """What `weighted_rows` descends, in float64: a₀ Σ_all s² + Σ_observed (extra s² − 2 target s + target) +
    Σ_u λ_u |p_u|² + Σ_i λ_i |q_i|² with s = p·q.

    With extra = target = 1 the observed part is (s − 1)²; with a₀ = 1, extra = α and target = 1 + α the first two
    parts are Σ_all C (P − s)² of confidences C = 1 + α P.
    """
    p, q = users.astype(np.float64), items.astype(np.float64)
    owners = np.repeat(np.arange(len(p)), np.diff(indptr))
    seen = np.einsum("ed,ed->e", p[owners], q[indices])
    everything = np.einsum("de,de->", p.T @ p, q.T @ q)
    observed = (extra * seen**2 - 2 * target * seen + target).sum()
    return float(observed + unobserved * everything + ridge_users @ (p**2).sum(1) + ridge_items @ (q**2).sum(1))
