"""Similarity graphs between the columns of a sparse matrix, in blocks: never a dense items × items array."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def neighbours(
    x: sparse.csr_matrix,
    k: int,
    *,
    norms: NDArray[np.float32] | None = None,
    shrink: float = 0.0,
    side: str = "candidate",
    block: int = 512,
    progress: Callable[[float], None] | None = None,
) -> sparse.csr_matrix:
    """The k most similar columns of each column: CSR S [items, items], S[i, j] = <x_i, x_j> / (norm_i norm_j + shrink).

    side="candidate" keeps the k largest of each column j (the neighbours of the candidate), "history" of each row i
    (the neighbours of what the person had). The diagonal is zero. Scores of a history are H @ S.
    Time: the sum of squared row lengths; memory: items · (block + k).
    """
    n = x.shape[1]
    rows: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    counts = np.zeros(n + 1, np.int64)
    for own, other, value in products(x, block=block):
        keep = (other != own) & (value != 0)
        other, value = other[keep], value[keep]
        if norms is not None:
            value = value / (norms[other] * norms[own] + np.float32(shrink) + np.float32(1e-12))
        if len(other) > k:
            best = np.argpartition(-value, k)[:k]
            other, value = other[best], value[best]
        order = np.argsort(other)
        rows.append(other[order].astype(np.int32))
        values.append(value[order].astype(np.float32))
        counts[own + 1] = len(other)
        if progress is not None and ((own + 1) % block == 0 or own + 1 == n):
            progress((own + 1) / n)
    indices = np.concatenate(rows) if rows else np.empty(0, np.int32)
    data = np.concatenate(values) if values else np.empty(0, np.float32)
    graph = sparse.csr_matrix((data, indices, np.cumsum(counts)), shape=(n, n))
    return graph.T.tocsr() if side == "candidate" else graph


def products(x: sparse.csr_matrix, *, block: int = 512) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float32]]]:
    """(column, other columns, inner products) of every column in turn; pairs without a common row are left out."""
    columns = x.tocsc()
    rows = columns.tocsr()
    for start in range(0, columns.shape[1], block):
        part = columns[:, start : start + block]
        # [block, items]: row j holds the products of column j with every column.
        found = (part.T.tocsr() @ rows).tocsr()
        for j in range(part.shape[1]):
            at = slice(found.indptr[j], found.indptr[j + 1])
            yield start + j, found.indices[at], found.data[at]


def cooccurring(
    x: sparse.csr_matrix,
    k: int,
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    *,
    diagonal: bool = False,
    block: int = 512,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k largest left_i G_ij right_j of each row i of G = xᵀx: items int32 [items, k], weights float32 [items, k].

    Largest first, equal ones by code; where fewer than k are above 0, item -1 of weight 0. diagonal: whether an item may be
    among its own. Time: the sum of squared row lengths; memory: items · (block + k).
    """
    n = x.shape[1]
    items, weights = np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32)
    for own, other, value in products(x, block=block):
        weight = left[own] * value.astype(np.float64) * right[other]
        keep = weight > 0 if diagonal else (weight > 0) & (other != own)
        other, weight = other[keep], weight[keep]
        if len(other) > k:
            enough = weight >= np.partition(weight, len(weight) - k)[len(weight) - k]
            other, weight = other[enough], weight[enough]
        best = np.lexsort((other, -weight))[:k]
        items[own, : len(best)], weights[own, : len(best)] = other[best], weight[best]
    return items, weights
