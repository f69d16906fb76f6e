"""Features of a profile that give injected ones away in rating data."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from scipy import sparse

from oakum.data import Dataset
from oakum.defences.detect.base import Detector, Floats
from oakum.errors import DataError
from oakum.parameters import Range


def rated(data: Dataset) -> sparse.csr_matrix:
    """Ratings, CSR float64 [users, items], the mean of repeated ones. `DataError` on a log without values."""
    log = data.interactions
    if log.values is None:
        raise DataError(f"'{data.name}' has no ratings, and this detector reads how people rate; use 'pca' instead.")
    out = log.matrix(data.num_users, data.num_items, weights="value").astype(np.float64)
    times = log.matrix(data.num_users, data.num_items, weights="count")
    out.sum_duplicates()
    times.sum_duplicates()
    out.data = out.data / times.data
    return out


class RDMA(Detector):
    """Rating deviation from mean agreement: who disagrees with everybody about items that few rate.

    RDMA_u = 1/|I_u| Σ |r_ui − μ_i| / c_i, c_i the number of ratings of i; `weight="squared"` is WDMA with 1/c_i².
    Paper: Chirita et al. 2005 (WDMA: Burke et al. 2006). Needs ratings. O(events).
    """

    slug = "rdma"
    weight: Annotated[Literal["linear", "squared"], "RDMA divides by the number of ratings, WDMA by its square"] = (
        "linear"
    )

    def scores(self, data: Dataset) -> Floats:
        """The deviation, float64 [users]."""
        x = rated(data)
        n = np.bincount(x.indices, minlength=data.num_items)
        mean = np.bincount(x.indices, x.data, minlength=data.num_items) / np.maximum(n, 1)
        power = 1 if self.weight == "linear" else 2
        gaps = np.abs(x.data - mean[x.indices]) / n[x.indices].astype(np.float64) ** power
        owners = np.repeat(np.arange(data.num_users), np.diff(x.indptr))
        counts = np.diff(x.indptr)
        total = np.bincount(owners, gaps, minlength=data.num_users)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


class DegSim(Detector):
    """Who resembles the nearest neighbours most: the mean of the `k` largest Pearson correlations over common items.

    Paper: Chirita et al. 2005. Correlations over fewer than `least` common items count as 0 (without it two people with
    two common items correlate perfectly; the paper leaves this open). Needs ratings. O(users² · items) in blocks.
    """

    slug = "degsim"
    k: Annotated[int, Range(1, 1000), "neighbours averaged"] = 25
    least: Annotated[int, Range(2, 1000), "common items that a correlation needs"] = 5

    def scores(self, data: Dataset) -> Floats:
        """The mean similarity, float64 [users]."""
        x = rated(data)
        active = np.flatnonzero(np.diff(x.indptr))
        x = x[active]
        ones = x.copy()
        ones.data = np.ones_like(x.data)
        squares = x.copy()
        squares.data = x.data**2
        ones_t, x_t, squares_t = ones.T.tocsr(), x.T.tocsr(), squares.T.tocsr()
        out = np.full(data.num_users, np.nan)
        k = min(self.k, len(active) - 1)
        if k < 1:
            return out
        for start in range(0, len(active), 512):
            at = np.arange(start, min(start + 512, len(active)))
            n = (ones[at] @ ones_t).toarray()
            own, other = (x[at] @ ones_t).toarray(), (ones[at] @ x_t).toarray()
            n_ = np.maximum(n, 1)
            covariance = (x[at] @ x_t).toarray() - own * other / n_
            spread = ((squares[at] @ ones_t).toarray() - own**2 / n_) * (
                (ones[at] @ squares_t).toarray() - other**2 / n_
            )
            similar = np.where((n >= self.least) & (spread > 1e-9), covariance / np.sqrt(np.maximum(spread, 1e-9)), 0.0)
            similar[np.arange(len(at)), at] = -np.inf
            out[active[at]] = np.partition(similar, -k, axis=1)[:, -k:].mean(1)
        return out


class LengthVariance(Detector):
    """Who has unusually many or few events: |l_u − l̄| / Σ (l − l̄)², l the number of distinct items.

    Paper: Burke et al. 2006. Reads no ratings. Profiles as long as people's own pass unseen. O(events).
    """

    slug = "length-variance"

    def scores(self, data: Dataset) -> Floats:
        """The deviation, float64 [users]."""
        lengths = data.user_counts.astype(np.float64)
        known = lengths > 0
        gaps = np.abs(lengths - lengths[known].mean()) if known.any() else lengths
        return np.where(known, gaps / max(float((gaps[known] ** 2).sum()), 1e-12), np.nan)
