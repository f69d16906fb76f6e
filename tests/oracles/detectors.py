"""Detectors written out: dense tables, one loop a user."""

from __future__ import annotations

from typing import Any

import numpy as np


def pca(x: Any, components: int = 3) -> Any:
    """Sums of squared loadings on the dense Gram matrix of z-scored rows, zeros included; and how far the last
    eigenvalue taken lies above the next, as a share of the largest (at 0 the loadings are not defined)."""
    z = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    values, vectors = np.linalg.eigh(z @ z.T)
    gap = (values[-components] - values[-components - 1]) / values[-1]
    return (vectors[:, -components:] ** 2).sum(1), float(gap)


def rdma(x: Any, power: int) -> Any:
    """Σ |r − μ_i| / c_i^power / |I_u| over the rated items of each user; 0 is unrated."""
    seen = x > 0
    counts = seen.sum(0)
    means = x.sum(0) / np.maximum(counts, 1)
    out = []
    for row, own in zip(x, seen, strict=True):
        gaps = [abs(row[i] - means[i]) / float(counts[i]) ** power for i in np.flatnonzero(own)]
        out.append(np.mean(gaps))
    return np.array(out)


def degsim(x: Any, k: int, least: int) -> Any:
    """Mean of the k largest Pearson correlations over common items."""
    n = len(x)
    out = []
    for u in range(n):
        found = []
        for v in range(n):
            if u == v:
                continue
            both = (x[u] > 0) & (x[v] > 0)
            a, b = x[u][both], x[v][both]
            fine = both.sum() >= least and a.std() > 1e-9 and b.std() > 1e-9
            found.append(float(np.corrcoef(a, b)[0, 1]) if fine else 0.0)
        out.append(np.mean(sorted(found)[-k:]))
    return np.array(out)


def degree(x: Any) -> Any:
    """Mean, range and lower quartile of the popularity of each row's items."""
    counts = (x > 0).sum(0)
    out = []
    for row in x:
        own = counts[row > 0].astype(float)
        out.append([own.mean(), own.max() - own.min(), np.quantile(own, 0.25)])
    return np.array(out)


def fap(x: Any, seeds: Any, iterations: int) -> Any:
    """Probabilities of users by dense matrices."""
    seen = x > 0
    own, item, mean = x.sum(1) / seen.sum(1), x.sum(0) / np.maximum(seen.sum(0), 1), x[seen].mean()
    w = np.zeros_like(x)
    for u, i in zip(*np.nonzero(seen), strict=True):
        r = x[u, i]
        w[u, i] = 1 + abs(r - own[u]) / own[u] + abs(r - item[i]) / item[i] + abs(r - mean) / mean
    forward = w / w.sum(1, keepdims=True)
    backward = w.T / np.maximum(w.T.sum(1, keepdims=True), 1e-300)
    p = np.zeros(len(x))
    p[seeds] = 1
    for _ in range(iterations):
        p = forward @ (backward @ p)
        p[seeds] = 1
    return p


def twins(x: Any) -> Any:
    """The largest Jaccard similarity with another row."""
    seen = x > 0
    out = []
    for u in range(len(x)):
        found = [(seen[u] & seen[v]).sum() / (seen[u] | seen[v]).sum() for v in range(len(x)) if v != u]
        out.append(max(found))
    return np.array(out)
