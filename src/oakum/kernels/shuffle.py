"""The order of rows under a key: what sorting by `keyed_hash` gives, for logs of millions in linear time.

The compiled loops are loaded where there are many rows: sorting few costs less than loading does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oakum.seeds import keyed_hash

FEW = 200_000  # rows that are sorted in some twenty milliseconds

Ints = NDArray[np.int64]


def shuffled(key: int, rows: NDArray[np.integer]) -> Ints:
    """Positions [n] that put rows [n] in the order of their hash under `key`, equal ones in the order given."""
    if len(rows) < FEW:
        return np.argsort(keyed_hash(key, rows), kind="stable")
    from oakum.kernels._deal import by_hash

    out: Ints = by_hash(np.uint64(key & 0xFFFFFFFFFFFFFFFF), np.ascontiguousarray(rows))
    return out


def picked(
    at: Ints, rows: NDArray[np.integer], users: NDArray[np.integer], items: NDArray[np.integer]
) -> tuple[Ints, Ints, Ints]:
    """The values of three columns [n] at the positions `at` [b], int64 [b] each."""
    if len(rows) < FEW:
        return rows[at].astype(np.int64), users[at].astype(np.int64), items[at].astype(np.int64)
    from oakum.kernels._deal import picked as pick

    out: tuple[Ints, Ints, Ints] = pick(at, rows, users, items)
    return out
