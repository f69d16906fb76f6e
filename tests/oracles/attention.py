"""A causal pre-normalised encoder for one history without padding, place by place and head by head, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _norm(x: Array, scale: Array, shift: Array) -> Array:
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-5) * scale + shift


def encode(w: dict[str, Array], vectors: Array, num_heads: int) -> Array:
    """w: the encoder's state by name; vectors [t, d] -> states [t, d]."""
    t, d = vectors.shape
    size = d // num_heads
    x = np.stack([vectors[p] * d**0.5 + w["positions.weight"][t - 1 - p] for p in range(t)])
    layer = 0
    while f"blocks.{layer}.out.weight" in w:
        b = {k.split(".", 2)[2]: v for k, v in w.items() if k.startswith(f"blocks.{layer}.")}
        normed = np.stack([_norm(row, b["norm_in.weight"], b["norm_in.bias"]) for row in x])
        query, key, value = np.split(normed @ b["project.weight"].T + b["project.bias"], 3, axis=1)
        seen = np.zeros_like(x)
        for p in range(t):
            for h in range(num_heads):
                part = slice(h * size, (h + 1) * size)
                logits = np.array([query[p, part] @ key[o, part] for o in range(p + 1)]) / size**0.5
                share = np.exp(logits - logits.max())
                share /= share.sum()
                seen[p, part] = sum(share[o] * value[o, part] for o in range(p + 1))
        x = x + seen @ b["out.weight"].T + b["out.bias"]
        for p in range(t):
            inner = b["inner.weight"] @ _norm(x[p], b["norm_net.weight"], b["norm_net.bias"]) + b["inner.bias"]
            x[p] = x[p] + b["outer.weight"] @ np.maximum(inner, 0) + b["outer.bias"]
        layer += 1
    return np.stack([_norm(row, w["norm.weight"], w["norm.bias"]) for row in x])
