"""Steps of Bayesian personalised ranking one at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def stepped(
    users: NDArray[Any], items: NDArray[Any], triples: list[tuple[int, int, int]], rate: float, l2: float
) -> tuple[Table, Table, float, float]:
    """The tables after the steps, and the mean of both parts of the loss before each."""
    p, q = users.astype(np.float64), items.astype(np.float64)
    ranking, squares = 0.0, 0.0
    for u, i, j in triples:
        x = p[u] @ (q[i] - q[j])
        ranking += np.logaddexp(0, -x)
        squares += l2 / 2 * (p[u] @ p[u] + q[i] @ q[i] + q[j] @ q[j])
        e = 1 / (1 + np.exp(x))
        a, b, c = p[u].copy(), q[i].copy(), q[j].copy()
        p[u] += rate * (e * (b - c) - l2 * a)
        q[i] += rate * (e * a - l2 * b)
        q[j] += rate * (-e * a - l2 * c)
    return p, q, ranking / len(triples), squares / len(triples)
