"""Exact top-k: products and selection in one pass; no users × items array ever exists, not even a block of one.

A panel of 16 items is multiplied with hundreds of queries, 6 at a time, and the products are compared with each query's
k-th best while they are still in registers; the few that reach it are kept. So the cost is that of the products.

Tie rule: equal scores are ordered by a fixed seeded permutation of the items, so that ids (often given by popularity
or first appearance) never leak into a ranking. NaN is never recommended. A product is summed over the components in
order (of a request alone in eight parts, which reads the items at the speed of memory), so equal items score equally
and neither threads nor the other items change a bit.

The compiled loops are loaded where they are needed: a few scores that are given are put in order by NumPy, to the same
answers.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ids, Ragged
from oakum.kernels.spread import even, fixed, most, spread
from oakum.seeds import keyed_hash

TIE_KEY = 0x0AC0
CACHE_BYTES = 1 << 19  # of queries and of what they keep: the part of a core's own cache that a group may fill
ALL = np.empty(0, np.int32)  # in place of rows: every row of the table

DENSE = 1e9  # multiplications of a dense kernel that are worth a thread: some twenty milliseconds
SPLIT = 2.5e8  # the same where each thread reads a part of the table
FEW = 64  # queries to a thread, below which the table is dealt to the threads, not the queries
LITTLE = 1 << 14  # scores so few that NumPy sorts them before a process that begins could load what is compiled
LAST = np.int64(2**63 - 1)  # the place of what may not be shown


@lru_cache(maxsize=4)
def tie_ranks(num_items: int) -> Ids:
    """Position of each item in the fixed permutation that breaks ties, int32 [items], shared and read-only."""
    order = np.argsort(keyed_hash(TIE_KEY, np.arange(num_items, dtype=np.int64)), kind="stable")
    ranks = np.empty(num_items, np.int32)
    ranks[order] = np.arange(num_items, dtype=np.int32)
    ranks.flags.writeable = False
    return ranks


def _answers(queries: int, k: int) -> tuple[Ids, NDArray[np.float32]]:
    return np.full((queries, k), -1, np.int32), np.full((queries, k), np.nan, np.float32)


def _shut(exclude: Ragged | None, queries: int) -> tuple[NDArray[np.int64], Ids]:
    if exclude is None:
        return np.zeros(queries + 1, np.int64), ALL
    return exclude.offsets, np.ascontiguousarray(exclude.items, np.int32)


def _cuts(queries: int, total: int, d: int) -> list[int]:
    """Where to cut the places of a table for a few queries: each thread reads a part of it for all of them. Many queries
    are dealt to the threads instead: two cuts, the ends."""
    from oakum.kernels._lanes import ITEMS

    threads = most()
    if queries >= threads * FEW:
        return [0, total]
    parts = int(min(threads, total * d * queries // SPLIT, total // ITEMS))
    return [0, total] if parts < 2 else [*range(0, total, -(-total // (parts * ITEMS)) * ITEMS), total]


def topk_scores(
    scores: NDArray[np.float32],
    k: int,
    *,
    exclude: Ragged | None = None,
    blank: NDArray[np.bool_] | None = None,
    ties: Ids | None = None,
) -> tuple[Ids, NDArray[np.float32]]:
    """The best `k` of each row of a block of scores [q, items], which is only read.

    exclude, blank, ties as for `topk`. Returns items int32 [q, k] (-1 where fewer are allowed) and scores float32 [q, k]
    (NaN there).
    """
    found, values = _answers(len(scores), k)
    if not k or not scores.size:
        return found, values
    own = tie_ranks(scores.shape[1]) if ties is None else ties
    if scores.size <= LITTLE:
        _sort(np.asarray(scores, np.float32), own, exclude, blank, found, values)
        return found, values
    from oakum.kernels._search import select

    flat, m = np.ascontiguousarray(scores, np.float32).reshape(-1), scores.shape[1]
    closed = np.zeros(0, bool) if blank is None else blank
    flat, own, offsets, shut, closed = fixed(flat, own, *_shut(exclude, len(scores)), closed)
    bits = values.view(np.int32)
    work = partial(
        select, flat, flat.view(np.int32), m, k, own, offsets, shut, closed, blank is not None, found, bits,
    )  # fmt: skip
    spread(work, even(len(scores), scores.size))
    return found, values


def _sort(
    scores: NDArray[np.float32],
    ties: Ids,
    exclude: Ragged | None,
    blank: NDArray[np.bool_] | None,
    found: Ids,
    values: NDArray[np.float32],
) -> None:
    """`topk_scores` by NumPy, into found [q, k] and values [q, k]. Time: one pass over the scores and a sort of the best."""
    m, k = scores.shape[1], found.shape[1]
    known = scores + np.float32(0)  # -0.0 is 0.0
    bits = known.view(np.int32)
    # A place is one number, as in `_best.key_of`: the score's bits, made to fall as it rises, above its place in the tie order.
    places = np.where(bits < 0, bits ^ -(2**31), ~bits).astype(np.int64) << 32 | ties
    places[np.isnan(known)] = LAST
    if blank is not None:
        places[:, blank] = LAST
    if exclude is not None:
        inside = (exclude.items >= 0) & (exclude.items < m)
        places[exclude.owners()[inside], exclude.items[inside]] = LAST
    best = np.argpartition(places, min(k, m) - 1, axis=1)[:, :k]
    best = np.take_along_axis(best, np.argsort(np.take_along_axis(places, best, 1), axis=1), 1)
    shown = np.take_along_axis(places, best, 1) < LAST
    found[:, :m] = np.where(shown, best, -1)
    values[:, :m] = np.where(shown, np.take_along_axis(known, best, 1), np.nan)


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
    found, values = _answers(len(queries), k)
    some = rows is not ALL
    if blank is not None and blank.any():
        open_ = ~blank[rows] if some else ~blank
        items = items[open_] if beside else items
        rows = rows[open_] if some else np.flatnonzero(open_).astype(np.int32)
        some = True
    total = len(rows) if some else len(items)
    if not k or not total or not len(queries):
        return found, values
    from oakum.kernels._lanes import QUERIES
    from oakum.kernels._search import merge, search

    asked = np.ascontiguousarray(queries, np.float32)
    table = np.ascontiguousarray(items, np.float32)
    d = table.shape[1]
    if not d:  # products of nothing are 0
        asked, table, d = np.zeros((len(asked), 1), np.float32), np.zeros((len(table), 1), np.float32), 1
    own = tie_ranks(len(table)) if ties is None else ties
    k = min(k, total)
    group = QUERIES * max(8, min(170, CACHE_BYTES // (QUERIES * (4 * d + 12 * (2 * k + 32)))))
    asked, table, rows, own, offsets, shut = fixed(asked, table, rows, own, *_shut(exclude, len(asked)))
    run = partial(
        search, asked.reshape(-1), table.reshape(-1), d, rows, some, beside or not some, k, own, offsets, shut,
        len(asked) == 1, group,
    )  # fmt: skip
    cuts = _cuts(len(asked), total, d)
    if len(cuts) == 2:
        stretches = even(len(asked), len(asked) * total * d, worth=DENSE, least=FEW)
        spread(partial(run, found, values.view(np.int32), 0, total), stretches)
        return found, values
    parts = np.full((len(cuts) - 1, *found.shape), -1, np.int32)
    bits = np.zeros_like(parts)

    def part(at: int, _: int) -> None:
        run(parts[at], bits[at], cuts[at], cuts[at + 1], 0, len(asked))

    spread(part, list(pairwise(range(len(cuts)))))
    merge(parts, bits, k, own, found, values.view(np.int32))
    return found, values
