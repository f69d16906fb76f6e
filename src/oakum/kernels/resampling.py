# mypy: disable-error-code="untyped-decorator"
"""Sums over draws with replacement, of many columns at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def drawn_sums(index: Any, table: Any) -> Any:
    """Σ_j table[index[r, j]] of each row r: float64 [r, m] of index int [r, n] and table float64 [n, m]."""
    rows, n = index.shape
    m = table.shape[1]
    out = np.zeros((rows, m))
    for r in range(rows):
        total = out[r]
        for j in range(n):
            own = table[index[r, j]]
            for c in range(m):
                total[c] += own[c]
    return out
