"""Weighted least squares row by row, the slow way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def solved_rows(
    factors: NDArray[Any],
    gram: NDArray[Any],
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    ridge: NDArray[Any],
    extra: float = 1.0,
    target: float = 1.0,
) -> NDArray[np.float64]:
    """What `oakum.kernels.als.weighted_rows` solves, by a general solver in float64."""
    table, shared = factors.astype(np.float64), gram.astype(np.float64)
    out = np.zeros((len(indptr) - 1, table.shape[1]))
    for r in range(len(out)):
        q = table[indices[indptr[r] : indptr[r + 1]]]
        if len(q):
            left = shared + extra * q.T @ q + float(ridge[r]) * np.eye(table.shape[1])
            out[r] = np.linalg.solve(left, target * q.sum(0))
    return out
