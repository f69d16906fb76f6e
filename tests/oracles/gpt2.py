"""RecGPT's published forward pass, by the published names, one history padded to its full length, in NumPy."""

from __future__ import annotations

from math import erf

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _norm(x: Array, w: dict[str, Array], name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _gelu_new(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def next_item(w: dict[str, Array], codes: list[list[int]], slices: Array, heads: int, length: int) -> Array:
    """Logits [k, v] of the next item's tokens. codes: the tokens of each item; slices [n, k, part]; padded on the left to
    `length` items, whose places are masked."""
    k = len(codes[0])
    pad = (length - len(codes)) * k
    tokens = [t for item in codes for t in item]
    x = _norm(w["gpt2model.wte.weight"][tokens], w, "norm_seq")
    x = x + _norm(slices.reshape(len(tokens), -1) @ w["linear_layer.weight"].T, w, "norm_aux")
    x = x + w["gpt2model.wpe.weight"][pad : pad + len(tokens)]
    width = x.shape[1] // heads
    layer = 0
    while f"gpt2model.h.{layer}.ln_1.weight" in w:
        name = f"gpt2model.h.{layer}"
        dense = lambda y, part, name=name: y @ w[f"{name}.{part}.weight"] + w[f"{name}.{part}.bias"]
        q, key, value = np.split(dense(_norm(x, w, f"{name}.ln_1"), "attn.c_attn"), 3, axis=1)
        seen = np.zeros_like(x)
        for p in range(len(x)):
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                may = [o for o in range(len(x)) if o <= p or o // k == p // k]
                share = _softmax(np.array([q[p, part] @ key[o, part] for o in may]) / np.sqrt(width))
                seen[p, part] = sum(s * value[o, part] for s, o in zip(share, may, strict=True))
        x = x + dense(seen, "attn.c_proj")
        x = x + dense(_gelu_new(dense(_norm(x, w, f"{name}.ln_2"), "mlp.c_fc")), "mlp.c_proj")
        layer += 1
    return _norm(x[-k:], w, "gpt2model.ln_f") @ w["pred_head.weight"].T


def rebuilt(
    w: dict[str, Array], vector: Array, levels: tuple[int, ...], num_slices: int, heads: int
) -> tuple[list[int], Array]:
    """The tokens of a text vector and what the tokeniser rebuilds of it."""
    half = [(n - 1) * (1 - 1e-3) / 2 for n in levels]
    off = [0.5 if n % 2 == 0 else 0.0 for n in levels]
    tokens, read = [], []
    for part in vector.reshape(num_slices, -1):
        z = w["quantizer.project_in.weight"] @ part + w["quantizer.project_in.bias"]
        q = [round(np.tanh(z[d] + np.tan(off[d] / half[d])) * half[d] - off[d]) for d in range(len(levels))]
        digits = [v + n // 2 for v, n in zip(q, levels, strict=True)]
        tokens.append(sum(v * int(np.prod(levels[:d])) for d, v in enumerate(digits)))
        value = np.array([v / (n // 2) for v, n in zip(q, levels, strict=True)])
        read.append(w["quantizer.project_out.weight"] @ value + w["quantizer.project_out.bias"])
    x = np.stack(read) + w["decoder.position_emb.weight"]
    width = x.shape[1] // heads
    layer = 0
    while f"decoder.transformer_layers.{layer}.input_sublayer.norm.weight" in w:
        name = f"decoder.transformer_layers.{layer}"
        dense = lambda y, part, name=name: y @ w[f"{name}.{part}.weight"].T + w[f"{name}.{part}.bias"]
        normed = _norm(x, w, f"{name}.input_sublayer.norm")
        q, key, value = (dense(normed, f"attention.linear_layers.{j}") for j in range(3))
        seen = np.zeros_like(x)
        for p in range(num_slices):
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                share = _softmax(key[:, part] @ q[p, part] / np.sqrt(width))
                seen[p, part] = share @ value[:, part]
        x = x + dense(seen, "attention.output_linear")
        inner = dense(_norm(x, w, f"{name}.output_sublayer.norm"), "feed_forward.w_1")
        inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
        x = x + dense(inner, "feed_forward.w_2")
        layer += 1
    last = np.maximum(w["decoder.linear_layer.0.weight"] @ x[-1] + w["decoder.linear_layer.0.bias"], 0)
    return tokens, w["decoder.linear_layer.2.weight"] @ last + w["decoder.linear_layer.2.bias"]
