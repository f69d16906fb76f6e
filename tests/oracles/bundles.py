"""CLHE's scores by plain loops, one bundle and one item at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def unit(x: Any) -> Any:
    length = np.linalg.norm(x)
    return x / length if length > 0 else x


def linear(layer: Any, x: Any) -> Any:
    out = layer.weight.detach().double().numpy() @ x
    return out if layer.bias is None else out + layer.bias.detach().double().numpy()


def layer_norm(layer: Any, x: Any) -> Any:
    out = (x - x.mean()) / np.sqrt(x.var() + layer.eps)
    return out * layer.weight.detach().double().numpy() + layer.bias.detach().double().numpy()


def item_vector(encoder: Any, facts: Any, item: int) -> Any:
    """Views of one item, attention among them, their average."""
    views = []
    if encoder.content:
        total = np.zeros(encoder.content[next(iter(encoder.content))][1].out_features)
        for name, net in encoder.content.items():
            raw = facts[name][item].double().numpy()
            if raw.any():
                inner, outer = net[0].net[0], net[0].net[2]
                hidden = np.maximum(linear(outer, np.maximum(linear(inner, raw), 0)), 0)
                total = total + unit(linear(net[1], hidden))
        views.append(unit(total))
    if encoder.feedback is not None:
        raw = facts["feedback"][item].double().numpy()
        views.append(unit(linear(encoder.feedback, raw)) if raw.any() or not views else views[0])
    if encoder.table is not None:
        views.append(unit(encoder.table.weight[item].detach().double().numpy()))
    if len(views) == 1:
        return views[0]
    mixed = []
    for v in views:
        asks = linear(encoder.query, v)
        weights = np.exp([asks @ linear(encoder.key, w) / math.sqrt(len(v)) for w in views])
        mixed.append(sum(w * x for w, x in zip(weights / weights.sum(), views, strict=True)))
    return np.mean(mixed, axis=0)


def bundle_vector(sets: Any, vectors: list[Any]) -> Any:
    """One pre-normalised attention block with one head over the vectors of a set, averaged."""
    (block,) = sets.blocks
    d = len(vectors[0])
    projected = [linear(block.project, layer_norm(block.norm_in, x)) for x in vectors]
    out = []
    for x, p in zip(vectors, projected, strict=True):
        weights = np.exp([p[:d] @ q[d : 2 * d] / math.sqrt(d) for q in projected])
        seen = sum(w * q[2 * d :] for w, q in zip(weights / weights.sum(), projected, strict=True))
        x = x + linear(block.out, seen)
        out.append(x + linear(block.outer, np.maximum(linear(block.inner, layer_norm(block.norm_net, x)), 0)))
    return np.mean(out, axis=0)


def scores(model: Any, given: list[int]) -> Any:
    """Scores of all items for one set of items, float64 [items]."""
    facts = {k: v.cpu() for k, v in model.facts.items()}
    query = bundle_vector(model.sets, [item_vector(model.encoder, facts, i) for i in given])
    return np.array([query @ item_vector(model.decoder, facts, i) for i in range(model.num_items)])
