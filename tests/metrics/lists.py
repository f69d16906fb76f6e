"""Small rankings and truths for the tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oakum.data import Ragged, Ranking
from oakum.splits.protocol import Truth


def ranking(lists: Sequence[Sequence[int]], scores: Sequence[Sequence[float]] | None = None, k: int = 0) -> Ranking:
    """Lists padded with -1; scores fall by one a place unless given."""
    k = max(k, *(len(x) for x in lists), 1)
    items = np.full((len(lists), k), -1, np.int32)
    values = np.full((len(lists), k), np.nan, np.float32)
    for r, row in enumerate(lists):
        items[r, : len(row)] = row
        values[r, : len(row)] = -np.arange(len(row)) if scores is None else scores[r]
    return Ranking(items, values)


def truth(relevant: Sequence[Sequence[int]], grades: Sequence[float] | None = None) -> Truth:
    """Queries 0, 1, ... with these relevant items and no history."""
    n = len(relevant)
    given = None if grades is None else np.asarray(grades, np.float32)
    return Truth(np.arange(n, dtype=np.int32), Ragged.of(relevant), Ragged.empty(n), given)


def random_lists(rng: np.random.Generator, q: int, k: int, items: int) -> list[list[int]]:
    """q lists of 0 to k distinct items."""
    return [rng.permutation(items)[: rng.integers(0, k + 1)].tolist() for _ in range(q)]
