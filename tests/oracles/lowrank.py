"""LightGCL written down naively: dense matrices, one row at a time, no logarithm of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def dense_normalised(matrix: Any) -> Floats:
    """Â[u, i] = R[u, i] / sqrt(deg(u) deg(i)), by two loops."""
    r = np.asarray(matrix.todense(), np.float64)
    out = np.zeros_like(r)
    for u in range(r.shape[0]):
        for i in range(r.shape[1]):
            if r[u, i]:
                out[u, i] = r[u, i] / np.sqrt(r[u].sum() * r[:, i].sum())
    return out


def views(a: Floats, u: Floats, s: Floats, v: Floats, users: Floats, items: Floats, layers: int) -> tuple[Floats, ...]:
    """Z of users and items, G of users and items: layer by layer as in the paper."""
    picture = (u * s) @ v.T
    eu, ei, zu, zi, gu, gi = users, items, users, items, users, items
    for _ in range(layers):
        gu, gi = gu + picture @ ei, gi + picture.T @ eu
        eu, ei = a @ ei, a.T @ eu
        zu, zi = zu + eu, zi + ei
    return zu, zi, gu, gi


def contrast(g: Floats, z: Floats, rows: Any, temperature: float, clamp: float) -> Floats:
    """log Σ_v exp(G_r · Z_v / τ) − clamp(G_r · Z_r / τ), naively; one value a row."""
    out = []
    for r in np.asarray(rows):
        total = sum(np.exp(g[r] @ z[k] / temperature) for k in range(len(z)))
        out.append(np.log(total) - np.clip(g[r] @ z[r] / temperature, -clamp, clamp))
    return np.array(out)
