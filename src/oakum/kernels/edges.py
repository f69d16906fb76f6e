"""Edges of a graph judged by what stands at their ends, and matrices made of the edges that are left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.seeds import Rng

Floats = NDArray[np.float64]
Codes = NDArray[np.integer]


def jaccard(x: sparse.csr_matrix, a: Codes, b: Codes, *, block: int = 1 << 14) -> Floats:
    """|x_a ∩ x_b| / |x_a ∪ x_b| of the supports of pairs of rows, [e]; 0 where both are empty."""
    binary = sparse.csr_matrix((np.ones(len(x.data)), x.indices, x.indptr), shape=x.shape)
    size = np.diff(x.indptr).astype(np.float64)
    both = np.concatenate(
        [
            np.asarray(binary[a[s : s + block]].multiply(binary[b[s : s + block]]).sum(1)).ravel()
            for s in range(0, max(len(a), 1), block)
        ]
    )
    either = size[a] + size[b] - both
    return np.asarray(np.where(either > 0, both / np.maximum(either, 1), 0.0))


def cosine(h: NDArray[np.floating], a: Codes, b: Codes) -> Floats:
    """Cosine of pairs of rows, [e]; 0 where one is zero."""
    length = np.maximum(np.linalg.norm(h, axis=1), 1e-12)
    unit = h / length[:, None]
    return np.asarray(np.einsum("ed,ed->e", unit[a], unit[b]), np.float64)


def adjacency(n: int, a: Codes, b: Codes) -> sparse.csr_matrix:
    """Symmetric binary CSR [n, n] of undirected edges, without self-loops."""
    keep = np.asarray(a) != np.asarray(b)
    a, b = np.asarray(a)[keep], np.asarray(b)[keep]
    out = sparse.csr_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(n, n))
    out.data[:] = 1.0
    return out


def pairs_of(graph: sparse.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The undirected edges (a < b) of a symmetric matrix, by row and column."""
    upper = sparse.triu(graph, 1).tocoo()
    order = np.lexsort((upper.col, upper.row))
    return upper.row[order].astype(np.int64), upper.col[order].astype(np.int64)


def recovered(graph: sparse.csr_matrix, kept: NDArray[np.bool_], share: float, rng: Rng) -> sparse.csr_matrix:
    """The kept edges of a graph and a random `share` (rounded down) of the others. kept: bool over `pairs_of`."""
    a, b = pairs_of(graph)
    dropped = np.flatnonzero(~kept)
    back = rng.choice(dropped, int(share * len(dropped)), replace=False) if len(dropped) else dropped
    use = np.concatenate([np.flatnonzero(kept), back])
    return adjacency(graph.shape[0], a[use], b[use])


def degree_power(graph: sparse.csr_matrix, alpha: float = -0.5, loops: float = 1.0) -> sparse.csr_matrix:
    """d_i^α a_ij d_j^α of A + loops · I, d its row sums; for α ≠ −½ every row is divided by its sum.

    α = −½ is the symmetric normalisation; above it, neighbours of low degree count less.
    """
    full = (graph + loops * sparse.identity(graph.shape[0], format="csr")).tocsr()
    degree = np.asarray(full.sum(1)).ravel()
    power = np.where(degree > 0, np.maximum(degree, 1e-12) ** alpha, 0.0)
    out = (sparse.diags(power) @ full @ sparse.diags(power)).tocsr()
    if alpha != -0.5:
        total = np.asarray(out.sum(1)).ravel()
        out = (sparse.diags(np.where(total > 0, 1 / np.maximum(total, 1e-300), 0.0)) @ out).tocsr()
    return out


def nearest(h: NDArray[np.floating], allowed: NDArray[np.bool_], k: int, *, block: int = 1024) -> NDArray[np.int64]:
    """The k allowed rows with the largest cosine to each row, [n, min(k, allowed)]; equal ones by code. A row may be its
    own."""
    who = np.flatnonzero(allowed)
    unit = h / np.maximum(np.linalg.norm(h, axis=1), 1e-12)[:, None]
    out = np.empty((len(h), min(k, len(who))), np.int64)
    for start in range(0, len(h), block):
        value = unit[start : start + block] @ unit[who].T
        out[start : start + block] = who[np.argsort(-value, axis=1, kind="stable")[:, : out.shape[1]]]
    return out
