"""The best low-rank picture of a sparse matrix, by a randomised range finder with power iterations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.seeds import generator

Floats = NDArray[np.float32]


def normalised(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Â = D_u^-½ R D_i^-½ of a sparse matrix of weights: CSR float32 of the same places; empty rows stay empty.

    Gives Â once: normalising Â again is another matrix.
    """
    x = matrix.tocsr().astype(np.float32)
    of_rows, of_columns = np.asarray(x.sum(1)).ravel(), np.asarray(x.sum(0)).ravel()
    inverse = lambda d: np.where(d > 0, 1.0 / np.sqrt(np.maximum(d, 1e-12)), 0.0).astype(np.float32)
    out = (sparse.diags(inverse(of_rows)) @ x @ sparse.diags(inverse(of_columns))).tocsr()
    out.sort_indices()
    return out.astype(np.float32)


def randomised_svd(
    x: sparse.spmatrix | NDArray[np.floating],
    k: int,
    *,
    oversampling: int = 8,
    iterations: int = 4,
    seed: int = 0,
    start: NDArray[np.floating] | None = None,
) -> tuple[Floats, Floats, Floats]:
    """x ≈ U diag(s) Vᵀ of rank k (Halko, Martinsson, Tropp 2011): U [n, k], s [k] falling, V [m, k], float32.

    x: sparse or dense [n, m]. k is cut to min(n, m). start: float [m, j] older right vectors to begin from (after the
    matrix has changed a little, one iteration from them is enough). Signs are fixed: the entry of largest size in each
    column of V is positive. Time (2 iterations + 2) · stored entries · (k + oversampling), memory (n + m) · (k +
    oversampling) · 8 bytes: minutes for a billion entries.
    """
    n, m = x.shape
    k = min(k, n, m)
    width = min(k + oversampling, n, m)
    probe = generator(seed, "randomised svd").normal(size=(m, width))
    if start is not None:
        probe[:, : start.shape[1]] = start[:, :width]
    # Orthonormal after every product: powers of small singular values would drown in rounding otherwise.
    basis, _ = np.linalg.qr(np.asarray(x @ probe))
    for _ in range(iterations):
        other, _ = np.linalg.qr(np.asarray(x.T @ basis))
        basis, _ = np.linalg.qr(np.asarray(x @ other))
    small = np.asarray(x.T @ basis).T  # [width, m]
    left, values, right = np.linalg.svd(small, full_matrices=False)
    users, items = (basis @ left)[:, :k], right[:k].T
    sign = np.sign(items[np.abs(items).argmax(0), np.arange(k)])
    sign[sign == 0] = 1
    return (users * sign).astype(np.float32), values[:k].astype(np.float32), (items * sign).astype(np.float32)


def reconstruction(users: Floats, values: Floats, items: Floats, rows: NDArray, columns: NDArray) -> Floats:  # type: ignore[type-arg]
    """The low-rank value of single entries: Σ_q U[row, q] s_q V[column, q], float32 [e]. The weight a denoised graph
    gives an edge, by which edges can be judged."""
    return np.einsum("eq,q,eq->e", users[rows], values, items[columns]).astype(np.float32)
