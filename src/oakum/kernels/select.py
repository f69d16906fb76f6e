"""The best k of each row of scores as they stand, equal ones in a fixed order.

A few scores are put in order by NumPy, many by a compiled loop, to the same answers: a process that begins has its first
list before it could have loaded what is compiled.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ids, Ragged
from oakum.seeds import keyed_hash

TIE_KEY = 0x0AC0
LITTLE = 1 << 13  # scores that NumPy orders in a tenth of a millisecond
LAST = np.int64(2**63 - 1)  # the place of what may not be shown


@lru_cache(maxsize=4)
def tie_ranks(num_items: int) -> Ids:
    """Position of each item in the fixed permutation that breaks ties, int32 [items], shared and read-only."""
    order = np.argsort(keyed_hash(TIE_KEY, np.arange(num_items, dtype=np.int64)), kind="stable")
    ranks = np.empty(num_items, np.int32)
    ranks[order] = np.arange(num_items, dtype=np.int32)
    ranks.flags.writeable = False
    return ranks


def topk_scores(
    scores: NDArray[np.float32],
    k: int,
    *,
    exclude: Ragged | None = None,
    blank: NDArray[np.bool_] | None = None,
    ties: Ids | None = None,
) -> tuple[Ids, NDArray[np.float32]]:
    """The best `k` of each row of a block of scores [q, items], which is only read.

    exclude: per row, never returned. blank: bool [items], never returned to anyone. ties: the order of equal scores, int32
    [items], each once. Returns items int32 [q, k] (-1 where fewer are allowed) and scores float32 [q, k] (NaN there).
    """
    if not k or not scores.size:
        return np.full((len(scores), k), -1, np.int32), np.full((len(scores), k), np.nan, np.float32)
    ties = tie_ranks(scores.shape[1]) if ties is None else ties
    if scores.size <= LITTLE:
        return _sorted(scores, k, ties, exclude, blank)
    from oakum.kernels.topk import select

    return select(scores, k, ties, exclude, blank)


def _sorted(
    scores: NDArray[np.float32], k: int, ties: Ids, exclude: Ragged | None, blank: NDArray[np.bool_] | None
) -> tuple[Ids, NDArray[np.float32]]:
    """`topk_scores` by NumPy: one pass over the scores, and a sort of the best."""
    q, m = scores.shape
    known = np.asarray(scores, np.float32) + np.float32(0)  # -0.0 is 0.0
    bits = known.view(np.int32)
    # A place is one number, as the keys of `_best`: the score's bits, made to fall as it rises, above its place among equal ones.
    places = np.where(bits < 0, bits ^ -(2**31), ~bits).astype(np.int64) << 32 | ties
    places[np.isnan(known)] = LAST
    if blank is not None:
        places[:, blank] = LAST
    if exclude is not None:
        inside = (exclude.items >= 0) & (exclude.items < m)
        places[exclude.owners()[inside], exclude.items[inside]] = LAST
    row = np.arange(q)[:, None]
    best = places.argpartition(min(k, m) - 1, axis=1)[:, :k]
    best = best[row, places[row, best].argsort(axis=1)]
    shown = places[row, best] < LAST
    found, values = np.full((q, k), -1, np.int32), np.full((q, k), np.nan, np.float32)
    found[:, :m] = np.where(shown, best, -1)
    values[:, :m] = np.where(shown, known[row, best], np.nan)
    return found, values
