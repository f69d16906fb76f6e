"""Pointwise attention over one history without padding, token by token and head by head, in NumPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def bucket(a: int, b: int) -> int:
    """Of a gap between two moments in microseconds."""
    return min(128, int(math.log(max(abs(a - b) / 1e6, 1.0)) / 0.301))


def _norm(x: Array) -> Array:
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-6)


def encode(
    w: dict[str, Array], vectors: Array, num_heads: int, length: int, times: list[int] | None, asked: list[int] | None
) -> Array:
    """w: the encoder's state by name; vectors [t, d]; row i counts gaps from asked[i] -> states [t, d]."""
    t, d = vectors.shape
    x = np.stack([vectors[p] * d**0.5 + w["positions.weight"][min(p, length - 1)] for p in range(t)])
    layer = 0
    while f"blocks.{layer}.out.weight" in w:
        b = {k.split(".", 2)[2]: v for k, v in w.items() if k.startswith(f"blocks.{layer}.")}
        out = np.zeros_like(x)
        mixed = np.stack([silu(b["project.weight"] @ _norm(row)) for row in x])
        gate, value, query, key = np.split(mixed, 4, axis=1)
        inner = gate.shape[1]
        size = inner // num_heads
        for i in range(t):
            seen = np.zeros(inner)
            for h in range(num_heads):
                part = slice(h * size, (h + 1) * size)
                for j in range(i + 1):
                    score = query[i, part] @ key[j, part] + b["places"][0, min(i - j, length - 1)]
                    if "moments" in b and times is not None and asked is not None:
                        score += b["moments"][0, bucket(asked[i], times[j])]
                    seen[part] += silu(np.float64(score)) * value[j, part]
            seen = seen / length
            gated = gate[i] * _norm(seen)
            if b["out.weight"].shape[1] == 3 * inner:
                gated = np.concatenate([gate[i], seen, gated])
            out[i] = b["out.weight"] @ gated + b["out.bias"]
        x = x + out
        layer += 1
    return x
