"""Implicit alternating least squares and the truncated singular value decomposition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset, Ids, Queries, Schema
from oakum.engine.closed import ClosedForm, pick
from oakum.kernels.als import gram_of, weighted_rows
from oakum.parameters import Range, Spec
from oakum.seeds import generator


class IALS(Spec):
    """Factors that give 1 to what was seen and stay near 0 elsewhere, solved row by row.

    Paper: Hu et al. 2008 in the form of Rendle et al. 2021: Σ_observed (p·q − 1)² + a₀ Σ_all (p·q)² +
    λ [Σ_u (|H_u| + a₀ I)^ν |p_u|² + Σ_i (n_i + a₀ U)^ν |q_i|²]. implicit's (α, λ') is a₀ = 1/(α − 1),
    λ = λ' a₀ / (1 + a₀), ν = 0 for binary data. solver="cg" (the default) takes `cg_steps` steps of conjugate gradients
    from the last sweep's rows (Takács et al. 2011), preconditioned by what all rows share; it reaches the quality of
    "cholesky", which solves every row exactly, at a third of its time. Memory 8 (users + items) d bytes; time a sweep
    4 events · d · (cg_steps + 1) + (users + items) d², exactly events · d² + (users + items) d³ at most.
    Newcomers, and known users too, are solved afresh and exactly from the item table.
    """

    slug = "ials"
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "width of the factors"] = 64
    unobserved_weight: Annotated[float, Range(above=0, search=(0.01, 1), log=True), "a₀: weight of all pairs"] = 0.1
    l2: Annotated[float, Range(above=0, search=(1e-4, 1e-1), log=True), "λ"] = 0.003
    frequency_exponent: Annotated[float, Range(0, 1), "ν: how λ grows with the number of events"] = 1.0
    epochs: Annotated[int, Range(1, 1000, search=(8, 32)), "sweeps over users and items"] = 16
    solver: Annotated[Literal["cg", "cholesky"], "conjugate gradients from the last sweep on, or exact solves"] = "cg"
    cg_steps: Annotated[int, Range(1, 100), "steps of conjugate gradients a row and sweep"] = 3

    def build(self, schema: Schema) -> FactorModel:
        """Empty factors."""
        return IALSModel(self, schema)


class FactorModel(ClosedForm):
    """An item table that a history is solved or multiplied onto."""

    items: NDArray[np.float32]
    _whole: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @property
    def whole(self) -> NDArray[np.float32]:
        """What histories are multiplied with: the item table, 0 for items never seen; made once a table."""
        if self._whole is None or self._whole[0] is not self.items:
            self._whole = self.items, self._made_whole()
        return self._whole[1]

    def _made_whole(self) -> NDArray[np.float32]:
        return np.nan_to_num(self.items)

    def query_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """Float32 [q, d] from the histories."""
        raise TypeError("A factor model says how a history becomes a vector.")

    def item_vectors(self) -> NDArray[np.float32]:
        """Float32 [items, d]; NaN for items never seen."""
        return self.items

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Dot products."""
        return pick(self.query_vectors(queries) @ self.items.T, items)


class IALSModel(FactorModel):
    """The item table and its weighted Gram matrix."""

    def _ridge(self, counts: NDArray[np.integer], others: int) -> NDArray[np.float32]:
        spec = self.spec
        out = spec.l2 * (counts + spec.unobserved_weight * others) ** spec.frequency_exponent
        return np.asarray(out, np.float32)

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Sweeps: all users, then all items."""
        spec, x = self.spec, data.matrix
        xt = x.T.tocsr()
        d = spec.embedding_dim
        rng = generator(seed, "ials factors")
        items = rng.normal(0, 0.1 / np.sqrt(d), (data.num_items, d)).astype(np.float32)
        ridge_users = self._ridge(np.diff(x.indptr), data.num_items)
        ridge_items = self._ridge(np.diff(xt.indptr), data.num_users)
        steps = spec.cg_steps if spec.solver == "cg" else 0
        users = np.zeros((data.num_users, d), np.float32)
        for sweep in range(spec.epochs):
            users = weighted_rows(items, self._gram(items), x.indptr, x.indices, ridge_users, start=users, steps=steps)
            items = weighted_rows(
                users, self._gram(users), xt.indptr, xt.indices, ridge_items, start=items, steps=steps
            )
            if progress is not None:
                progress((sweep + 1) / spec.epochs)
        items[data.item_counts == 0] = np.nan
        self.items, self.num_items = items, data.num_items
        self.gram = self._gram(np.nan_to_num(items))

    def _gram(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.spec.unobserved_weight * gram_of(factors), np.float32)

    def query_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """One closed-form solve a request; NaN for an empty history."""
        rows = queries.histories.matrix(len(self.items))
        ridge = self._ridge(np.diff(rows.indptr), len(self.items))
        out = weighted_rows(self.whole, self.gram, rows.indptr, rows.indices, ridge)
        out[np.diff(rows.indptr) == 0] = np.nan
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """The item table and its Gram matrix."""
        return {"items": self.items, "gram": self.gram}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        self.items, self.gram = state["items"], state["gram"]


class PureSVD(Spec):
    """The best rank-f picture of the log with unseen as 0: s = x V Vᵀ (Cremonesi et al. 2010).

    With `degree_exponent` a it is the log D_u^-a X D_i^-a that is pictured, in which heavy users and best-sellers weigh
    less: s = x D_i^-a V Vᵀ; a = ½ is the low-pass filter of the graph. Memory 4 · items · f bytes; time events · f a
    Lanczos step. Newcomers: their row, equal to a known user's.
    """

    slug = "pure-svd"
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "f: singular vectors kept"] = 64
    degree_exponent: Annotated[float, Range(0, 1, search=(0, 0.5)), "a: power of the degrees divided out"] = 0.0

    def build(self, schema: Schema) -> FactorModel:
        """Empty factors."""
        return PureSVDModel(self, schema)


class PureSVDModel(FactorModel):
    """The right singular vectors."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Lanczos from a seeded start vector (a randomised method without power iterations loses the tail)."""
        from scipy.sparse.linalg import svds

        x, a = data.matrix, self.spec.degree_exponent
        self.scale = (np.maximum(data.item_counts, 1) ** -a).astype(np.float32)
        if a:
            users = (np.maximum(data.user_counts, 1) ** -a).astype(np.float32)
            x = (sparse.diags(users) @ x @ sparse.diags(self.scale)).tocsr()
        f = min(self.spec.embedding_dim, min(x.shape) - 1)
        start = generator(seed, "svd start").normal(size=min(x.shape)).astype(np.float32)
        _, _, vt = svds(x, k=f, v0=start)
        self.items = np.ascontiguousarray(vt[::-1].T, np.float32)
        self.items[data.item_counts == 0] = np.nan

    def _made_whole(self) -> NDArray[np.float32]:
        return np.asarray(np.nan_to_num(self.items) * self.scale[:, None])

    def query_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """x D_i^-a V."""
        rows = queries.histories.matrix(len(self.items))
        out = np.asarray(rows @ self.whole, np.float32)
        out[np.diff(rows.indptr) == 0] = np.nan
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """The vectors, and what a history's items weigh."""
        return {"items": self.items, "scale": self.scale}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        self.items = state["items"]
        self.scale = state.get("scale", np.ones(len(self.items), np.float32))
