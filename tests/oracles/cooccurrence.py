"""UltraGCN's weights and losses written down with dense matrices and loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def beta(r: Floats) -> Floats:
    """β_ui = (1 / d_u) sqrt((d_u + 1) / (d_i + 1)), dense."""
    of_users, of_items = r.sum(1), r.sum(0)
    out = np.zeros_like(r)
    for u in range(len(r)):
        for i in range(r.shape[1]):
            if of_users[u]:
                out[u, i] = np.sqrt((of_users[u] + 1) / (of_items[i] + 1)) / of_users[u]
    return out


def omega(r: Floats, form: str) -> Floats:
    """ω of every pair, dense; the diagonal of the paper's form is 0."""
    g = r.T @ r
    total = g.sum(1)
    out = np.zeros_like(g)
    for i in range(len(g)):
        for j in range(len(g)):
            if form == "code" and total[i]:
                out[i, j] = g[i, j] * np.sqrt(total[i] + 1) / total[i] / np.sqrt(total[j] + 1)
            elif form == "paper" and i != j and total[j] and total[i] > g[i, i]:
                out[i, j] = g[i, j] / (total[i] - g[i, i]) * np.sqrt(total[i] / total[j])
    return out


def loss(spec: Any, r: Floats, p: Floats, q: Floats, rows: Any, near: Any, weights: Any) -> tuple[float, float, float]:
    """(main + constraint, item-item, squares) of a batch [(user, item, negatives)], as sums."""
    log_sigmoid = lambda x: -np.log1p(np.exp(-x))
    b = beta(r)
    main = items = 0.0
    for u, i, drawn in rows:
        main -= (spec.w1 + spec.w2 * b[u, i]) * log_sigmoid(p[u] @ q[i])
        for j in drawn:
            main -= spec.negative_weight / len(drawn) * (spec.w3 + spec.w4 * b[u, j]) * log_sigmoid(-p[u] @ q[j])
        for j, w in zip(near[i], weights[i], strict=True):
            items -= spec.item_weight * w * log_sigmoid(p[u] @ q[j])
    return main, items, spec.l2 / 2 * ((p**2).sum() + (q**2).sum())
