"""How alike two rankings of the same requests are; one value a request."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ranking

Values = NDArray[np.float64]


def _overlaps(a: Ranking, b: Ranking, k: int) -> Values:
    """Size of the intersection of the first d places, float64 [q, k], d = 1 … k."""
    x, y = a.items[:, :k], b.items[:, :k]
    out = np.zeros((len(x), k))
    for d in range(k):
        # An item enters the intersection at the later of its two places.
        new = (x[:, d : d + 1] == y[:, : d + 1]).any(1) & (x[:, d] >= 0)
        other = (y[:, d : d + 1] == x[:, :d]).any(1) & (y[:, d] >= 0)
        out[:, d] = new.astype(float) + other
    return np.cumsum(out, 1)


def _depths(a: Ranking, b: Ranking, k: int) -> Values:
    longest = np.maximum((a.items[:, :k] >= 0).sum(1), (b.items[:, :k] >= 0).sum(1))
    return np.minimum(np.arange(1, k + 1)[None], np.maximum(longest, 1)[:, None]).astype(float)


def rbo(a: Ranking, b: Ranking, p: float = 0.9, k: int = 10) -> Values:
    """Rank-biased overlap of the top k (Webber et al. 2010), normalised so that equal lists give 1.

    Σ_d p^(d−1) |A_d ∩ B_d| / d  ÷  Σ_d p^(d−1), d = 1 … k. In [0, 1]. Two empty lists agree (1).
    """
    weights = p ** np.arange(k)
    agreement = _overlaps(a, b, k) / _depths(a, b, k)
    out: Values = agreement @ weights / weights.sum()
    return np.where((a.items[:, 0] < 0) & (b.items[:, 0] < 0), 1.0, out)


def jaccard(a: Ranking, b: Ranking, k: int = 10) -> Values:
    """|A ∩ B| / |A ∪ B| of the top k."""
    common = _overlaps(a, b, k)[:, -1]
    sizes = (a.items[:, :k] >= 0).sum(1) + (b.items[:, :k] >= 0).sum(1)
    out: Values = np.where(sizes > 0, common / np.maximum(sizes - common, 1), 1.0)
    return out


def churn(a: Ranking, b: Ranking, k: int = 10) -> Values:
    """Share of the top k of `b` that the top k of `a` did not hold."""
    common = _overlaps(a, b, k)[:, -1]
    size = (b.items[:, :k] >= 0).sum(1)
    out: Values = np.where(size > 0, 1 - common / np.maximum(size, 1), 0.0)
    return out


def top_changed(a: Ranking, b: Ranking) -> Values:
    """1 where the first item is another one."""
    out: Values = (a.items[:, 0] != b.items[:, 0]).astype(float)
    return out
