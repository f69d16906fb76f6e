# mypy: disable-error-code="no-untyped-def"
"""Reading lists of rows that lie together: products and selection in one pass, list by list.

Queries that come together and read the same list share one pass over it; few of them, and what a query reads after its
first lists, read the rows as bytes first (see `quantised`). Products are the same to the bit either way, and the k best are
kept by key, so that ties are those of an exact search over what was read.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from oakum.kernels._best import WORST, bits_of, cut, finish, key_of, offer, rising, sort
from oakum.kernels._lanes import HEAD, ITEMS, QUERIES, tile
from oakum.kernels.quantised import shortened, sift
from oakum.kernels.tile import prefetch
from oakum.kernels.topk import panelled

FEW = 4  # requests that read a list one by one, over its bytes


@njit(cache=True, nogil=True)
def nearest_lists(gaps, radius, slack, p):
    """The p nearest lists of each query, int32 [q, p], and how near anything in one of them or in a later list can be,
    squared: float32 [q, p + 1], the last of the lists that are not named.

    gaps float32 [q, lists]: distances to the centres; radius [lists]: how far a list reaches; slack [q]: what the gaps may
    be wrong by.
    """
    q, lists = gaps.shape
    visits = np.empty((q, p), np.int32)
    bounds = np.empty((q, p + 1), np.float32)
    keys = np.empty(lists, np.int64)
    order = np.empty(lists, np.int32)
    value = np.empty(1, np.float32)
    bits = value.view(np.int32)
    for r in range(q):
        for c in range(lists):
            value[0] = -gaps[r, c]
            keys[c] = key_of(bits[0], c)
            order[c] = c
        if p < lists:
            cut(keys, order, np.int64(0), lists, p)
        sort(keys, order, 0, p)
        low = np.float32(np.inf)
        for at in range(lists - 1, -1, -1):
            c = order[at]
            near = max(gaps[r, c] - radius[c] - slack[r], np.float32(0))
            low = min(low, near * near)
            if at <= p:
                bounds[r, at] = low
            if at < p:
                visits[r, at] = c
        if p == lists:
            bounds[r, p] = np.inf
    return visits, bounds


@njit(cache=True, nogil=True)
def packed(rows, total):
    """A set of rows as bits of int64 [total / 64 or more]: row r is bit r & 63 of element r >> 6."""
    out = np.zeros((total + 63) >> 6, np.int64)
    for row in rows:
        out[row >> 6] |= np.int64(1) << np.int64(row & 63)
    return out


@njit(cache=True, nogil=True)
def _rows(list_start, list_end, order, passes, some, out):
    """The places of a list whose rows pass, into `out`; how many."""
    n = 0
    for j in range(list_start, list_end):
        out[n] = j
        n += (passes[order[j] >> 6] >> (order[j] & 63)) & 1 if some else 1
    return n


@njit(cache=True, nogil=True)
def _panel(rows, at, n, d, order, grouped, ids, places):
    """The 16 rows from `at` on, the last repeated beyond the end; later ones are asked for. Bits of those that are real."""
    here = min(ITEMS, n - at)
    for j in range(ITEMS):
        row = rows[at + min(j, here - 1)]
        ids[j] = order[row]
        places[j] = np.int64(row) * d
    for j in range(at + 3 * ITEMS, min(at + 4 * ITEMS, n)):
        for c in range(0, d, 16):
            prefetch(grouped, np.int64(rows[j]) * d + c)
    return (1 << here) - 1


@njit(cache=True, nogil=True)
def _read_alone(
    c, asked, at, d, table, codes, wide, order, passes, some, starts, rows, short, aim, ties, r, room, k, keys, items, sizes, bars,
    least, shut, shut_at, panel, scores,
):  # fmt: skip
    """One list for one request, whose d components begin at `at`; how many rows were read. See `sift`."""
    n = starts[c + 1] - starts[c]
    if some:
        n = _rows(starts[c], starts[c + 1], order, passes, some, rows)
    if n:
        sift(
            0 if some else starts[c], n, rows, some, order, codes, wide, short[r], aim[r], table, d, asked, at, ties, r, room, k,
            keys, items, sizes, bars, least, shut, shut_at[r], shut_at[r + 1], panel, scores,
        )  # fmt: skip
    return n


@njit(cache=True, nogil=True)
def read_lists(
    asked, d, table, grouped, codes, wide, order, passes, some, starts, visits, bounds, offsets, factors, probes, k, ties,
    shut_offsets, excluded, together, found, values, products, proven, more, first, last,
):  # fmt: skip
    """The best of the lists that lie nearest, for the queries first … last - 1 of flat `asked`, d to a row.

    grouped, codes: flat rows in list order and their bytes; row j is row `order[j]` of the table and passes where its bit of
    `passes` is set (read where `some`); list c is `starts[c]` … `starts[c + 1]`, and does not count where none of it passes.
    visits, bounds: see `nearest_lists`; the squared distance of a score is `offsets[r] - 2 factors[r] score`. Reads `probes` lists, and more until k are found or
    nothing nearer can follow. together: queries share the reading of their first lists. Written are found int32 [q, k],
    values int32 [q, k] (bits of scores), how many rows were read int64 [q], whether nothing better exists
    bool [q], and whether a query would read on where its visits end, bool [q].
    """
    nq = last - first
    lists, visited = len(starts) - 1, visits.shape[1]
    room = 2 * k + 32
    sets_most = (nq + QUERIES - 1) // QUERIES
    keys = np.empty(nq * room, np.int64)
    items = np.empty(nq * room, np.int32)
    sizes = np.zeros(nq, np.int64)
    bars = np.full(nq, WORST, np.int64)
    least = np.full(nq, -np.inf, np.float32)
    shut = np.empty(shut_offsets[last] - shut_offsets[first], np.int32)
    shut_at = np.empty(nq + 1, np.int64)
    ats = np.zeros(nq, np.int64)
    reads = np.zeros(nq, np.int64)
    longest = 0
    for c in range(lists):
        longest = max(longest, starts[c + 1] - starts[c])
    rows = np.empty(longest + 1, np.int32)
    ids = np.empty(ITEMS, np.int32)
    places = np.empty(ITEMS, np.int64)
    panel = np.empty((ITEMS + QUERIES) * d, np.float32)
    short = np.empty((nq, wide - HEAD), np.int16)
    aim = np.empty((nq, 3), np.float32)
    scores = np.empty(QUERIES * ITEMS, np.float32)
    bits = scores.view(np.int32)
    masks = np.empty(QUERIES, np.int64)
    for r in range(nq):
        shortened(asked, (first + r) * d, d, short[r], aim[r])
        shut_at[r] = shut_offsets[first + r] - shut_offsets[first]
        rising(excluded, shut_offsets[first + r], shut_offsets[first + r + 1], shut[shut_at[r] :])
    shut_at[nq] = len(shut)

    if together:  # the first lists of everybody, each list once
        begins = np.zeros(lists + 1, np.int64)
        for r in range(nq):
            ats[r] = min(probes, visited)
            for at in range(ats[r]):
                begins[visits[first + r, at] + 1] += 1
        for c in range(lists):
            begins[c + 1] += begins[c]
        readers = np.empty(begins[lists], np.int64)
        ends = begins.copy()
        for r in range(nq):
            for at in range(ats[r]):
                c = visits[first + r, at]
                readers[ends[c]] = r
                ends[c] += 1
        turned = np.empty(sets_most * QUERIES * d, np.float32)
        low = np.empty(sets_most * QUERIES, np.float32)
        for c in range(lists):
            m = begins[c + 1] - begins[c]
            n = _rows(starts[c], starts[c + 1], order, passes, some, rows) if m else 0
            if not n:
                continue
            if m <= FEW:
                for at in range(begins[c], begins[c + 1]):
                    r = readers[at]
                    reads[r] += 1
                    products[first + r] += _read_alone(
                        c, asked, (first + r) * d, d, table, codes, wide, order, passes, some, starts, rows, short, aim, ties, r,
                        room, k, keys, items, sizes, bars, least, shut, shut_at, panel, scores,
                    )  # fmt: skip
                continue
            sets = (m + QUERIES - 1) // QUERIES
            for g in range(sets * QUERIES):
                at = g // QUERIES * QUERIES * d + g % QUERIES
                r = readers[begins[c] + min(g, m - 1)]
                if g < m:
                    reads[r] += 1
                    products[first + r] += n
                for x in range(d):
                    turned[at + x * QUERIES] = asked[(first + r) * d + x]
                low[g] = least[r] if g < m else np.inf
            for p in range(0, n, ITEMS):
                real = _panel(rows, p, n, d, order, grouped, ids, places)
                panelled(grouped, places, d, panel)
                for s in range(sets):
                    if not tile(panel, 0, turned, s * QUERIES * d, d, low, s * QUERIES, scores, masks):
                        continue
                    for i in range(min(QUERIES, m - s * QUERIES)):
                        if masks[i] & real:
                            r = readers[begins[c] + s * QUERIES + i]
                            offer(
                                masks[i] & real, scores, bits, i * ITEMS, ids, ties, r, room, k, keys, items, sizes, bars,
                                least, shut, shut_at[r], shut_at[r + 1],
                            )  # fmt: skip
                            low[s * QUERIES + i] = least[r]

    for r in range(nq):  # what is left, list by list
        own = first + r
        at = ats[r]
        while True:
            if sizes[r] >= k:
                bars[r] = cut(keys, items, r * room, sizes[r], k)
                least.view(np.int32)[r] = bits_of(bars[r])
                sizes[r] = k
                # A hair of slack: both sides carry the rounding of float32.
                reach = offsets[own] - 2 * factors[own] * least[r] + 1e-5 * abs(offsets[own])
                if reach < bounds[own, at]:
                    proven[own] = True
                    break
                if reads[r] >= probes:
                    break
            if at == visited:
                proven[own] = at == lists
                more[own] = at < lists
                break
            c = visits[own, at]
            at += 1
            n = _read_alone(
                c, asked, own * d, d, table, codes, wide, order, passes, some, starts, rows, short, aim, ties, r, room, k, keys,
                items, sizes, bars, least, shut, shut_at, panel, scores,
            )  # fmt: skip
            reads[r] += n > 0
            products[own] += n
        finish(keys, items, r * room, sizes[r], k, found[own], values[own])
