"""Accounts that vary together with nobody: the classical detector of injected profiles."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset
from oakum.defences.detect.base import Detector
from oakum.parameters import Range


class PCASelectUsers(Detector):
    """Take out the accounts that contribute least to what users have in common.

    Paper: Mehta & Nejdl 2009. Z = rows of the user × item matrix (ratings, zeros included), each z-scored; C = Z Zᵀ;
    d_u = Σ of squares of u's loadings on the top `components` eigenvectors of C; the `share` of users with the smallest
    d_u is flagged. Blind to labels. Z is never formed: Lanczos on sparse + rank one. Memory users · components, time
    events · components a step. Differs in nothing. Profiles with best-sellers in a quarter of their places pass unseen
    (see the claims); without a `share`, the knee of −log d_u decides, which flags about 3 % of a log without fakes.
    """

    slug = "pca"
    components: Annotated[int, Range(1, 50), "eigenvectors read"] = 3

    def scores(self, data: Dataset) -> NDArray[np.float64]:
        """−log d_u, higher is more suspicious, float64 [users]; NaN for users without events."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        x = data.interactions.matrix(data.num_users, data.num_items, weights="value").astype(np.float64)
        active = np.flatnonzero(np.diff(x.indptr))
        x = x[active]
        n = x.shape[0]
        mean = np.asarray(x.mean(1)).ravel()
        spread = np.sqrt(np.maximum(np.asarray(x.multiply(x).mean(1)).ravel() - mean**2, 1e-12))

        def times(v: NDArray[np.float64]) -> NDArray[np.float64]:
            # Z v' with Z = diag(1/spread) (X − mean 1ᵀ), applied as Z (Zᵀ v) without forming Z.
            w = v.ravel() / spread
            inner = x.T @ w - (mean @ w)
            out: NDArray[np.float64] = (x @ inner - mean * inner.sum()) / spread
            return out

        k = min(self.components, n - 1)
        if k < 1:  # fewer than two people have nothing in common
            return np.full(data.num_users, np.nan)
        operator = LinearOperator((n, n), matvec=times, dtype=np.float64)
        _, vectors = eigsh(operator, k=k, which="LA", v0=np.ones(n))
        out = np.full(data.num_users, np.nan)
        # The logarithm keeps the order and lets the knee show: fakes lie orders of magnitude below people.
        out[active] = -np.log(np.maximum((vectors**2).sum(1), 1e-300))
        return out
