# mypy: disable-error-code="no-untyped-def"
"""Exact top-k: products and selection in one pass; no users × items array ever exists, not even a block of one.

A panel of 16 items is multiplied with hundreds of queries, 6 at a time, and the products are compared with each query's
k-th best while they are still in registers; the few that reach it are kept. So the cost is that of the products.

Tie rule: equal scores are ordered by a fixed seeded permutation of the items, so that ids (often given by popularity
or first appearance) never leak into a ranking. NaN is never recommended. A product is summed over the components in
order (of a request alone in eight parts, which reads the items at the speed of memory), so equal items score equally
and neither threads nor the other items change a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.data import Ids, Ragged
from oakum.kernels._best import WORST, bits_of, cut, finish, key_of, rising
from oakum.kernels._lanes import ITEMS, LANES, QUERIES, first_bit, reaching, tile, tile_one, turn
from oakum.kernels.select import tie_ranks
from oakum.kernels.spread import even, fixed, most, spread
from oakum.kernels.tile import prefetch

CACHE_BYTES = 1 << 19  # of queries and of what they keep: the part of a core's own cache that a group may fill
ALL = np.empty(0, np.int32)  # in place of rows: every row of the table

DENSE = 1e9  # multiplications of a dense kernel that are worth a thread: some twenty milliseconds
SPLIT = 2.5e8  # the same where each thread reads a part of the table
FEW = 64  # queries to a thread, below which the table is dealt to the threads, not the queries
SHORT = 128  # components: shorter rows end before the processor has seen a stream, so they are asked for ahead


@njit(cache=True, nogil=True)
def panelled(table, places, d, panel):  # type: ignore[no-untyped-def]
    """16 rows of d floats that begin at `places` as a panel: component c of row j goes to 16 c + j."""
    whole = d // LANES * LANES
    for c in range(0, whole, LANES):
        turn(table, places, 0, c, panel, c * ITEMS, ITEMS)
        turn(table, places, LANES, c, panel, c * ITEMS + LANES, ITEMS)
    for c in range(whole, d):
        for j in range(ITEMS):
            panel[c * ITEMS + j] = table[places[j] + c]


@njit(cache=True, nogil=True)
def _search(  # type: ignore[no-untyped-def]
    queries, table, d, rows, some, beside, k, ties, offsets, barred, alone, group, found, values, low, high, start, stop
):
    """The best k of the places low … high - 1 for the queries start … stop - 1 (the only one, where it is `alone`); see `topk`.

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
                panelled(table, places, d, panel)
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
def _merge(parts, bits, k, ties, found, values):  # type: ignore[no-untyped-def]
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
def _select(scores, bits, m, k, ties, offsets, excluded, blank, some, found, values, start, stop):
    """The best k of each row of flat scores and their bits, m to a row, for the rows start … stop - 1; `blank` is read where
    `some`."""
    begin = np.int64(0)  # a typed zero: for a literal one all that is called would be compiled once more
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


def answers(queries: int, k: int) -> tuple[Ids, NDArray[np.float32]]:
    return np.full((queries, k), -1, np.int32), np.full((queries, k), np.nan, np.float32)


def shut_out(exclude: Ragged | None, queries: int) -> tuple[NDArray[np.int64], Ids]:
    if exclude is None:
        return np.zeros(queries + 1, np.int64), ALL
    return exclude.offsets, np.ascontiguousarray(exclude.items, np.int32)


