"""k-means over rows: Lloyd, mini-batch and spherical, by seed; no array of rows × centres larger than a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.seeds import Rng, generator

BLOCK = 1 << 22  # products held at once
Codes = NDArray[np.int32]


def kmeans(
    vectors: NDArray[np.float32],
    k: int,
    *,
    spherical: bool = False,
    batch_size: int = 0,
    epochs: int = 25,
    seed: int = 0,
) -> tuple[NDArray[np.float32], Codes]:
    """Centres float32 [k, d] and the centre of each row int32 [n], for vectors [n, d] without NaN.

    batch_size 0: Lloyd's rounds until nothing moves, `epochs` at most; otherwise mini-batches of that size, each centre
    moving by 1 over the rows it has had (Sculley 2010), `epochs` passes. spherical: rows and centres on the unit sphere,
    nearest by cosine (Dhillon & Modha 2001); rows of zeros then go to centre 0. Starts from k-means++ draws; a centre
    that loses all its rows takes the row furthest from its own. Fewer distinct rows than k leave centres that repeat.
    Time a pass n · k · d; memory n + `BLOCK` products.
    """
    if not 1 <= k <= len(vectors):
        raise ValueError(f"k-means needs 1 to {len(vectors)} centres for {len(vectors)} rows. Got {k}.")
    rng = generator(seed, "k-means")
    x = _unit(vectors) if spherical else np.ascontiguousarray(vectors, np.float32)
    centres = _start(x, k, rng)
    if batch_size:
        had = np.zeros(k)
        for _ in range(epochs):
            order = rng.permutation(len(x))
            for at in range(0, len(x), batch_size):
                rows = x[order[at : at + batch_size]]
                codes, _ = nearest_centre(rows, centres)
                totals, counts = _totals(rows, codes, k)
                had += counts
                moved = counts > 0
                # The mean of all rows a centre ever had: c + Σ (x − c) / had.
                step = (totals[moved] - counts[moved, None] * centres[moved]) / had[moved, None]
                centres[moved] += step.astype(np.float32)
                if spherical:
                    centres = _unit(centres)
        return centres, nearest_centre(x, centres)[0]
    codes = np.full(len(x), -1, np.int32)
    for _ in range(epochs):
        found, gaps = nearest_centre(x, centres)
        if (found == codes).all():
            break
        codes = found
        totals, counts = _totals(x, codes, k)
        empty = np.flatnonzero(counts == 0)
        centres = (totals / np.maximum(counts, 1)[:, None]).astype(np.float32)
        if len(empty):
            centres[empty] = x[np.argsort(-gaps, kind="stable")[: len(empty)]]
        if spherical:
            centres = _unit(centres)
    return centres, nearest_centre(x, centres)[0]


def nearest_centre(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> tuple[Codes, NDArray[np.float32]]:
    """The centre nearest to each row, int32 [n] (the first of equals), and the squared distance to it, float32 [n]."""
    codes = np.empty(len(vectors), np.int32)
    gaps = np.empty(len(vectors), np.float32)
    half = 0.5 * (centres * centres).sum(1)
    step = max(1, BLOCK // len(centres))
    for at in range(0, len(vectors), step):
        part = vectors[at : at + step]
        nearness = part @ centres.T - half
        best = nearness.argmax(1)
        codes[at : at + step] = best
        top = nearness[np.arange(len(part)), best]
        gaps[at : at + step] = np.maximum((part * part).sum(1) - 2 * top, 0)
    return codes, gaps


def _start(x: NDArray[np.float32], k: int, rng: Rng) -> NDArray[np.float32]:
    """k-means++: each next centre drawn in proportion to the squared distance to those before (Arthur 2007)."""
    chosen = [int(rng.integers(len(x)))]
    norms = (x * x).sum(1)
    gaps = np.full(len(x), np.inf, np.float32)
    for _ in range(k - 1):
        last = x[chosen[-1]]
        gaps = np.minimum(gaps, np.maximum(norms - 2 * (x @ last) + last @ last, 0))
        gaps[chosen[-1]] = 0
        running = np.cumsum(gaps, dtype=np.float64)
        if running[-1] > 0:
            chosen.append(min(int(np.searchsorted(running, rng.random() * running[-1], side="right")), len(x) - 1))
        else:
            chosen.append(int(rng.integers(len(x))))
    return np.array(x[chosen])


def _totals(x: NDArray[np.float32], codes: Codes, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    member = sparse.csr_matrix((np.ones(len(x)), (codes, np.arange(len(x)))), shape=(k, len(x)))
    return np.asarray(member @ x.astype(np.float64)), np.bincount(codes, minlength=k).astype(np.float64)


def _unit(x: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)
