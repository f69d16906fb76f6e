# mypy: disable-error-code="untyped-decorator"
"""How far a row of a log reaches: everything that came after it, along people and along items.

A row leads to the next row of its person and to the next row of its item. Rows are numbered in order of time, so every
edge points to a larger number and one pass over the log is enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.seeds import keyed_hash

Places = NDArray[np.int64]


def links(users: NDArray[np.integer], items: NDArray[np.integer], length: int = 0) -> tuple[Places, Places]:
    """The row before each row by person and by item, int64 [n], [n]; -1 where there is none.

    users, items: codes of the rows in order of time. length > 0 keeps edges among the last `length` rows of each person
    and of each item only, as a model does that reads so many.
    """
    return _before(np.asarray(users), length), _before(np.asarray(items), length)


def _before(codes: NDArray[np.integer], length: int) -> Places:
    order = np.argsort(codes, kind="stable")
    grouped = codes[order]
    same = grouped[1:] == grouped[:-1]
    if length and len(codes):
        ends = np.searchsorted(grouped, grouped, side="right")
        same &= (ends - np.arange(len(codes)))[:-1] <= length
    out = np.full(len(codes), -1, np.int64)
    out[order[1:][same]] = order[:-1][same]
    return out


def roots(by_user: Places, by_item: Places) -> Places:
    """The rows that nothing leads to. One of them reaches farthest, since a row reaches all that its successors reach."""
    return np.flatnonzero((by_user < 0) & (by_item < 0))


def reach(by_user: Places, by_item: Places, starts: Places) -> NDArray[np.int64]:
    """How many rows each of these rows reaches, itself included, int64 [s].

    64 starts share one pass, a bit each: time rows · starts / 64, memory 8 bytes a row.
    """
    order = np.argsort(starts, kind="stable")
    found = np.empty(len(starts), np.int64)
    found[order] = _reach(by_user, by_item, np.asarray(starts, np.int64)[order])
    return found


def reach_sketch(
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    by_user: Places,
    by_item: Places,
    *,
    size: int,
    seed: int = 0,
) -> NDArray[np.float64]:
    """About how many rows each row reaches, float64 [n], from bottom-k sketches (Cohen 1997) in one pass back in time.

    size: hashes kept, at least 3; the relative error is about 1 / sqrt(size), and none below `size` rows. Time rows · size,
    memory 8 (people + items) size bytes.
    """
    luck = (keyed_hash(seed, np.arange(len(users), dtype=np.int64)) + 1.0) / 2.0**64
    by = np.asarray(users, np.int64), np.asarray(items, np.int64)
    return np.asarray(_sketch(*by, by_user, by_item, luck, size))


@njit(cache=True, nogil=True)
def _reach(by_user: Any, by_item: Any, starts: Any) -> Any:
    n = len(by_user)
    out = np.zeros(len(starts), np.int64)
    bits = np.zeros(n, np.uint64)
    one = np.uint64(1)
    for first in range(0, len(starts), 64):
        last = min(first + 64, len(starts))
        count = np.zeros(64, np.uint64)
        bits[: starts[first]] = 0
        own = first
        for j in range(starts[first], n):
            found = np.uint64(0)
            if by_user[j] >= 0:
                found |= bits[by_user[j]]
            if by_item[j] >= 0:
                found |= bits[by_item[j]]
            while own < last and starts[own] == j:
                found |= one << np.uint64(own - first)
                own += 1
            bits[j] = found
            if found:
                for r in range(64):
                    count[r] += (found >> np.uint64(r)) & one
        for r in range(first, last):
            out[r] = count[r - first]
    return out


@njit(cache=True, nogil=True)
def _sketch(users: Any, items: Any, by_user: Any, by_item: Any, luck: Any, size: int) -> Any:
    n = len(users)
    most = np.inf
    of_users = np.full((users.max() + 1 if n else 0, size), most)
    of_items = np.full((items.max() + 1 if n else 0, size), most)
    leads_user = np.zeros(n, np.bool_)
    leads_item = np.zeros(n, np.bool_)
    for j in range(n):
        if by_user[j] >= 0:
            leads_user[by_user[j]] = True
        if by_item[j] >= 0:
            leads_item[by_item[j]] = True
    out = np.empty(n)
    own = np.empty(size)
    empty = np.full(size, most)
    for j in range(n - 1, -1, -1):
        a = of_users[users[j]] if leads_user[j] else empty
        b = of_items[items[j]] if leads_item[j] else empty
        x, y, mine = 0, 0, luck[j]
        for k in range(size):  # three sorted lists as one, equal hashes once
            left = a[x] if x < size else most
            right = b[y] if y < size else most
            low = min(left, right, mine)
            own[k] = low
            if left == low:
                x += 1
            if right == low:
                y += 1
            if mine == low:
                mine = most
        known = 0
        while known < size and own[known] < most:
            known += 1
        out[j] = known if known < size else (size - 1) / own[size - 1]
        of_users[users[j]] = own
        of_items[items[j]] = own
    return out
