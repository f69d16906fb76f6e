"""Nearest items by loops, and a walk over a graph as it is written in papers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from oakum.kernels.select import tie_ranks


def score_of(query: np.ndarray, item: np.ndarray, metric: str) -> float:
    q, x = query.astype(np.float64), item.astype(np.float64)
    if not (np.isfinite(q).all() and np.isfinite(x).all()):
        return float("nan")
    if metric == "l2":
        return -float(((q - x) ** 2).sum())
    if metric == "dot":
        return float(q @ x)
    lengths = np.linalg.norm(q) * np.linalg.norm(x)
    return float(q @ x / lengths) if lengths > 0 else float("nan")


def nearest(
    queries: np.ndarray, items: np.ndarray, k: int, metric: str, allowed: set[int], excluded: Sequence[set[int]]
) -> list[list[tuple[int, float]]]:
    """For each query the best (item, score) among those allowed, ties by the fixed permutation."""
    ties = tie_ranks(len(items))
    out = []
    for r, query in enumerate(queries):
        scored = [(i, score_of(query, items[i], metric)) for i in sorted(allowed - excluded[r])]
        scored = [(i, s) for i, s in scored if s == s]
        out.append(sorted(scored, key=lambda p: (-p[1], ties[p[0]]))[:k])
    return out


def beam(query: np.ndarray, table: np.ndarray, links: np.ndarray, start: int, ef: int, passing: set[int]) -> set[int]:
    """Malkov & Yashunin's search of one layer: all nodes are crossed, those that pass are kept."""
    value = lambda i: float(query @ table[i])
    seen, front = {start}, [(-value(start), start)]
    held = [(value(start), start)]
    kept = [(value(start), start)] if start in passing else []
    while front:
        score, node = heapq.heappop(front)
        if len(held) == ef and -score < held[0][0]:
            break
        for other in links[node]:
            if other < 0 or other in seen:
                continue
            seen.add(int(other))
            v = value(other)
            if other in passing:
                heapq.heappush(kept, (v, int(other)))
                if len(kept) > ef:
                    heapq.heappop(kept)
            if len(held) < ef or v > held[0][0]:
                heapq.heappush(front, (-v, int(other)))
                heapq.heappush(held, (v, int(other)))
                if len(held) > ef:
                    heapq.heappop(held)
    return {i for _, i in kept}
