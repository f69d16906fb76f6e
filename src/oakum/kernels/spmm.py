"""A sparse matrix times the rows of a dense one, and products of rows with some rows of a table: the inner loops of
everything that propagates over a graph, or compares with drawn items.

Each number of the result is one sum in a fixed order, so neither threads nor the choice of rows change a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

LEAST = 1 << 24  # multiply-adds that are worth a thread of their own

Floats = NDArray[Any]
Ints = NDArray[Any]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _times(indptr, indices, values, x, base, rows, first, last, out):  # type: ignore[no-untyped-def]
    """out[p] = base[r] + Σ_e values[e] x[indices[e]] over the entries e of row r = rows[p] (p itself where `rows` is empty)."""
    width = x.shape[1]
    for p in range(first, last):
        r = rows[p] if len(rows) else p
        for c in range(width):
            out[p, c] = base[r, c] if len(base) else 0.0
        at, stop = indptr[r], indptr[r + 1]
        # Four at a time: the sum is read and written once for them, and their rows are fetched side by side.
        while at + 4 <= stop:
            j, k, m, n = indices[at], indices[at + 1], indices[at + 2], indices[at + 3]
            a, b, d, e = values[at], values[at + 1], values[at + 2], values[at + 3]
            for c in range(width):
                total = out[p, c]
                total += a * x[j, c]
                total += b * x[k, c]
                total += d * x[m, c]
                total += e * x[n, c]
                out[p, c] = total
            at += 4
        while at < stop:
            j, a = indices[at], values[at]
            for c in range(width):
                out[p, c] += a * x[j, c]
            at += 1


@njit(cache=True, nogil=True)  # products are rounded before they are added, as where a gradient is made of each first
def _push(indptr, indices, values, rows, x, out):  # type: ignore[no-untyped-def]
    """out[indices[e]] += values[e] x[p] over the entries e of row rows[p], one row after the other."""
    width = x.shape[1]
    for p in range(len(rows)):
        for at in range(indptr[rows[p]], indptr[rows[p] + 1]):
            j, a = indices[at], values[at]
            for c in range(width):
                out[j, c] += a * x[p, c]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _dots(query, table, codes, first, last, out):  # type: ignore[no-untyped-def]
    """out[r, c] = query[r] · table[codes[r, c]]."""
    whole = codes.shape[1] - codes.shape[1] % 4
    for r in range(first, last):
        for p in range(0, whole, 4):  # four rows are fetched side by side
            j, k, m, n = codes[r, p], codes[r, p + 1], codes[r, p + 2], codes[r, p + 3]
            a = out[r, p] * 0
            b, d, e = a, a, a
            for c in range(table.shape[1]):
                x = query[r, c]
                a += x * table[j, c]
                b += x * table[k, c]
                d += x * table[m, c]
                e += x * table[n, c]
            out[r, p], out[r, p + 1], out[r, p + 2], out[r, p + 3] = a, b, d, e
        for p in range(whole, codes.shape[1]):
            j, a = codes[r, p], out[r, p] * 0
            for c in range(table.shape[1]):
                a += query[r, c] * table[j, c]
            out[r, p] = a


def times(
    indptr: Ints,
    indices: Ints,
    values: Floats,
    x: Floats,
    *,
    base: Floats | None = None,
    rows: Ints | None = None,
    threads: int = 1,
) -> Floats:
    """base + A x, of all rows or of the given ones alone: [n, d], or [len(rows), d].

    A: CSR of n rows (indptr [n + 1], indices and values [entries]); x [columns, d] and base [n, d] of the kind of the values;
    rows int64. Cost entries of the rows · d multiply-adds; a thread is taken for every 2^24 of them, up to `threads`.
    """
    asked = np.empty(0, np.int64) if rows is None else rows
    size = len(indptr) - 1 if rows is None else len(rows)
    out = np.empty((size, x.shape[1]), x.dtype)
    start = np.empty((0, x.shape[1]), x.dtype) if base is None else base
    before = indptr if rows is None else np.concatenate([[0], np.cumsum(indptr[rows + 1] - indptr[rows])])
    parts = max(1, min(threads, int(before[-1]) * x.shape[1] // LEAST))
    cuts = np.searchsorted(before, np.arange(1, parts) * (before[-1] / parts))
    _spread(lambda a, b: _times(indptr, indices, values, x, start, asked, a, b, out), [0, *cuts, size])
    return out


def _spread(part: Callable[[int, int], None], ends: Sequence[int]) -> None:
    """Stretches of rows, a thread each where there are several."""
    if len(ends) == 2:
        part(*ends)
        return
    with ThreadPoolExecutor(len(ends) - 1) as pool:
        list(pool.map(part, ends[:-1], ends[1:]))


def dots(query: Floats, table: Floats, codes: Ints, *, threads: int = 1) -> Floats:
    """query[r] · table[codes[r, c]] for every place of the codes, int64 [b, n]: [b, d], [rows, d] -> [b, n].

    No copy of the rows is made. Cost b · n · d multiply-adds; threads as in `times`.
    """
    out = np.zeros(codes.shape, query.dtype)
    parts = max(1, min(threads, codes.size * query.shape[1] // LEAST))
    _spread(lambda a, b: _dots(query, table, codes, a, b, out), [len(codes) * p // parts for p in range(parts + 1)])
    return out


def push(indptr: Ints, indices: Ints, values: Floats, rows: Ints, x: Floats, out: Floats) -> None:
    """out += Aᵀ X, where X is x [len(rows), d] at the given rows and 0 elsewhere; out [columns, d] is changed.

    Cost entries of the rows · d multiply-adds: for few rows far less than the whole product. rows: int64.
    """
    _push(indptr, indices, values, rows, x, out)
