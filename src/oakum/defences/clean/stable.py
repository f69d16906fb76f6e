"""Edges that do not fit with what the graph itself says of their ends are cut before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.data import Dataset, Relation, Schema
from oakum.defences.base import Defence, Marks
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError
from oakum.errors import nearest as nearest_name
from oakum.kernels.edges import adjacency, cosine, degree_power, jaccard, nearest, pairs_of, recovered
from oakum.kernels.neighbours import neighbours
from oakum.nn.propagate import Constant
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.seeds import generator

Floats = NDArray[np.float64]


class RobustCode(Spec):
    """The encoder that `Stable` trains: vectors of users that suspicious edges do not move."""

    hidden_dim: Annotated[int, Range(1, 4096), "width of the vectors"] = 128
    relation: Annotated[str, "relation between users that is the graph; none: who shares most items"] = ""
    num_neighbors: Annotated[int, Range(1, 1000), "users with whom each is joined, without a relation"] = 10
    t1: Annotated[float | None, Range(0, 1), "Jaccard likeness below which an edge is suspicious; none: by chance"] = (
        None
    )
    recovery: Annotated[float, Range(0, 1), "share of the suspicious edges in each view"] = 0.2
    beta: Annotated[float, Range(0, 100), "weight of a user's own row"] = 2.0
    seed: Annotated[int, Range(0), "of the two views"] = 0

    def plan(self) -> Plan:
        """One step an epoch over the whole graph."""
        return Plan(learning_rate=1e-3, epochs=100, patience=0)

    def sizes(self, data: Dataset) -> dict[str, int]:
        """The items that describe users."""
        return {"features": data.num_items}

    def build(self, schema: Schema) -> RobustModel:
        """Empty weights."""
        return RobustModel(self, schema.sizes["features"])


class RobustModel(Model):
    """PReLU(S X W + b) over the cleaned graph and two views of it, told apart from shuffled rows."""

    def __init__(self, spec: RobustCode, features: int) -> None:
        super().__init__()
        self.spec = spec
        d = spec.hidden_dim
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(features, d)))
        self.bias = nn.Parameter(torch.zeros(d))
        self.slope = nn.Parameter(torch.tensor(0.25))
        self.judge = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, d)))
        self.offset = nn.Parameter(torch.zeros(()))

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Features, and the matrices S_0, S_1, S_2, each as CSR arrays."""
        graph, x = graph_of(data, self.spec.relation, self.spec.num_neighbors), data.matrix
        kept = self.unsuspicious(graph, x)
        rng = generator(self.spec.seed, "views of the graph")
        views = [recovered(graph, kept, self.spec.recovery, rng) for _ in range(2)]
        rough = recovered(graph, kept, 0.0, rng)
        parts = {
            "x": x,
            "s0": degree_power(rough, loops=self.spec.beta),
            **{f"s{k}": degree_power(v, loops=self.spec.beta + 1) for k, v in enumerate(views, 1)},
        }
        out: dict[str, Tensor] = {}
        for name, m in parts.items():
            out[f"{name}_indptr"] = torch.from_numpy(m.indptr.astype(np.int64))
            out[f"{name}_indices"] = torch.from_numpy(m.indices.astype(np.int64))
            out[f"{name}_values"] = torch.from_numpy(m.data.astype(np.float32))
        return out

    def unsuspicious(self, graph: sparse.csr_matrix, x: sparse.csr_matrix) -> NDArray[np.bool_]:
        """Which edges are alike enough, bool over `pairs_of`.

        Without t1: what 95 % of random pairs stay below, unless that cuts more than a fifth of the edges: then likeness
        does not tell edges from chance, and nothing is cut.
        """
        a, b = pairs_of(graph)
        alike = jaccard(x, a, b)
        if self.spec.t1 is not None:
            return alike >= self.spec.t1
        rng = generator(self.spec.seed, "random pairs")
        c, d = rng.integers(0, graph.shape[0], (2, max(1000, min(len(a), 20_000))))
        bar = float(np.quantile(jaccard(x, c[c != d], d[c != d]), 0.95))
        return alike >= bar if (alike < bar).mean() <= 0.2 else np.ones(len(a), bool)

    def put_facts(self, facts: Facts) -> None:
        """Build the operators once."""
        super().put_facts(facts)
        f, n = self.facts, len(self.facts["x_indptr"]) - 1

        def made(name: str, columns: int) -> Constant:
            parts = tuple(f[f"{name}_{p}"].cpu().numpy() for p in ("values", "indices", "indptr"))
            return Constant(sparse.csr_matrix(parts, shape=(n, columns)))

        self.features = made("x", len(self.weight))
        self.graphs = [made(f"s{k}", n) for k in range(3)]

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """All users at once."""
        yield Batch(torch.arange(data.num_users))

    def rows(self, data: Dataset, phase: Phase) -> int:
        """One step an epoch."""
        return 1

    def encode(self, k: int, plain: Tensor) -> Tensor:
        """Vectors [n, d] over graph k from X W [n, d]."""
        return F.prelu(self.graphs[k].times(plain) + self.bias, self.slope)

    def represent(self, batch: Batch) -> Reps:
        """X W, [n, d]."""
        return {"_plain": self.features.times(self.weight)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """_contrast [n]: binary cross-entropy of own and shuffled vectors under the summaries of both views."""
        plain = reps["_plain"]
        own, other = self.encode(0, plain), self.encode(0, plain[torch.randperm(len(plain))])
        summaries = [torch.sigmoid(self.encode(k, plain).mean(0)) for k in (1, 2)]
        logit = lambda h: sum(((h @ self.judge.T) @ c + self.offset for c in summaries), torch.zeros(()))
        return {"_contrast": (F.softplus(-logit(own)) + F.softplus(logit(other))) / 2}

    def vectors(self) -> Floats:
        """H of all users over the cleaned graph, float64 [n, d]."""
        with torch.no_grad():
            return self.encode(0, self.features.times(self.weight)).double().numpy()


def graph_of(data: Dataset, relation: str = "", num_neighbors: int = 10) -> sparse.csr_matrix:
    """The graph between users: a relation's edges (both directions are one), or each user with those who share most items
    (cosine). Symmetric binary CSR.

    Raises `DataError` where there is no such relation between users.
    """
    if not relation:
        norms = np.sqrt(data.user_counts).astype(np.float32)
        near = neighbours(data.matrix.T.tocsr(), num_neighbors, norms=norms).tocoo()
        return adjacency(data.num_users, near.row, near.col)
    found = _relation(data, relation)
    return adjacency(data.num_users, found.sources, found.targets)


def _relation(data: Dataset, name: str) -> Relation:
    found = data.relations.get(name)
    if found is None:
        known = ", ".join(data.relations) or "none"
        raise DataError(
            f"'{data.name}' has no relation '{name}' (it has: {known}).{nearest_name(name, data.relations)}"
        )
    if found.source != "users" or found.target != "users":
        raise DataError(
            f"The relation '{name}' goes from {found.source} to {found.target}; a graph of users is needed."
        )
    return found


class Stable(Defence):
    """Cuts events and ties that do not fit before training: for teams that suspect injected clicks or follows and have no
    clean copy, in front of graph models above all.

    Paper: Li et al., KDD 2022. Edges whose ends share little (Jaccard below t1) are set aside; two views get a random
    fifth of them back; a one-layer graph encoder is trained so that its vectors H agree with the summaries of both views and
    shuffled ones do not (views differ by suspicious edges only). Then an edge stays where cos(H_i, H_j) > t2. People and
    items are unlike each other, so the event (u, i) is judged by cos(H_u, mean of H_v over the others who had i), over the
    graph of people who share most items or over a `relation`. `ties` cleans that relation instead: cos(H_u, H_v), and k
    nearest reliable users (more than one tie left) are added to each, itself counted as in the reference; additions are
    directed. Without t2 the `share` least fitting are cut, which needs no knowledge of the attack. The published classifier's
    normalisation is `kernels.edges.degree_power`. Differs from the paper in a fixed number of steps, t1 by chance (it cuts
    nothing where edges are no more alike than strangers), and a share for t2. An item that only fakes have vouches for them:
    put a detector of accounts beside it. Memory 4 (items + 3 users) d bytes, time steps · (events + edges) · d. Newcomers
    are not touched.
    """

    slug = "stable"
    share: Annotated[float, Range(0, 0.5), "share of the edges cut, least fitting first"] = 0.05
    t2: Annotated[float | None, Range(-1, 1), "cosine at or below which edges are cut; none: by share"] = None
    relation: Annotated[str, "relation between users that is the graph; none: who shares most items"] = ""
    ties: Annotated[bool, "clean the relation in place of the events"] = False
    k: Annotated[int, Range(0, 100), "nearest users tied to each (itself counted), when ties are cleaned"] = 0
    hidden_dim: Annotated[int, Range(1, 4096), "width of the vectors"] = 128
    num_neighbors: Annotated[int, Range(1, 1000), "users with whom each is joined, without a relation"] = 10
    t1: Annotated[float | None, Range(0, 1), "Jaccard likeness below which an edge is suspicious; none: by chance"] = (
        None
    )
    recovery: Annotated[float, Range(0, 1), "share of the suspicious edges in each view"] = 0.2
    beta: Annotated[float, Range(0, 100), "weight of a user's own row"] = 2.0
    epochs: Annotated[int, Range(1, 10_000), "steps of the encoder"] = 100
    seed: Annotated[int, Range(0), "of the views and of the training"] = 0

    def vectors(self, data: Dataset) -> Floats:
        """H of all users, float64 [users, d]."""
        from oakum.engine.fit import fit

        names = ("hidden_dim", "relation", "num_neighbors", "t1", "recovery", "beta", "seed")
        spec = RobustCode.make(**{n: getattr(self, n) for n in names})
        model: Any = fit(spec, data, plan={"epochs": self.epochs}, seed=self.seed).model
        out: Floats = model.eval().vectors()
        return out

    def clean(self, data: Dataset) -> tuple[Dataset, Marks]:
        """The data without the least fitting events (marks on rows, by place in the log; flagged are row ids), or with the
        relation mended (marks on edges, by place in it). Scores are −cosine; NaN where nobody else had the item."""
        h = self.vectors(data)
        if not self.ties:
            scores = -fits(h, data)
            cut = self._cut(scores)
            log = data.interactions
            stays = np.ones(len(log), bool)
            stays[cut] = False
            return data.with_interactions(log.take(stays)), Marks("rows", scores, log.rows[cut])
        if not self.relation:
            raise DataError("To clean ties, name the relation that holds them (relation=NAME).")
        edges = _relation(data, self.relation)
        scores = -cosine(h, edges.sources, edges.targets)
        cut = self._cut(scores)
        return replace(data, relations={**data.relations, self.relation: self._mended(edges, cut, h)}), Marks(
            "edges", scores, cut
        )

    def _cut(self, scores: Floats) -> NDArray[np.int64]:
        """Places of what is cut, least fitting first."""
        order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
        known = int(np.isfinite(scores).sum())
        number = round(self.share * known) if self.t2 is None else int((scores >= -self.t2).sum())
        return np.asarray(order[:number], np.int64)

    def _mended(self, edges: Relation, cut: NDArray[np.int64], h: Floats) -> Relation:
        stays = np.ones(len(edges.sources), bool)
        stays[cut] = False
        a, b = edges.sources[stays], edges.targets[stays]
        pick = lambda v: None if v is None else v[stays]
        weights, times = pick(edges.weights), pick(edges.times)
        if self.k:
            graph = adjacency(len(h), a, b)
            new = nearest(h, np.diff(graph.indptr) > 1, self.k)
            own = np.repeat(np.arange(len(h)), new.shape[1])
            other = new.ravel()
            fresh = (own != other) & ~np.asarray(graph[own, other] > 0).ravel()
            a, b = np.r_[a, own[fresh]].astype(np.int32), np.r_[b, other[fresh]].astype(np.int32)
            more = int(fresh.sum())
            weights = None if weights is None else np.r_[weights, np.ones(more, np.float32)]
            times = None if times is None else np.r_[times, np.full(more, times.max(initial=0))]
        return replace(edges, sources=a, targets=b, weights=weights, times=times)


def fits(h: Floats, data: Dataset) -> Floats:
    """cos(H_u, mean of H_v over the others who had i) of every event, [events]; NaN where nobody else had it."""
    unit = h / np.maximum(np.linalg.norm(h, axis=1), 1e-12)[:, None]
    x, log = data.matrix, data.interactions
    total = x.T @ h
    others = total[log.items] - h[log.users]
    count = data.item_counts[log.items] - 1
    length = np.linalg.norm(others, axis=1)
    value = np.einsum("ed,ed->e", unit[log.users], others) / np.maximum(length, 1e-12)
    return np.asarray(np.where(count > 0, value, np.nan))
