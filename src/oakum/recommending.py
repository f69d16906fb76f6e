"""From scores to ranked lists, for anything that scores: blocks over requests, filters that still give k items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ids, Queries, Ragged, Ranking
from oakum.errors import ParameterError
from oakum.kernels.select import tie_ranks, topk_scores
from oakum.seeds import derive

LISTS_AT_ONCE = 256  # requests a model is asked to make lists for at once; fixed, since drawn lists depend on it


def rank(
    model: Any,
    queries: Queries,
    k: int,
    *,
    where: Filter | None = None,
    popularity: NDArray[np.float32] | None = None,
    seed: int | None = None,
    block_bytes: int = 1 << 25,
    index: Any = None,
    num_items: int | None = None,
) -> Ranking:
    """The best `k` items of each request.

    Asks the model for its lists where it makes them itself (`recommend_lists`; drawn where `seed` is given, its best
    guess without), uses `query_vectors` / `item_vectors` where it has them, `score` otherwise; memory is bounded by
    `block_bytes` of scores either way. Fewer than k come back only where fewer are allowed or can be scored. With
    `popularity` [items], requests for which the model cannot say anything are answered by it and flagged. An `index` over
    the model's item vectors is searched in their place. num_items: how wide a row of scores is, where it is known.
    """
    where = where or Filter()
    if index is not None:
        _searchable(model, index)
    lists = hasattr(model, "recommend_lists")
    vectors = not lists and hasattr(model, "query_vectors") and hasattr(model, "item_vectors")
    table = model.item_vectors() if vectors and index is None else None
    ready = None if index is None else index.geometry.passing(where)
    blank = None if table is None else where.closed(len(table))
    found: list[Ids] = []
    values: list[NDArray[np.float32]] = []
    at_once = lambda width: max(1, min(4096, block_bytes // (4 * max(1, width))))
    step = LISTS_AT_ONCE if lists else 1024
    if table is None and index is None and not lists and num_items is not None:
        step = min(step, at_once(num_items))
    start = 0
    while start < len(queries):
        stop = min(start + step, len(queries))
        part, rules = queries.span(start, stop), where.span(start, stop)
        exclude = rules.exclude
        if lists:
            made = model.recommend_lists(part, k, rules, None if seed is None else derive(seed, "lists", start))
            items, scores = made.items, made.scores
        elif index is not None:
            near = index.search(model.query_vectors(part), k, where=ready, exclude=exclude)
            items, scores = near.items, near.scores
        elif table is not None:
            from oakum.kernels.topk import topk

            items, scores = topk(model.query_vectors(part), table, k, exclude=exclude, blank=blank)
        else:
            block = model.score(part)
            if start == 0:
                step = at_once(block.shape[1])
                blank = where.closed(block.shape[1])
            items, scores = topk_scores(block, k, exclude=exclude, blank=blank)
        found.append(items)
        values.append(scores)
        start = stop
    items = np.concatenate(found) if found else np.empty((0, k), np.int32)
    scores = np.concatenate(values) if values else np.empty((0, k), np.float32)
    if popularity is None:
        return Ranking(items, scores)
    silent = items[:, 0] < 0
    if silent.any():
        from oakum.kernels.topk import topk

        at = np.flatnonzero(silent)
        exclude = None if where.exclude is None else where.exclude.take(at)
        # Popularity as products of vectors of width one: nothing of requests × items is made.
        table, ones = popularity.astype(np.float32)[:, None], np.ones((len(at), 1), np.float32)
        items[at], scores[at] = topk(ones, table, k, exclude=exclude, blank=where.closed(len(popularity)))
    return Ranking(items, scores, silent)


def _searchable(model: Any, index: Any) -> None:
    if hasattr(model, "recommend_lists") or not hasattr(model, "query_vectors"):
        raise ParameterError(
            "An index searches vectors; this model makes its lists in another way: ask it without one."
        )
    if index.geometry.metric != "dot":
        raise ParameterError(f"Models score by dot products; this index ranks by '{index.geometry.metric}'.")


def rank_among(model: Any, queries: Queries, candidates: Ragged, k: int, *, block: int = 4096) -> Ranking:
    """The best `k` of each request's own candidates, one row a request; NaN scores are left out.

    Scores are asked for the candidates alone; ties are broken by the fixed permutation of items.
    """
    longest = max(1, int(candidates.lengths.max(initial=0)))
    found = np.full((len(queries), k), -1, np.int32)
    values = np.full((len(queries), k), np.nan, np.float32)
    ties = tie_ranks(int(candidates.items.max(initial=0)) + 1)
    for start in range(0, len(queries), block):
        at = np.arange(start, min(start + block, len(queries)))
        own = candidates.take(at)
        table = np.full((len(at), longest), -1, np.int32)
        table[own.owners(), np.arange(len(own.items)) - own.offsets[own.owners()]] = own.items
        scores = np.asarray(model.score(queries.take(at), table), np.float32)
        order = np.lexsort((ties[np.maximum(table, 0)], -scores), axis=1)[:, :k]
        kept = np.take_along_axis(scores, order, 1)
        found[at, : order.shape[1]] = np.where(np.isnan(kept), -1, np.take_along_axis(table, order, 1))
        values[at, : order.shape[1]] = kept
    return Ranking(found, values)


def interleaved(lists: Ids, k: int) -> Ids:
    """Several lists of each request as one: all first places, then all second ones, ...; the first `k` distinct items.

    lists: int32 [lists, q, places], -1 where one ends early. Returns int32 [q, k], -1 at the end of short ones.
    """
    out = np.full((lists.shape[1], k), -1, np.int32)
    flat = lists.transpose(1, 2, 0).reshape(lists.shape[1], -1)
    for r, row in enumerate(flat.tolist()):
        kept = [i for i in dict.fromkeys(row) if i >= 0][:k]
        out[r, : len(kept)] = kept
    return out
