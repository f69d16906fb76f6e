"""Events by user in linear time: counting sorts in place of sorts by comparison. All results equal the slow forms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from oakum.data.interactions import rising


@njit(cache=True, nogil=True)
def _offsets(owners, n):  # type: ignore[no-untyped-def]
    """Where each owner's events start once they lie together; negative owners are left out. int64 [n + 1]."""
    out = np.zeros(n + 1, np.int64)
    for e in range(len(owners)):
        if owners[e] >= 0:
            out[owners[e] + 1] += 1
    for u in range(n):
        out[u + 1] += out[u]
    return out


@njit(cache=True, nogil=True)
def _grouped(owners, offsets):  # type: ignore[no-untyped-def]
    """Positions by owner, in their order within each."""
    place = offsets[:-1].copy()
    out = np.empty(offsets[-1], np.int64)
    for e in range(len(owners)):
        u = owners[e]
        if u >= 0:
            out[place[u]] = e
            place[u] += 1
    return out


@njit(cache=True, nogil=True)
def _settle(order, offsets, keys):  # type: ignore[no-untyped-def]
    """Sort each owner's positions by key where they are not; equal keys stay in their order: insertion into runs of 16,
    which are then merged (NumPy's own sort would take seconds to compile)."""
    longest = 0
    for u in range(len(offsets) - 1):
        longest = max(longest, offsets[u + 1] - offsets[u])
    spare = np.empty(longest, np.int64)
    for u in range(len(offsets) - 1):
        low, high = offsets[u], offsets[u + 1]
        sorted_already = True
        for at in range(low + 1, high):
            if keys[order[at]] < keys[order[at - 1]]:
                sorted_already = False
                break
        if sorted_already:
            continue
        for start in range(low, high, 16):
            for at in range(start + 1, min(start + 16, high)):
                own = order[at]
                key = keys[own]
                to = at - 1
                while to >= start and keys[order[to]] > key:
                    order[to + 1] = order[to]
                    to -= 1
                order[to + 1] = own
        width = 16
        while width < high - low:
            for start in range(low, high - width, 2 * width):
                middle, stop = start + width, min(start + 2 * width, high)
                for at in range(start, middle):
                    spare[at - start] = order[at]
                left, right, to = 0, middle, start
                while left < width and right < stop:
                    if keys[order[right]] < keys[spare[left]]:
                        order[to] = order[right]
                        right += 1
                    else:
                        order[to] = spare[left]
                        left += 1
                    to += 1
                while left < width:
                    order[to] = spare[left]
                    left += 1
                    to += 1
            width *= 2


def grouped_order(
    owners: NDArray[np.int32], n: int, keys: tuple[NDArray[np.int64], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions by owner, then by each key (the first counts most), then by position; and where each owner starts.

    owners: int32 [e], all below n; those below 0 are left out. keys: int64 [e] each. Equals a lexsort. Time: one pass over
    the events for each owner's place, and a sort of those owners whose events are out of order.
    """
    owners = _fixed(owners)
    offsets: NDArray[np.int64] = _offsets(owners, n)
    order: NDArray[np.int64] = _grouped(owners, offsets)
    moved = False
    for key in reversed(keys):
        if moved or not rising(key):
            _settle(order, offsets, _fixed(key))
            moved = True
    return order, offsets


def _fixed(column: NDArray[Any]) -> NDArray[Any]:
    """As a column that cannot be written to, so that each kernel is compiled for one kind of array."""
    out = np.ascontiguousarray(column).view()
    out.flags.writeable = False
    return out


@njit(cache=True, nogil=True)
def _columns(users, items, by_item, num_users):  # type: ignore[no-untyped-def]
    """Distinct items of each user, ascending: events are laid by item, then by user."""
    n = len(users)
    place = by_item[:-1].copy()
    people = np.empty(n, np.int32)
    for e in range(n):
        i = items[e]
        people[place[i]] = users[e]
        place[i] += 1
    last = np.full(num_users, -1, np.int32)
    counts = np.zeros(num_users + 1, np.int64)
    for i in range(len(by_item) - 1):
        for at in range(by_item[i], by_item[i + 1]):
            u = people[at]
            if last[u] != i:
                last[u] = i
                counts[u + 1] += 1
    for u in range(num_users):
        counts[u + 1] += counts[u]
    place = counts[:-1].copy()
    last[:] = -1
    out = np.empty(counts[-1], np.int32)
    for i in range(len(by_item) - 1):
        for at in range(by_item[i], by_item[i + 1]):
            u = people[at]
            if last[u] != i:
                last[u] = i
                out[place[u]] = i
                place[u] += 1
    return counts, out


def binary_matrix(
    users: NDArray[np.int32], items: NDArray[np.int32], num_users: int, num_items: int
) -> sparse.csr_matrix:
    """CSR [users, items] of ones, duplicates merged and columns sorted, as SciPy makes it of pairs."""
    users, items = _fixed(users), _fixed(items)
    offsets, columns = _columns(users, items, _offsets(items, num_items), num_users)
    kind: Any = np.int32 if offsets[-1] < 2**31 else np.int64
    out = sparse.csr_matrix((num_users, num_items), dtype=np.float32)
    out.indptr, out.indices = offsets.astype(kind), columns.astype(kind, copy=False)
    out.data = np.ones(len(columns), np.float32)
    out.has_sorted_indices = out.has_canonical_format = True
    return out


@njit(cache=True, nogil=True)
def _contained(indptr, indices, rows, columns, out):  # type: ignore[no-untyped-def]
    for e in range(len(rows)):
        low, high = indptr[rows[e]], indptr[rows[e] + 1]
        column = columns[e]
        while low < high:
            middle = (low + high) >> 1
            if indices[middle] < column:
                low = middle + 1
            else:
                high = middle
        out[e] = low < indptr[rows[e] + 1] and indices[low] == column


def contained(matrix: sparse.csr_matrix, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each (row, column) is stored in a CSR matrix with sorted columns; bool [n]."""
    out = np.zeros(len(rows), bool)
    _contained(_fixed(matrix.indptr), _fixed(matrix.indices), _fixed(rows), _fixed(columns), out)
    return out
