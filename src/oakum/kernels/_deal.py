# mypy: disable-error-code="no-untyped-def"
"""The compiled loops of `shuffle`."""

from __future__ import annotations

import numpy as np
from numba import njit

COARSE = 10  # leading bits of the first dealing out


@njit(cache=True, nogil=True)
def picked(at, rows, users, items):
    """See `shuffle.picked`."""
    n = len(at)
    out = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        p = np.uintp(at[i])
        out[0][i], out[1][i], out[2][i] = rows[p], users[p], items[p]
    return out


@njit(cache=True, inline="always")
def _hash(row, shift):
    """`seeds.keyed_hash` of a row: quicker than to keep what it gave."""
    z = np.uint64(row) + shift
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def by_hash(key, rows):
    """See `shuffle.shuffled`."""
    n = len(rows)
    unit = np.uint64(0x9E3779B97F4A7C15)
    shift = key * unit + unit
    counts = np.zeros((1 << COARSE) + 1, np.int64)
    for i in range(n):
        z = _hash(rows[i], shift)
        counts[(z >> np.uint64(64 - COARSE)) + np.uint64(1)] += 1
    starts, place = np.empty_like(counts), np.empty_like(counts)
    total = 0
    for b in range(len(counts)):
        total += counts[b]
        starts[b] = place[b] = total
    dealt, at = np.empty(n, np.uint64), np.empty(n, np.int64)
    for i in range(n):
        z = _hash(rows[i], shift)
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
        for f in range(len(fine)):
            fine[f] = 0
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
        for i in range(high - low):
            at[low + i] = own_at[i]
    return at
