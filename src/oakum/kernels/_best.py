"""The best k of what is offered: candidates as single numbers, cut to the k largest whenever their place is full."""

from __future__ import annotations

import numpy as np
from numba import njit

from oakum.data.searching import find
from oakum.kernels._lanes import first_bit

WORST = np.int64(-(2**63))  # the key of nothing: every score ranks before it
LOW = np.int64(0x7FFFFFFF)


# A candidate is one number: its score's bits, made to rise with the score, above its place in the tie order, counted
# from the end. So "ranks before" is one comparison of integers.
@njit(cache=True, nogil=True)
def key_of(bits, tie):  # type: ignore[no-untyped-def]
    if bits == -(2**31):  # -0.0 is 0.0
        bits = 0
    if bits < 0:
        bits ^= 0x7FFFFFFF
    return (np.int64(bits) << 32) | (LOW - tie)


@njit(cache=True, nogil=True)
def bits_of(key):  # type: ignore[no-untyped-def]
    """The bits of the score of a key."""
    high = np.int32(key >> 32)
    return high if high >= 0 else high ^ np.int32(0x7FFFFFFF)


@njit(cache=True, nogil=True)
def cut(keys, items, base, size, k):  # type: ignore[no-untyped-def]
    """Hoare's selection: the k largest of `size` keys from `base` on come first (1 <= k <= size); the least of them."""
    low, high = base, base + size - 1
    last = base + k - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                items[i], items[j] = items[j], items[i]
                i += 1
                j -= 1
        if last <= j:
            high = j
        elif last >= i:
            low = i
        else:
            break
    least = keys[base]
    for i in range(base, base + k):
        least = min(least, keys[i])
    return least


@njit(cache=True, nogil=True)
def sort(keys, items, base, size):  # type: ignore[no-untyped-def]
    """Shell's sort, largest key first: lists are short."""
    gap = 1
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(base + gap, base + size):
            key, item = keys[i], items[i]
            j = i
            while j - gap >= base and keys[j - gap] < key:
                keys[j], items[j] = keys[j - gap], items[j - gap]
                j -= gap
            keys[j], items[j] = key, item
        gap //= 3


@njit(cache=True, nogil=True)
def finish(keys, items, base, size, k, found, values):  # type: ignore[no-untyped-def]
    """The best k of the candidates of one request into its row of `found` and the bits of their scores into `values`."""
    if size > k:
        cut(keys, items, base, size, k)
        size = k
    sort(keys, items, base, size)
    for a in range(size):
        found[a] = items[base + a]
        values[a] = bits_of(keys[base + a])


@njit(cache=True, nogil=True)
def rising(codes, first, last, out):  # type: ignore[no-untyped-def]
    """codes[first:last] in rising order into `out` (int32)."""
    n = last - first
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    for i in range(n):
        out[i] = codes[first + i]
    while gap > 0:
        for i in range(gap, n):
            code = out[i]
            j = i
            while j >= gap and out[j - gap] > code:
                out[j] = out[j - gap]
                j -= gap
            out[j] = code
        gap //= 3


@njit(cache=True, nogil=True)
def offer(  # type: ignore[no-untyped-def]
    mask, scores, bits, row_at, ids, ties, r, room, k, keys, items, sizes, bars, least, shut, low, high
):  # fmt: skip
    """Products of request r with a panel of rows `ids`, those whose bit is set, to what it keeps, but for shut[low:high]
    (rising)."""
    least_bits = least.view(np.int32)
    while mask:
        j = first_bit(mask)
        mask &= mask - 1
        key = key_of(bits[row_at + j], ties[ids[j]])
        if key <= bars[r] or find(shut, low, high, ids[j]) >= 0:
            continue
        keys[r * room + sizes[r]] = key
        items[r * room + sizes[r]] = ids[j]
        sizes[r] += 1
        if sizes[r] == room:
            bars[r] = cut(keys, items, r * room, room, k)
            least_bits[r] = bits_of(bars[r])
            sizes[r] = k
