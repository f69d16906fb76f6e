"""The order of rows under a key, for logs of millions: what sorting by `keyed_hash` gives, in linear time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.seeds import keyed_hash

FEW = 20_000  # rows below which a plain sort is as quick
COARSE = 10  # leading bits of the first dealing out


def shuffled(key: int, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Positions [n] that put rows [n] in the order of their hash under `key`, equal ones in the order given."""
    if len(rows) < FEW:
        return np.argsort(keyed_hash(key, rows), kind="stable")
    out: NDArray[np.int64] = _by_hash(np.uint64(key & 0xFFFFFFFFFFFFFFFF), np.ascontiguousarray(rows))
    return out


@njit(cache=True, nogil=True)
def picked(at, rows, users, items):  # type: ignore[no-untyped-def]
    """The values of three columns at the positions `at` [b], int64 [b] each."""
    n = len(at)
    out = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        p = np.uintp(at[i])
        out[0][i], out[1][i], out[2][i] = rows[p], users[p], items[p]
    return out


@njit(cache=True, nogil=True)
def _by_hash(key, rows):  # type: ignore[no-untyped-def]
    n = len(rows)
    unit = np.uint64(0x9E3779B97F4A7C15)
    shift = key * unit + unit
    hashes = np.empty(n, np.uint64)
    counts = np.zeros((1 << COARSE) + 1, np.int64)
    for i in range(n):
        z = np.uint64(rows[i]) + shift
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
        hashes[i] = z
        counts[(z >> np.uint64(64 - COARSE)) + np.uint64(1)] += 1
    starts = np.cumsum(counts)
    place = starts[:-1].copy()
    dealt, at = np.empty(n, np.uint64), np.empty(n, np.int64)
    for i in range(n):
        z = hashes[i]
        bucket = np.int64(z >> np.uint64(64 - COARSE))
        dealt[place[bucket]] = z
        at[place[bucket]] = i
        place[bucket] += 1
    # Within a bucket: deal out once more by the bits that follow, then put the few of a place in order.
    largest = 0
    for b in range(1 << COARSE):
        largest = max(largest, int(starts[b + 1] - starts[b]))
    bits = 1
    while (1 << bits) < largest // 2:
        bits += 1
    fine = np.empty((1 << bits) + 1, np.int64)
    own_hash, own_at = np.empty(largest, np.uint64), np.empty(largest, np.int64)
    for b in range(1 << COARSE):
        low, high = starts[b], starts[b + 1]
        fine[:] = 0
        for i in range(low, high):
            fine[((dealt[i] << np.uint64(COARSE)) >> np.uint64(64 - bits)) + np.uint64(1)] += 1
        for f in range(1 << bits):
            fine[f + 1] += fine[f]
        for i in range(low, high):
            spot = np.int64((dealt[i] << np.uint64(COARSE)) >> np.uint64(64 - bits))
            own_hash[fine[spot]], own_at[fine[spot]] = dealt[i], at[i]
            fine[spot] += 1
        for i in range(high - low):
            z, p = own_hash[i], own_at[i]
            j = i - 1
            while j >= 0 and own_hash[j] > z:
                own_hash[j + 1], own_at[j + 1] = own_hash[j], own_at[j]
                j -= 1
            own_hash[j + 1], own_at[j + 1] = z, p
        at[low:high] = own_at[: high - low]
    return at