def _cuts(queries: int, total: int, d: int) -> list[int]:
    """Where to cut the places of a table for a few queries: each thread reads a part of it for all of them. Many queries
    are dealt to the threads instead: two cuts, the ends."""
    threads = most()
    if queries >= threads * FEW:
        return [0, total]
    parts = int(min(threads, total * d * queries // SPLIT, total // ITEMS))
    return [0, total] if parts < 2 else [*range(0, total, -(-total // (parts * ITEMS)) * ITEMS), total]


def select(
    scores: NDArray[np.float32], k: int, ties: Ids, exclude: Ragged | None, blank: NDArray[np.bool_] | None
) -> tuple[Ids, NDArray[np.float32]]:
    """`topk_scores` of scores [q, items], q and items at least 1, for a k above 0."""
    found, values = answers(len(scores), k)
    flat, m = np.ascontiguousarray(scores, np.float32).reshape(-1), scores.shape[1]
    closed = np.zeros(0, bool) if blank is None else blank
    flat, ties, offsets, shut, closed = fixed(flat, ties, *shut_out(exclude, len(scores)), closed)
    work = partial(
        _select, flat, flat.view(np.int32), m, k, ties, offsets, shut, closed, blank is not None, found,
        values.view(np.int32),
    )  # fmt: skip
    spread(work, even(len(scores), scores.size))
    return found, values


def topk(
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    k: int,
    *,
    exclude: Ragged | None = None,
    blank: NDArray[np.bool_] | None = None,
    rows: Ids = ALL,
    beside: bool = False,
    ties: Ids | None = None,
) -> tuple[Ids, NDArray[np.float32]]:
    """The `k` items of largest dot product with each query. [q, d], [items, d] -> int32 [q, k], float32 [q, k].

    exclude: per query, never returned. blank: bool [items], never returned to anyone. rows: int32, rising, the items to look
    at (`ALL`: all); the others cost nothing. ties: the order of equal scores, int32 [items], each once. beside: the table
    holds just those rows, side by side; `ties` says how many items there are. Rows of NaN (a query or an item that the
    model cannot place) give and receive nothing. Time q · items · d; memory of the answer.
    """
    if beside and ties is None:
        raise ValueError("Rows side by side need `ties`, which are of all items.")
    found, values = answers(len(queries), k)
    some = rows is not ALL
    if blank is not None and blank.any():
        open_ = ~blank[rows] if some else ~blank
        items = items[open_] if beside else items
        rows = rows[open_] if some else np.flatnonzero(open_).astype(np.int32)
        some = True
    total = len(rows) if some else len(items)
    if not k or not total or not len(queries):
        return found, values
    asked = np.ascontiguousarray(queries, np.float32)
    table = np.ascontiguousarray(items, np.float32)
    d = table.shape[1]
    if not d:  # products of nothing are 0
        asked, table, d = np.zeros((len(asked), 1), np.float32), np.zeros((len(table), 1), np.float32), 1
    own = tie_ranks(len(table)) if ties is None else ties
    k = min(k, total)
    group = QUERIES * max(8, min(170, CACHE_BYTES // (QUERIES * (4 * d + 12 * (2 * k + 32)))))
    asked, table, rows, own, offsets, shut = fixed(asked, table, rows, own, *shut_out(exclude, len(asked)))
    search = partial(
        _search, asked.reshape(-1), table.reshape(-1), d, rows, some, beside or not some, k, own, offsets, shut,
        len(asked) == 1, group,
    )  # fmt: skip
    dealt(search, len(asked), total, d, k, own, found, values)
    return found, values


def dealt(
    search: Callable[..., None],
    queries: int,
    total: int,
    d: int,
    k: int,
    ties: Ids,
    found: Ids,
    values: NDArray[np.float32],
) -> None:
    """Run search(found, bits, low, high, start, stop), which writes the best k of the places low … high - 1 for the queries
    start … stop - 1, over all queries and places: on threads where the work, d for each of both, is worth them."""
    bits = values.view(np.int32)
    cuts = _cuts(queries, total, d)
    if len(cuts) == 2:
        spread(partial(search, found, bits, 0, total), even(queries, queries * total * d, worth=DENSE, least=FEW))
        return
    parts = np.full((len(cuts) - 1, *found.shape), -1, np.int32)
    part_bits = np.zeros_like(parts)

    def part(at: int, _: int) -> None:
        search(parts[at], part_bits[at], cuts[at], cuts[at + 1], 0, queries)

    spread(part, list(pairwise(range(len(cuts)))))
    _merge(parts, part_bits, k, ties, found, bits)
