"""Rows of length 1 and their gradients, each in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

LEAST = 1e-12  # a shorter row is divided by this


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def forward(x):  # type: ignore[no-untyped-def]
    """(x / length, length) with length = max(|x|, 1e-12): [n, d] -> [n, d], [n]."""
    n, d = x.shape
    out, length = np.empty_like(x), np.empty(n, x.dtype)
    for r in range(n):
        total = x[r, 0] * x[r, 0]
        for c in range(1, d):
            total += x[r, c] * x[r, c]
        length[r] = max(np.sqrt(total), LEAST)
        over = 1 / length[r]
        for c in range(d):
            out[r, c] = x[r, c] * over
    return out, length


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def backward(y, length, grad):  # type: ignore[no-untyped-def]
    """(g − y (y · g)) / length; g / length where the length was held at 1e-12. [n, d], [n], [n, d] -> [n, d]."""
    n, d = y.shape
    out = np.empty_like(y)
    for r in range(n):
        along = y[r, 0] * grad[r, 0]
        for c in range(1, d):
            along += y[r, c] * grad[r, c]
        if length[r] <= LEAST:
            along = along * 0
        for c in range(d):
            out[r, c] = (grad[r, c] - y[r, c] * along) / length[r]
    return out
