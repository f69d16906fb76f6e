"""Several interests a person: lists put together from clusters of items, each with its share of the places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset, Filter, Ids, Queries, Ragged, Ranking, Schema
from oakum.engine.closed import ClosedForm
from oakum.errors import ParameterError
from oakum.kernels.allot import deal, largest_remainder
from oakum.kernels.kmeans import kmeans
from oakum.kernels.topk import topk
from oakum.models.classic.ials import PureSVD
from oakum.parameters import Range, Spec
from oakum.seeds import derive

Floats = NDArray[np.float32]


class KNNEmbed(Spec):
    """Shows some of each of a person's interests, in proportion, where one vector would show the loudest alone.

    Paper: El-Kishky et al. 2023. Items of any base with item vectors fall into K clusters (spherical k-means); a person is
    the mixture p(c|u) of the clusters of the own items, smoothed with that of the n nearest people:
    p̃ = (1 − λ) p + λ mean p(c|v). Each of the m heaviest clusters asks the whole catalogue for its share of the k
    places with the mean of the own items in it (else of the neighbours', else its centre); places are then dealt out so
    that every prefix keeps the shares. Scores stay the base's. Memory 4 d (users + items) + 4 events bytes; time a
    request d · (users + m · items). Newcomers: their history, like everybody's. Differs from the paper in what the
    abstract leaves open: order of the list, allotment by largest remainders, a person as the mean of the own items.
    """

    slug = "knn-embed"
    base: Annotated[Spec, "the system whose item vectors are searched"] = PureSVD(embedding_dim=64, degree_exponent=0.5)
    num_clusters: Annotated[int, Range(1, 100_000, search=(20, 500), log=True), "K"] = 200
    smoothing: Annotated[float, Range(0, 1, search=(0, 0.8)), "λ: weight of the neighbours' mixture"] = 0.3
    k: Annotated[int, Range(1, 100_000, search=(5, 200), log=True), "n: neighbours that are asked"] = 20
    max_components: Annotated[int, Range(1, 1000), "m: clusters a request may draw on"] = 25

    def build(self, schema: Schema) -> Any:
        """The base's empty model with an empty mixture over it."""
        model = self.base.build(schema)
        if not hasattr(model, "item_vectors"):
            raise ParameterError(f"knn-embed needs a base with item vectors, which '{self.base.slug}' has not.")
        if isinstance(model, ClosedForm):
            return KNNEmbedModel(self, schema, model)
        from oakum.models.classic.knn_embed_learned import KNNEmbedLearned

        return KNNEmbedLearned(self, model)

    @property
    def plan(self) -> Any:
        """The base's plan; like it, absent where the base is computed in closed form."""
        return self.base.plan  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Mixture:
    """What lists are made from. table: unit item vectors [items, d], NaN where unseen; clusters: int32 [items], -1 there;
    centres [K, d]; x: the training rows [users, items]."""

    spec: KNNEmbed
    table: Floats
    clusters: Ids
    centres: Floats
    x: sparse.csr_matrix

    @classmethod
    def over(cls, spec: KNNEmbed, vectors: Floats, x: sparse.csr_matrix, seed: int) -> Mixture:
        """Cluster the items of a base; its unseen items have rows of NaN."""
        table = unit_or_nan(vectors)
        seen = np.flatnonzero(np.isfinite(table).all(1))
        count = min(spec.num_clusters, len(seen))
        centres, codes = kmeans(table[seen], count, spherical=True, seed=derive(seed, "clusters"))
        clusters = np.full(len(table), -1, np.int32)
        clusters[seen] = codes
        return cls(spec, table, clusters, centres, x)

    @cached_property
    def unit(self) -> Floats:
        """The table with zeros for NaN."""
        return np.nan_to_num(self.table)

    @cached_property
    def member(self) -> sparse.csr_matrix:
        """Which item is in which cluster, CSR [items, K]."""
        known = np.flatnonzero(self.clusters >= 0)
        at = (np.ones(len(known), np.float32), (known, self.clusters[known]))
        return sparse.csr_matrix(at, shape=(len(self.clusters), len(self.centres)))

    @cached_property
    def people(self) -> Floats:
        """The mean item of each training row, on the sphere [users, d]; NaN for an empty row."""
        return unit_or_nan(np.asarray(self.x @ self.unit))

    @cached_property
    def shares(self) -> sparse.csr_matrix:
        """p(c|u) of each training row, CSR [users, K]."""
        return _shares(self.x @ self.member)

    def mixture(self, queries: Queries) -> tuple[Floats, sparse.csr_matrix]:
        """p̃ [q, K], rows of 1 (of 0 for an empty history), and the neighbours asked, CSR of ones [q, users]."""
        rows = queries.histories.matrix(len(self.clusters))
        own = _shares(rows @ self.member)
        users = len(self.people)
        if self.spec.smoothing == 0:
            return own.toarray(), sparse.csr_matrix((len(queries), users), dtype=np.float32)
        vectors = unit_or_nan(np.asarray(rows @ self.unit))
        self_rows = Ragged.of([[u] if u >= 0 else [] for u in queries.users.tolist()])
        found, _ = topk(vectors, self.people, min(self.spec.k, users), exclude=self_rows)
        offsets = np.concatenate([[0], np.cumsum((found >= 0).sum(1))])
        near = sparse.csr_matrix(
            (np.ones(offsets[-1], np.float32), found[found >= 0], offsets), shape=(len(queries), users)
        )
        theirs = np.asarray((near @ self.shares).toarray() / np.maximum(np.diff(near.indptr), 1)[:, None], np.float32)
        weight = np.where(np.diff(near.indptr) > 0, np.float32(self.spec.smoothing), 0)[:, None]
        return np.asarray((1 - weight) * own.toarray() + weight * theirs, np.float32), near

    def components(
        self, queries: Queries, n: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, NDArray[np.int64]]:
        """The clusters of each request, heaviest first [q, m], the places each gets of n [q, m], their query vectors
        [q, m, d] and the order in which places are dealt: cluster places [q, n] (-1 after the last)."""
        p, near = self.mixture(queries)
        m = min(self.spec.max_components, p.shape[1])
        chosen = np.argsort(-p, axis=1, kind="stable")[:, :m]
        weights = np.take_along_axis(p, chosen, 1).astype(np.float64)
        total = weights.sum(1, keepdims=True)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        places = largest_remainder(weights, n)
        rows = queries.histories.matrix(len(self.clusters))
        vectors = np.zeros((*chosen.shape, self.unit.shape[1]), np.float32)
        for r in range(len(queries)):
            own = rows.indices[rows.indptr[r] : rows.indptr[r + 1]]
            others = self.x[near.indices[near.indptr[r] : near.indptr[r + 1]]].indices
            for t in np.flatnonzero(places[r]):
                inside = own[self.clusters[own] == chosen[r, t]]
                if not len(inside):
                    inside = others[self.clusters[others] == chosen[r, t]]
                vectors[r, t] = self.unit[inside].mean(0) if len(inside) else self.centres[chosen[r, t]]
        return chosen, places, vectors, deal(weights, places, n)

    def lists(self, queries: Queries, k: int, where: Filter) -> tuple[Ids, Floats, Ids]:
        """Items, cosines and the cluster that each item came from, [q, k] each. Every component searches the whole
        catalogue for what no heavier one has taken."""
        chosen, places, vectors, order = self.components(queries, k)
        blank = where.closed(len(self.unit))
        exclude = where.exclude or Ragged.empty(len(queries))
        items = np.full((len(queries), places.shape[1], k), -1, np.int32)
        scores = np.full(items.shape, np.nan, np.float32)
        taken: list[list[int]] = [exclude.row(r).tolist() for r in range(len(queries))]
        for t in range(places.shape[1]):
            at = np.flatnonzero(places[:, t])
            if not len(at):
                continue
            widest = int(places[at, t].max())
            found, cosines = topk(
                unit_or_nan(vectors[at, t]), self.table, widest, exclude=Ragged.of([taken[r] for r in at]), blank=blank
            )
            for row, got, values in zip(at.tolist(), found, cosines, strict=True):
                own = int(places[row, t])
                items[row, t, :own], scores[row, t, :own] = got[:own], values[:own]
                taken[row] += [int(i) for i in got[:own] if i >= 0]
        return _dealt(items, scores, chosen, order, k)


class KNNEmbedModel(ClosedForm):
    """A base in closed form and the mixture over its items."""

    mix: Mixture

    def __init__(self, spec: KNNEmbed, schema: Schema, base: ClosedForm) -> None:
        super().__init__(spec, schema)
        self.base: Any = base

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """The base first, then the clusters of its items."""
        self.base.fit(data, seed=seed, progress=progress)
        self.mix = Mixture.over(self.spec, self.base.item_vectors(), data.matrix, seed)

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        """The mixture's lists."""
        return Ranking(*self.mix.lists(queries, k, where)[:2])

    def score(self, queries: Queries, items: Ids | None = None) -> Floats:
        """The base's scores: what single items are judged by."""
        out: Floats = self.base.score(queries, items)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """The base's arrays, the clusters and the training rows."""
        x = self.mix.x
        rows = {"indptr": x.indptr.astype(np.int64), "indices": x.indices.astype(np.int32)}
        own = {"centres": self.mix.centres, "clusters": self.mix.clusters, **rows}
        return {**own, **{f"base_{k}": v for k, v in self.base.state().items()}}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        self.base.restore({k[5:]: v for k, v in state.items() if k.startswith("base_")})
        x = rows_of(state["indptr"], state["indices"], self.schema.num_items)
        self.mix = Mixture(self.spec, unit_or_nan(self.base.item_vectors()), state["clusters"], state["centres"], x)


def rows_of(indptr: NDArray[np.integer], indices: NDArray[np.integer], num_items: int) -> sparse.csr_matrix:
    """Training rows [users, items] of ones from their places."""
    ones = np.ones(len(indices), np.float32)
    return sparse.csr_matrix((ones, indices, indptr), shape=(len(indptr) - 1, num_items))


def _dealt(
    items: Ids, scores: Floats, chosen: NDArray[np.int64], order: NDArray[np.int64], k: int
) -> tuple[Ids, Floats, Ids]:
    out, source = np.full((2, len(items), k), -1, np.int32)
    values = np.full((len(items), k), np.nan, np.float32)
    for r in range(len(items)):
        at = np.zeros(items.shape[1], np.int64)
        kept = 0
        for t in order[r][order[r] >= 0].tolist():
            item, value = items[r, t, at[t]], scores[r, t, at[t]]
            at[t] += 1
            if item >= 0:
                out[r, kept], values[r, kept], source[r, kept] = item, value, chosen[r, t]
                kept += 1
    return out, values, source


def _shares(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    total = np.asarray(counts.sum(1)).ravel()
    return (sparse.diags((1 / np.maximum(total, 1)).astype(np.float32)) @ counts).tocsr().astype(np.float32)


def unit_or_nan(x: NDArray[np.floating]) -> Floats:
    """Rows on the unit sphere; NaN for rows of zeros or NaN."""
    lengths = np.linalg.norm(x, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(lengths > 0, x / lengths, np.nan), np.float32)
