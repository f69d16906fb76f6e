"""Events by user in linear time: counting sorts in place of sorts by comparison. All results equal the slow forms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from oakum.data.interactions import rising
from oakum.data.searching import find

SHORT = 24  # items of a row up to which insertion is quicker than counting


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
def _starts(users, items, ends):  # type: ignore[no-untyped-def]
    """Where each user's items start once they lie together, into `ends` [users + 1]; the length of the longest row."""
    for e in range(len(users)):
        if users[e] >= 0 and items[e] >= 0:
            ends[users[e] + 1] += 1
    longest = 0
    for u in range(len(ends) - 1):
        longest = max(longest, ends[u + 1])
        ends[u + 1] += ends[u]
    return longest


@njit(cache=True, nogil=True)
def _laid(users, items, ends, out):  # type: ignore[no-untyped-def]
    """Lay the items by user; `ends` turns from where rows start into where they end."""
    for e in range(len(users)):
        u = users[e]
        if u >= 0 and items[e] >= 0:
            at = ends[u]
            out[at] = items[e]
            ends[u] = at + 1


@njit(cache=True, nogil=True)
def _by_digits(row, spare, width, digits):  # type: ignore[no-untyped-def]
    """Sort a row by `digits` counting passes over as many digits of `width` bits, the lowest first."""
    counts = np.empty((1 << width) + 1, np.int64)
    mask = (1 << width) - 1
    source, target = row, spare[: len(row)]
    for digit in range(digits):
        shift = digit * width
        counts[:] = 0
        for item in source:
            counts[((item >> shift) & mask) + 1] += 1
        for c in range(mask):
            counts[c + 1] += counts[c]
        for item in source:
            c = (item >> shift) & mask
            target[counts[c]] = item
            counts[c] += 1
        source, target = target, source
    if digits & 1:
        row[:] = source


@njit(cache=True, nogil=True)
def _tidied(ends, out, spare, width, digits):  # type: ignore[no-untyped-def]
    """Sort each row, let repeats go, close the gaps; `ends` turns into where the rows start, with the end of the last."""
    low = end = 0
    for u in range(len(ends) - 1):
        high = ends[u]
        ends[u] = begin = end
        if high - low > SHORT:
            row = out[low:high]
            falls = False
            for at in range(1, len(row)):
                falls |= row[at] < row[at - 1]
            if falls:
                _by_digits(row, spare, width, digits)
        for at in range(low, high):  # by insertion: a short row, or one that is sorted by now
            item, to = out[at], end
            while to > begin and out[to - 1] > item:
                to -= 1
            if to > begin and out[to - 1] == item:
                continue
            for later in range(end, to, -1):
                out[later] = out[later - 1]
            out[to] = item
            end += 1
        low = high
    ends[len(ends) - 1] = end


@njit(cache=True, nogil=True)
def _distinct(users, items, offsets, out, width, digits):  # type: ignore[no-untyped-def]
    spare = np.empty(_starts(users, items, offsets), np.int32)
    _laid(users, items, offsets, out)
    _tidied(offsets, out, spare, width, digits)


def distinct_items(
    users: NDArray[np.int32], items: NDArray[np.int32], num_users: int, num_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct items of each user, rising, and where each user's start; events without a user or an item are left out.

    Time: two passes over the events and one over the rows, in which a row's sort stays within the nearest memory; memory:
    the result.
    """
    users, items = _fixed(users), _fixed(items)
    # half the bytes where they suffice: these are looked up at random
    offsets: NDArray[Any] = np.zeros(num_users + 1, np.int32 if len(users) < 2**31 else np.int64)
    out = np.empty(len(users), np.int32)
    bits = max(1, (num_items - 1).bit_length())
    digits = -(-bits // 8)
    _distinct(users, items, offsets, out, -(-bits // digits), digits)
    found = int(offsets[-1])
    return offsets.astype(np.int64), out if found == len(out) else out[:found].copy()


@njit(cache=True, nogil=True)
def _contained(indptr, indices, rows, columns, out):  # type: ignore[no-untyped-def]
    for e in range(len(rows)):
        out[e] = find(indices, indptr[rows[e]], indptr[rows[e] + 1], columns[e]) >= 0


def contained(matrix: sparse.csr_matrix, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each (row, column) is stored in a CSR matrix with sorted columns; bool [n]."""
    out = np.zeros(len(rows), bool)
    _contained(_fixed(matrix.indptr), _fixed(matrix.indices), _fixed(rows), _fixed(columns), out)
    return out
