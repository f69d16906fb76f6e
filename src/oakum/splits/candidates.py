"""Sampled candidates: the relevant items of a query among some that are not. Such figures are no full ranking."""

from __future__ import annotations

import numpy as np

from oakum.data import Ragged
from oakum.seeds import derive, keyed_hash
from oakum.splits.protocol import Truth


def sampled_candidates(truth: Truth, num_items: int, n: int, *, seed: int = 0) -> Ragged:
    """The relevant items of each query and `n` others, uniform over the items in neither its history nor its truth.

    One row a query, sorted by code; fewer than n where so many are not left. The draw of a query depends on the seed and
    its user alone. Cost: queries · items.
    """
    rows = []
    codes = np.arange(num_items, dtype=np.int64)
    for q in range(len(truth)):
        key = keyed_hash(derive(seed, "candidates", int(truth.users[q])), codes)
        relevant = truth.relevant.row(q)
        key[relevant] = key[truth.histories.row(q)] = np.iinfo(np.uint64).max
        free = num_items - len(np.union1d(relevant, truth.histories.row(q)))
        chosen = np.argsort(key, kind="stable")[: min(n, free)]
        rows.append(np.union1d(relevant, chosen).tolist())
    return Ragged.of(rows)
