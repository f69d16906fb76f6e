"""A sparse matrix times the rows of a dense one, and products of rows with some rows of a table: the inner loops of
everything that propagates over a graph, or compares with drawn items.

Each number of the result is one sum in a fixed order, so neither threads nor the choice of rows change a bit of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.kernels.spread import WORTH, parts, spread

LEAST = 1 << 24  # multiply-adds that are worth a thread: they wait for memory, so fewer than of a product in the cache

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
    rows int64. Cost entries of the rows · d multiply-adds; with `threads` above 1, a thread for every 2^24 of them.
    """
    asked = np.empty(0, np.int64) if rows is None else rows
    size = len(indptr) - 1 if rows is None else len(rows)
    out = np.empty((size, x.shape[1]), x.dtype)
    start = np.empty((0, x.shape[1]), x.dtype) if base is None else base
    entries = np.diff(indptr) if rows is None else indptr[rows + 1] - indptr[rows]
    part = lambda low, high: _times(indptr, indices, values, x, start, asked, low, high, out)
    spread(part, _stretches(entries, x.shape[1], threads))
    return out


def _stretches(entries: Ints, width: int, threads: int) -> list[tuple[int, int]]:
    """Stretches of rows with about equal numbers of entries: one where a plan has one thread, or the work is small."""
    if threads < 2:
        return [(0, len(entries))]
    return parts(entries, float(entries.sum()) * width * WORTH / LEAST)


def dots(query: Floats, table: Floats, codes: Ints, *, threads: int = 1) -> Floats:
    """query[r] · table[codes[r, c]] for every place of the codes, int64 [b, n]: [b, d], [rows, d] -> [b, n].

    No copy of the rows is made. Cost b · n · d multiply-adds; threads as in `times`.
    """
    out = np.zeros(codes.shape, query.dtype)
    stretches = _stretches(np.full(len(codes), codes.shape[1]), query.shape[1], threads)
    spread(lambda low, high: _dots(query, table, codes, low, high, out), stretches)
    return out


def push(indptr: Ints, indices: Ints, values: Floats, rows: Ints, x: Floats, out: Floats) -> None:
    """out += Aᵀ X, where X is x [len(rows), d] at the given rows and 0 elsewhere; out [columns, d] is changed.

    Cost entries of the rows · d multiply-adds: for few rows far less than the whole product. rows: int64.
    """
    _push(indptr, indices, values, rows, x, out)
