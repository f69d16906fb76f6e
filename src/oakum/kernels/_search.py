# mypy: disable-error-code="no-untyped-def"
"""The compiled loops of `topk`: products and selection, the merging of parts, and selection alone."""

from __future__ import annotations

import numpy as np
from numba import njit

from oakum.kernels._best import WORST, bits_of, cut, finish, key_of, rising
from oakum.kernels._lanes import ITEMS, LANES, QUERIES, first_bit, reaching, tile, tile_one, turn
from oakum.kernels.tile import prefetch

SHORT = 128  # components: shorter rows end before the processor has seen a stream, so they are asked for ahead


@njit(cache=True, nogil=True)
def search(
    queries, table, d, rows, some, beside, k, ties, offsets, barred, alone, group, found, values, low, high, start, stop
):
    """The best k of the places low … high - 1 for the queries start … stop - 1 (the only one, where it is `alone`); see `topk.topk`.

    queries, table: flat float32, d to a row. rows int32, rising: the rows to look at where `some`, and all that the table
    holds where `beside`; a place is one of them, or a row of the table. found int32 [q, k] and values int32 [q, k] (bits of
    scores) are written.
    """
    room = min(2 * k + 32, max(high - low, k) + 1)
    group = min(group, (stop - start + QUERIES - 1) // QUERIES * QUERIES)
    asked = np.empty(group * d, np.float32)
    least = np.empty(group, np.float32)
    least_bits = least.view(np.int32)
    bars = np.empty(group, np.int64)
    sizes = np.empty(group, np.int64)
    keys = np.empty(group * room, np.int64)
    items = np.empty(group * room, np.int32)
    shut_at = np.empty(group, np.int64)
    shut_end = np.empty(group, np.int64)
    panel = np.empty(ITEMS * d, np.float32)
    places = np.empty(ITEMS, np.int64)
    ids = np.empty(ITEMS, np.int32)
    scores = np.empty(QUERIES * ITEMS, np.float32)
    bits = scores.view(np.int32)
    masks = np.empty(QUERIES, np.int64)
    whole = d // LANES * LANES
    fetches = not beside or d <= SHORT
    ahead = ITEMS if d > SHORT else 2 * ITEMS if beside else 4 * ITEMS
    for first in range(start, stop, group):
        n = min(group, stop - first)
        sets = (n + QUERIES - 1) // QUERIES
        shut = np.empty(offsets[first + n] - offsets[first], np.int32)
        for g in range(sets * QUERIES):
            at = g // QUERIES * QUERIES * d + g % QUERIES
            for c in range(d):
                asked[at + c * QUERIES] = queries[(first + g) * d + c] if g < n else np.nan
            least[g] = -np.inf
            bars[g] = WORST
            sizes[g] = 0
            if g < n:
                shut_at[g] = offsets[first + g] - offsets[first]
                shut_end[g] = offsets[first + g + 1] - offsets[first]
                rising(barred, offsets[first + g], offsets[first + g + 1], shut[shut_at[g] : shut_end[g]])
        for p in range(low, high, ITEMS):
            here = min(ITEMS, high - p)
            real = (1 << here) - 1  # the last panel repeats a row
            for j in range(ITEMS):
                at = p + min(j, here - 1)
                ids[j] = rows[at] if some else at
                places[j] = np.int64(at if beside else ids[j]) * d
            for j in range(p + ahead, min(p + ahead + ITEMS, high) if fetches else 0):
                row = j if beside else np.int64(rows[j])
                for c in range(0, d, 16):
                    prefetch(table, row * d + c)
            if not alone:
                for c in range(0, whole, LANES):
                    turn(table, places, 0, c, panel, c * ITEMS, ITEMS)
                    turn(table, places, LANES, c, panel, c * ITEMS + LANES, ITEMS)
                for c in range(whole, d):
                    for j in range(ITEMS):
                        panel[c * ITEMS + j] = table[places[j] + c]
            for s in range(sets):
                if alone:
                    reached = tile_one(table, places, queries, first * d, d, least, 0, scores, masks)
                else:
                    reached = tile(panel, 0, asked, s * QUERIES * d, d, least, s * QUERIES, scores, masks)
                if not reached:
                    continue
                for i in range(min(QUERIES, n - s * QUERIES)):
                    mask = masks[i] & real
                    g = s * QUERIES + i
                    while mask:
                        j = first_bit(mask)
                        mask &= mask - 1
                        item = ids[j]
                        key = key_of(bits[i * ITEMS + j], ties[item])
                        if key <= bars[g]:
                            continue
                        while shut_at[g] < shut_end[g] and shut[shut_at[g]] < item:
                            shut_at[g] += 1
                        if shut_at[g] < shut_end[g] and shut[shut_at[g]] == item:
                            continue
                        keys[g * room + sizes[g]] = key
                        items[g * room + sizes[g]] = item
                        sizes[g] += 1
                        if sizes[g] == room:
                            bars[g] = cut(keys, items, g * room, room, k)
                            least_bits[g] = bits_of(bars[g])
                            sizes[g] = k
        for g in range(n):
            finish(keys, items, g * room, sizes[g], k, found[first + g], values[first + g])


@njit(cache=True, nogil=True)
def merge(parts, bits, k, ties, found, values):
    """The best k of what several parts of the table gave: int32 [parts, q, k] and bits of scores -> [q, k]."""
    keys = np.empty(len(parts) * k, np.int64)
    items = np.empty(len(parts) * k, np.int32)
    for q in range(len(found)):
        size = 0
        for part in range(len(parts)):
            for a in range(k):
                if parts[part, q, a] >= 0:
                    items[size] = parts[part, q, a]
                    keys[size] = key_of(bits[part, q, a], ties[items[size]])
                    size += 1
        finish(keys, items, np.int64(0), size, k, found[q], values[q])


@njit(cache=True, nogil=True)
def select(scores, bits, m, k, ties, offsets, excluded, blank, some, found, values, start, stop):
    """The best k of each row of flat scores and their bits, m to a row, for the rows start … stop - 1; `blank` is read where
    `some`."""
    begin = np.int64(0)  # a typed zero: of a literal one everything that is called would be compiled again
    room = min(2 * k + 64, max(m, k) + 1)
    keys = np.empty(room, np.int64)
    items = np.empty(room, np.int32)
    for r in range(start, stop):
        base = r * m
        size = begin
        bar = WORST
        low = np.float32(-np.inf)
        shut = np.empty(offsets[r + 1] - offsets[r], np.int32)
        rising(excluded, offsets[r], offsets[r + 1], shut)
        next_shut = 0
        for at in range(0, m, 32):
            if at + 32 <= m:
                mask = reaching(scores, base + at, low)
            else:
                mask = np.int64(0)
                for j in range(at, m):
                    if scores[base + j] >= low:
                        mask |= np.int64(1) << np.int64(j - at)
            while mask:
                j = at + first_bit(mask)
                mask &= mask - 1
                key = key_of(bits[base + j], ties[j])
                if key <= bar or (some and blank[j]):
                    continue
                while next_shut < len(shut) and shut[next_shut] < j:
                    next_shut += 1
                if next_shut < len(shut) and shut[next_shut] == j:
                    continue
                keys[size] = key
                items[size] = j
                size += 1
                if size == room:
                    bar = cut(keys, items, begin, room, k)
                    low = np.int32(bits_of(bar)).view(np.float32)
                    size = k
        finish(keys, items, begin, size, k, found[r], values[r])
