"""Accuracy of a list, one query at a time, by trying every order of equal scores. Slow and obvious."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np


def plain(items: Sequence[int], grades: Mapping[int, float], k: int) -> dict[str, float]:
    """All metrics of one list whose order is decided."""
    top = list(items)[:k]
    hits = [1 if i in grades else 0 for i in top]
    size = len(grades)
    out = {
        "recall": sum(hits) / size,
        "capped_recall": sum(hits) / min(k, size),
        "precision": sum(hits) / k,
        "hit_rate": float(any(hits)),
        "mrr": next((1.0 / (p + 1) for p, h in enumerate(hits) if h), 0.0),
    }
    precision_sum = sum(sum(hits[: p + 1]) / (p + 1) for p, h in enumerate(hits) if h)
    out["map"] = precision_sum / size
    out["capped_map"] = precision_sum / min(k, size)
    for name, gain in (("ndcg", lambda g: g), ("ndcg_exponential", lambda g: 2.0**g - 1)):
        found = sum(gain(grades[i]) / math.log2(p + 2) for p, i in enumerate(top) if i in grades)
        best = sorted((gain(g) for g in grades.values()), reverse=True)[:k]
        out[name] = found / sum(g / math.log2(p + 2) for p, g in enumerate(best))
    return out


def expected(items: Sequence[int], scores: Sequence[float], grades: Mapping[int, float], k: int) -> dict[str, float]:
    """The mean of `plain` over all orders of each run of equal scores; `items` may be the whole catalogue."""
    runs: list[list[int]] = []
    for position, item in enumerate(items):
        if position and scores[position] == scores[position - 1]:
            runs[-1].append(item)
        else:
            runs.append([item])
    tables = [
        plain([i for run in order for i in run], grades, k)
        for order in itertools.product(*(list(itertools.permutations(run)) for run in runs))
    ]
    return {name: float(np.mean([t[name] for t in tables])) for name in tables[0]}
