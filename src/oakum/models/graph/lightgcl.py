"""A light graph encoder held against its own low-rank, denoised picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor, nn

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Facts, Losses, Phase, Reps
from oakum.engine.plan import Plan
from oakum.kernels.lowrank import normalised, randomised_svd
from oakum.models.graph.lightgcn import LightGCNModel
from oakum.nn.propagate import LowRank, propagate, sum_of
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Pairs, pairs


class LightGCL(Spec):
    """Graph vectors that agree with what the main currents of the whole log say: for sparse or noisy logs.

    Paper: Cai et al. 2023. Z = Σ_l E^l, E^l = Â E^{l−1}; the second view G = E⁰ + Σ_{l<L} U_q S_q V_qᵀ E^l goes over
    the rank-q SVD of Â (users from items and items from users). L = BPR(Z) + λ₁ [log Σ_v exp(G·Z_v/τ) − clamp(G·Z/τ, ±5)]
    over the users and the items of the batch, the sum over the whole tables + λ₂ |E⁰|². s(u, i) = Z_u · Z_i.
    Memory 12 (users + items) d + 24 events bytes, and 4 batch (users + 2 items) for the contrast, at most 270 MB at once;
    time a batch: 4 L events d + 3 batch (users + 2 items) d multiply-adds, and one SVD: 10 events (q + 8).
    Newcomers: the propagation from the vectors of their items, without a vector of their own. Differs from the released
    code: the logarithm of sums without its 1e-8 (which hides an overflow), a repeated user or item of a batch computed
    once, vectors at inference from the last weights and not from the last training step, early stopping where there is a
    validation part.
    """

    slug = "lightgcl"
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "width of the vectors"] = 64
    num_layers: Annotated[int, Range(1, 16, search=(1, 3)), "propagation layers L"] = 2
    rank: Annotated[int, Range(1, 512, search=(2, 16), log=True), "q: singular vectors of the second view"] = 5
    contrast: Annotated[float, Range(0, 100, search=(1e-3, 1), log=True), "λ₁: weight of the contrast"] = 0.2
    temperature: Annotated[float, Range(above=0, high=100, search=(0.1, 1), log=True), "τ of the contrast"] = 0.2
    clamp: Annotated[float, Range(0, 1000), "bound of a positive pair's score over τ; 0 sets none"] = 5.0
    dropout: Annotated[float, Range(0, below=1), "share of the edges left out in each product"] = 0.0
    l2: Annotated[float, Range(0, 100, search=(1e-9, 1e-5), log=True), "λ₂: weight of the squares of all values"] = 1e-7

    def plan(self) -> Plan:
        """The released settings."""
        return Plan(learning_rate=1e-3, batch_size=4096, epochs=100)

    def build(self, schema: Schema) -> LightGCLModel:
        """Empty tables of the right sizes."""
        return LightGCLModel(self, schema)


class LightGCLModel(LightGCNModel):
    """The propagation of LightGCN, its layers summed, and beside it the low-rank view."""

    def initialise(self) -> None:
        """Xavier's uniform values."""
        nn.init.xavier_uniform_(self.users.weight)
        nn.init.xavier_uniform_(self.items.weight)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The graph, and the singular vectors of its normalised matrix."""
        u, s, v = randomised_svd(normalised(data.matrix), self.spec.rank)
        names = ("svd_users", "svd_values", "svd_items")
        factors = {n: torch.from_numpy(x) for n, x in zip(names, (u, s, v), strict=True)}
        return {**super().prepare(data, phase), **factors}

    def put_facts(self, facts: Facts) -> None:
        """Both operators, once."""
        super().put_facts(facts)
        if "svd_users" in self.facts:
            self.view = LowRank(*(self.facts[f"svd_{n}"] for n in ("users", "values", "items")))

    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """E⁰ … E^L of users and of items; edges drop out while training."""
        dropout = self.spec.dropout if self.training else 0.0
        return propagate(self.graph, self.users.weight, self.items.weight, self.spec.num_layers, dropout=dropout)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Z of users and of items."""
        users, items = self.layers()
        return sum_of(users), sum_of(items)

    def newcomers(self, queries: Queries, items: Tensor) -> Tensor:
        """The user side of the propagation, summed over layers."""
        return (self.spec.num_layers + 1) * super().newcomers(queries, items)

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every event once, one negative each."""
        return pairs(data, order)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, d], negative [b, n, d]; private: the contrast of each row [b]."""
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        users, items = self.layers()
        z_users, z_items = sum_of(users), sum_of(items)
        u, i, j = batch.users, batch.items, batch.negatives.items
        reps = {"query": z_users[u], "positive": z_items[i], "negative": z_items[j]}
        if self.spec.contrast:
            ids = torch.cat([i.unsqueeze(1), j], 1)
            of_users = self.contrast(u, users, items, z_users, self.view.to_users)
            of_items = self.contrast(ids, items, users, z_items, self.view.to_items)
            reps["_contrast"] = of_users + of_items.mean(1)
        return reps

    def contrast(self, rows: Tensor, own: list[Tensor], other: list[Tensor], table: Tensor, view: object) -> Tensor:
        """The contrast of the rows of one side, [b] or [b, n]: of equal ids one is computed.

        The second view of layer l reads the main view's layer l − 1, so all layers go over the SVD as one sum.
        """
        distinct, place = torch.unique(rows, return_inverse=True)
        second = own[0][distinct] + view(sum_of(other[:-1]), distinct)  # type: ignore[operator]
        spec = self.spec
        found = losses.table_contrast(second, table[distinct], table, spec.temperature, clamp=spec.clamp)
        return found[place]

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """bpr [b], _contrast [b] where it has a weight, and l2 of the whole tables."""
        positive = (reps["query"] * reps["positive"]).sum(-1)
        negative = (reps["query"].unsqueeze(1) * reps["negative"]).sum(-1)
        out = {"bpr": losses.bpr(positive, negative)}
        if "_contrast" in reps:
            out["_contrast"] = self.spec.contrast * reps["_contrast"]
        out["l2"] = self.spec.l2 * (self.users.weight.square().sum() + self.items.weight.square().sum())
        return out
