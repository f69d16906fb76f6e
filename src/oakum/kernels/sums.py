"""Sparse rows times a table, as dense rows: what histories score where the model is a table between items.

The sums run over a row's entries as they are stored, like SciPy's, so the numbers are SciPy's to the bit; what is saved are
its intermediate matrices and the trips to memory.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from oakum.kernels._lanes import ADDED, add_rows
from oakum.kernels.spread import even, fixed, spread

OFTEN = 4  # uses of an average row from which on a copy of those columns pays


def rows_times(left: sparse.csr_matrix, table: sparse.csr_matrix | NDArray[np.float32]) -> NDArray[np.float32]:
    """left [q, n] times a sparse or dense table [n, m]: float32 [q, m].

    Time: one multiplication and one sum an entry of `left` and entry of the row it names; memory: the answer.
    """
    out = np.zeros((left.shape[0], table.shape[1]), np.float32)
    if not left.nnz or not out.size:
        return out
    own = fixed(left.indptr, left.indices, left.data.astype(np.float32, copy=False))
    if isinstance(table, np.ndarray):
        dense = np.ascontiguousarray(table, np.float32)
        work: Any = partial(_columns if left.nnz > OFTEN * len(dense) else _dense, *own, *fixed(dense), out)
        spread(work, even(len(out), left.nnz * dense.shape[1]))
    else:
        right = table.tocsr()
        theirs = fixed(right.indptr, right.indices, right.data.astype(np.float32, copy=False))
        work = partial(_sparse, *own, *theirs, out)
        spread(work, even(len(out), out.size + int(np.diff(right.indptr)[left.indices].sum())))
    return out


@njit(cache=True, nogil=True)
def _sparse(indptr, indices, data, right_indptr, right_indices, right_data, out, start, stop):  # type: ignore[no-untyped-def]
    for r in range(start, stop):
        row = out[r]
        for a in range(indptr[r], indptr[r + 1]):
            weight = data[a]
            for b in range(right_indptr[indices[a]], right_indptr[indices[a] + 1]):
                row[right_indices[b]] += weight * right_data[b]


@njit(cache=True, nogil=True)
def _dense(indptr, indices, data, table, out, start, stop):  # type: ignore[no-untyped-def]
    """A row after the other."""
    for r in range(start, stop):
        row = out[r]
        for a in range(indptr[r], indptr[r + 1]):
            weight = data[a]
            other = table[indices[a]]
            for c in range(len(row)):
                row[c] += weight * other[c]


@njit(cache=True, nogil=True)
def _columns(indptr, indices, data, table, out, start, stop):  # type: ignore[no-untyped-def]
    """64 columns after the others: their part of the table is copied together, where a core's cache holds it."""
    n, m = table.shape
    part = np.zeros(n * ADDED, np.float32)
    found = np.empty(ADDED, np.float32)
    for first in range(0, m, ADDED):
        width = min(ADDED, m - first)
        for i in range(n):
            for c in range(width):
                part[i * ADDED + c] = table[i, first + c]
        for r in range(start, stop):
            add_rows(part, indices, data, indptr[r], indptr[r + 1], found, 0)
            for c in range(width):
                out[r, first + c] = found[c]
