"""The best of a row, by sorting all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best(scores: np.ndarray, k: int, ties: np.ndarray, shut: Sequence[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Items and scores of the k best of each row, ties by their order, -1 and NaN where fewer are allowed or known."""
    items = np.full((len(scores), k), -1, np.int32)
    values = np.full((len(scores), k), np.nan, np.float32)
    for r, row in enumerate(scores):
        able = [i for i in range(len(row)) if row[i] == row[i] and i not in shut[r]]
        able = sorted(able, key=lambda i: (-row[i], ties[i]))[:k]
        items[r, : len(able)] = able
        values[r, : len(able)] = row[able]
    return items, values
