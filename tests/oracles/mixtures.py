"""kNN-Embed the slow way: one person, one neighbour, one component at a time."""

from __future__ import annotations

from typing import Any

import numpy as np


def kmeans_round(x: Any, centres: Any, spherical: bool) -> tuple[Any, Any]:
    """One round of Lloyd: codes of the rows and the new centres (old ones where a centre has no row)."""
    codes = np.array([int(np.argmin([((row - c) ** 2).sum() for c in centres])) for row in x])
    out = centres.copy()
    for c in range(len(centres)):
        own = x[codes == c]
        if len(own):
            out[c] = own.mean(0)
            if spherical:
                out[c] /= np.linalg.norm(out[c])
    return codes, out


def _unit(v: Any) -> Any:
    return v / np.linalg.norm(v)


def lists(
    mix: Any, user: int, history: list[int], n: int, closed: set[int]
) -> tuple[dict[int, float], list[list[int]]]:
    """The mixture p̃ by cluster, and the items of each component, heaviest first."""
    spec, unit, clusters = mix.spec, mix.unit.astype(float), mix.clusters
    rows = [mix.x.indices[mix.x.indptr[u] : mix.x.indptr[u + 1]].tolist() for u in range(mix.x.shape[0])]
    own = sorted(set(history))
    p = {c: sum(clusters[i] == c for i in own) / len(own) for c in range(len(mix.centres))}
    others: list[int] = []
    if spec.smoothing:
        me = _unit(unit[own].sum(0))
        near = [(-float(me @ _unit(unit[r].sum(0))), v) for v, r in enumerate(rows) if r and v != user]
        chosen = [v for _, v in sorted(near)[: spec.k]]
        for c in p:
            mean = np.mean([sum(clusters[i] == c for i in rows[v]) / len(rows[v]) for v in chosen])
            p[c] = (1 - spec.smoothing) * p[c] + spec.smoothing * float(mean)
        others = [i for v in chosen for i in rows[v]]
    heavy = sorted(p, key=lambda c: (-np.float32(p[c]), c))[: spec.max_components]
    total = sum(p[c] for c in heavy)
    exact = [n * p[c] / total for c in heavy]
    places = [int(np.floor(e + 1e-9)) for e in exact]
    for t in sorted(range(len(heavy)), key=lambda t: (-(exact[t] - places[t]), t))[: n - sum(places)]:
        places[t] += 1
    taken, out = set(closed), []
    for c, b in zip(heavy, places, strict=True):
        inside = [i for i in own if clusters[i] == c] or [i for i in others if clusters[i] == c]
        query = unit[inside].mean(0) if inside else mix.centres[c]
        free = [i for i in range(len(unit)) if i not in taken and clusters[i] >= 0]
        best = sorted(free, key=lambda i: -float(_unit(query) @ unit[i]))[:b]
        taken |= set(best)
        out.append(best)
    return p, out
