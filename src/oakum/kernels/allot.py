"""Whole places for shares: how many each gets, and in which order they are dealt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest_remainder(weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Whole places in proportion to rows of weights [q, m] that sum to 1 or to 0: the floors, then one each to the
    largest remainders (the first of equals). Rows sum to n, or to 0."""
    exact = weights * n
    out = np.floor(exact + 1e-9).astype(np.int64)
    left = np.where(weights.sum(1) > 0, n - out.sum(1), 0)
    order = np.argsort(-(exact - out), axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(weights.shape[1]), order.shape), 1)
    return out + (place < left[:, None])


def deal(weights: NDArray[np.float64], places: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Who has each of n places, int64 [q, n], -1 where nobody: the j-th place of a share w stands at (j + ½) / w, so that
    every prefix keeps the shares as far as whole places can (Webster's method)."""
    out = np.full((len(places), n), -1, np.int64)
    for r, (w, b) in enumerate(zip(weights, places, strict=True)):
        owners = np.repeat(np.arange(len(b)), b)
        nth = np.arange(len(owners)) - np.repeat(np.cumsum(b) - b, b)
        out[r, : len(owners)] = owners[np.argsort((nth + 0.5) / np.maximum(w[owners], 1e-12), kind="stable")]
    return out
