"""Rules of servers on whole matrices, coordinate by coordinate, in plain loops: slow and obvious."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def median(x: Floats, touched: NDArray[np.bool_], weights: Floats) -> Floats:
    """x, touched [c, D]; per coordinate the median of those that touch it times their weight."""
    out = np.zeros(x.shape[1])
    for j in range(x.shape[1]):
        there = touched[:, j]
        out[j] = np.median(x[there, j]) * weights[there].sum() if there.any() else 0.0
    return out


def trimmed(x: Floats, touched: NDArray[np.bool_], weights: Floats, share: float) -> Floats:
    """As `median`, with the mean of what is left after floor(share · count) values at either end."""
    out = np.zeros(x.shape[1])
    for j in range(x.shape[1]):
        there = touched[:, j]
        values = np.sort(x[there, j])
        cut = int(np.floor(share * len(values)))
        if len(values):
            out[j] = values[cut : len(values) - cut].mean() * weights[there].sum()
    return out


def krum(x: Floats, hostile: float, keep: int) -> list[int]:
    """Indices of the kept uploads."""
    c = len(x)
    expected = int(hostile * c)
    scores = []
    for i in range(c):
        gaps = sorted(float(((x[i] - x[j]) ** 2).sum()) for j in range(c) if j != i)
        scores.append(sum(gaps[: c - expected - 2]))
    return sorted(np.argsort(scores, kind="stable")[: keep or c - expected].tolist())
