"""Similarity graphs between the columns of a sparse matrix, in blocks: never a dense items × items array."""

from __future__ import annotations

from collections.abc import Callable

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
    columns = x.tocsc()
    transposed = columns.T.tocsr()
    n = columns.shape[1]
    rows: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    counts = np.zeros(n + 1, np.int64)
    for start in range(0, n, block):
        stop = min(start + block, n)
        # [block, items]: row j holds the products of column j with every column.
        products = (columns[:, start:stop].T.tocsr() @ transposed.T.tocsr()).tocsr()
        for j in range(stop - start):
            low, high = products.indptr[j], products.indptr[j + 1]
            other, value = products.indices[low:high], products.data[low:high]
            own = start + j
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
        if progress is not None:
            progress(stop / n)
    indices = np.concatenate(rows) if rows else np.empty(0, np.int32)
    data = np.concatenate(values) if values else np.empty(0, np.float32)
    graph = sparse.csr_matrix((data, indices, np.cumsum(counts)), shape=(n, n))
    return graph.T.tocsr() if side == "candidate" else graph
