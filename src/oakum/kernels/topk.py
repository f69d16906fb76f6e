"""Exact top-k: a blocked matrix product followed by selection; no users × items array ever exists.

Tie rule: equal scores are ordered by a fixed seeded permutation of the items, so that ids (often given by popularity
or first appearance) never leak into a ranking. NaN is never recommended.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from oakum.data import Ids, Ragged
from oakum.seeds import keyed_hash

TIE_KEY = 0x0AC0


@lru_cache(maxsize=4)
def tie_ranks(num_items: int) -> Ids:
    """Position of each item in the fixed permutation that breaks ties, int32 [items], shared and read-only."""
    order = np.argsort(keyed_hash(TIE_KEY, np.arange(num_items, dtype=np.int64)), kind="stable")
    ranks = np.empty(num_items, np.int32)
    ranks[order] = np.arange(num_items, dtype=np.int32)
    ranks.flags.writeable = False
    return ranks


@njit(cache=True, inline="always")
def _before(a, i, b, j, ties):  # type: ignore[no-untyped-def]
    """Whether (score a, item i) ranks before (score b, item j)."""
    return a > b or (a == b and ties[i] < ties[j])


@njit(cache=True, nogil=True, parallel=True)
def select_rows(scores, k, ties, offsets, excluded):  # type: ignore[no-untyped-def]
    """The best k of each row of scores [q, items]; `excluded[offsets[r]:offsets[r + 1]]` never appear in row r.

    A binary heap of size k a row, the worst kept item on top. Rows are independent: threads change nothing.
    """
    n, m = scores.shape
    items = np.full((n, k), -1, np.int32)
    values = np.full((n, k), np.nan, np.float32)
    for r in prange(n):
        row = scores[r]
        for at in range(offsets[r], offsets[r + 1]):
            row[excluded[at]] = np.nan
        heap_item = np.empty(k, np.int32)
        heap_score = np.empty(k, np.float32)
        size = 0
        for j in range(m):
            s = row[j]
            if s != s:
                continue
            if size == k:
                if s < heap_score[0] or not _before(s, j, heap_score[0], heap_item[0], ties):
                    continue
                at = 0
                while True:
                    child = 2 * at + 1
                    if child >= k:
                        break
                    if child + 1 < k and _before(
                        heap_score[child], heap_item[child], heap_score[child + 1], heap_item[child + 1], ties
                    ):
                        child += 1
                    if _before(heap_score[child], heap_item[child], s, j, ties):
                        break
                    heap_score[at] = heap_score[child]
                    heap_item[at] = heap_item[child]
                    at = child
                heap_score[at] = s
                heap_item[at] = j
            else:
                at = size
                size += 1
                while at > 0:
                    parent = (at - 1) >> 1
                    if _before(s, j, heap_score[parent], heap_item[parent], ties):
                        break
                    heap_score[at] = heap_score[parent]
                    heap_item[at] = heap_item[parent]
                    at = parent
                heap_score[at] = s
                heap_item[at] = j
        # Sort the kept few by insertion: k is small.
        for a in range(1, size):
            s = heap_score[a]
            j = heap_item[a]
            b = a - 1
            while b >= 0 and _before(s, j, heap_score[b], heap_item[b], ties):
                heap_score[b + 1] = heap_score[b]
                heap_item[b + 1] = heap_item[b]
                b -= 1
            heap_score[b + 1] = s
            heap_item[b + 1] = j
        for a in range(size):
            items[r, a] = heap_item[a]
            values[r, a] = heap_score[a]
    return items, values


def topk_scores(
    scores: NDArray[np.float32], k: int, *, exclude: Ragged | None = None, ties: Ids | None = None
) -> tuple[Ids, NDArray[np.float32]]:
    """The best `k` of each row of a block of scores [q, items] (overwritten at excluded places).

    Returns items int32 [q, k] (-1 where fewer are allowed) and scores float32 [q, k] (NaN there).
    """
    if ties is None:
        ties = tie_ranks(scores.shape[1])
    if not scores.flags.writeable or not scores.flags.c_contiguous or scores.dtype != np.float32:
        scores = np.array(scores, np.float32, order="C")
    empty = exclude is None
    offsets = np.zeros(len(scores) + 1, np.int64) if empty else exclude.offsets  # type: ignore[union-attr]
    excluded = np.empty(0, np.int32) if empty else np.ascontiguousarray(exclude.items)  # type: ignore[union-attr]
    out: tuple[Ids, NDArray[np.float32]] = select_rows(scores, k, ties, offsets, excluded)
    return out


def topk(
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    k: int,
    *,
    exclude: Ragged | None = None,
    blank: NDArray[np.bool_] | None = None,
    block_bytes: int = 1 << 25,
) -> tuple[Ids, NDArray[np.float32]]:
    """The `k` items of largest dot product with each query. [q, d], [items, d] -> int32 [q, k], float32 [q, k].

    exclude: per query, never returned. blank: bool [items], never returned to anyone. Rows of NaN (a query or an
    item that the model cannot place) give and receive nothing. Time q · items · d; memory `block_bytes` of scores.
    """
    ties = tie_ranks(len(items))
    found = np.full((len(queries), k), -1, np.int32)
    values = np.full((len(queries), k), np.nan, np.float32)
    table = np.ascontiguousarray(items.T, dtype=np.float32)
    rows = max(1, block_bytes // (4 * max(1, len(items))))
    for start in range(0, len(queries), rows):
        stop = min(start + rows, len(queries))
        scores = np.ascontiguousarray(queries[start:stop], np.float32) @ table
        if blank is not None:
            scores[:, blank] = np.nan
        part = None if exclude is None else exclude.take(np.arange(start, stop))
        found[start:stop], values[start:stop] = topk_scores(scores, k, exclude=part, ties=ties)
    return found, values
