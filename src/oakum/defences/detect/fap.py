"""Fraudulent action propagation: who is close to accounts that are known to be fake."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset
from oakum.defences.detect.base import Detector, Floats
from oakum.defences.detect.pca import PCASelectUsers
from oakum.defences.detect.ratings import rated
from oakum.errors import DataError
from oakum.parameters import Range


def edges(data: Dataset) -> sparse.csr_matrix:
    """1 + |r − r̄_u| / r̄_u + |r − μ_i| / μ_i + |r − μ| / μ on every pair, CSR float64 [users, items]; ones without ratings."""
    if data.interactions.values is None:
        return data.matrix.astype(np.float64)
    x = rated(data)
    owners = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    per = lambda codes, size: np.bincount(codes, x.data, size) / np.maximum(np.bincount(codes, minlength=size), 1)
    own, item, mean = per(owners, x.shape[0])[owners], per(x.indices, x.shape[1])[x.indices], x.data.mean()
    away = lambda level: np.abs(x.data - level) / np.maximum(np.abs(level), 1e-9)
    out = x.copy()
    out.data = 1 + away(own) + away(item) + away(mean)
    return out


def propagated(weights: sparse.csr_matrix, seeds: NDArray[np.int64], iterations: int) -> Floats:
    """P_I = W_iu P_U, P_U = W_ui P_I with the seeds held at 1, both row-normalised; float64 [users]. O(edges) an iteration."""
    normal = lambda m: sparse.diags(1 / np.maximum(np.asarray(m.sum(1)).ravel(), 1e-300)) @ m
    forward, backward = normal(weights).tocsr(), normal(weights.T.tocsr()).tocsr()
    users = np.zeros(weights.shape[0])
    users[seeds] = 1.0
    for _ in range(iterations):
        users = forward @ (backward @ users)
        users[seeds] = 1.0
    return users


class FAP(Detector):
    """Take out the accounts that share most with accounts known to be fake.

    Paper: Zhang et al. 2015. Edge weights 1 + |r − r̄_u|/r̄_u + |r − μ_i|/μ_i + |r − μ|/μ (1 without ratings), row-normalised both
    ways; probabilities pass from seeds to items to users, seeds held at 1. Seeds: accounts for which the column `known` of the
    users' table is 1; without such a column the `seeds` share most suspicious by 'pca', which makes it blind and no better than its
    seeds. Memory 3 numbers an event, time iterations · events.
    """

    slug = "fap"
    known: Annotated[str, "column of the users' table that is 1 for known fakes"] = "known_fake"
    seeds: Annotated[float, Range(above=0, high=0.5), "share of users that are seeds where none is known"] = 0.01
    iterations: Annotated[int, Range(1, 1000), "passes there and back"] = 20

    def scores(self, data: Dataset) -> Floats:
        """The probability that reached each account, float64 [users]; NaN without events."""
        known = data.user_counts > 0
        return np.where(known, propagated(edges(data), self._seeds(data, known), self.iterations), np.nan)

    def _seeds(self, data: Dataset, known: NDArray[np.bool_]) -> NDArray[np.int64]:
        table = data.tables.get("users")
        if table is not None and self.known in table.columns:
            marks = table[self.known].cast(pl.Float64).fill_null(0).to_numpy() > 0
            if not marks.any():
                raise DataError(
                    f"No user of '{data.name}' has a 1 in the column '{self.known}'; name some fakes, or drop the column."
                )
            return np.flatnonzero(marks & known)
        found = PCASelectUsers().scores(data)
        there = np.flatnonzero(np.isfinite(found))
        count = max(1, round(self.seeds * len(there)))
        return there[np.argsort(-found[there], kind="stable")[:count]]
