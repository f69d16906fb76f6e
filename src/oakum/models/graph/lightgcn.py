"""Neighbourhood averaging of user and item vectors: the strong and simple graph baseline."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Facts, Phase, Reps
from oakum.engine.plan import Plan
from oakum.models.classic.bpr_mf import BPRMF, BPRMFModel
from oakum.nn.propagate import Bipartite, mean_of, propagate, sums_at
from oakum.parameters import Range
from oakum.sampling.batches import Batch, Pairs


class LightGCN(BPRMF):
    """Matrix factorisation whose vectors are averaged over the graph of who had what.

    Paper: He et al. 2020. E^{l+1} = Ã E^l with Ã = D^-½ A D^-½ over users and items, Z = Σ_l E^l / (L + 1),
    s(u, i) = Z_u · Z_i; BPR loss on Z, λ on the rows of E⁰ only. L = 0 is BPR-MF to the last bit.
    Memory 12 (users + items) d + 24 events bytes; time a batch: 4 (L − 1) · events · d
    multiply-adds, and 2 d for every event of the users and items in it.
    Newcomers: the same propagation from the vectors of their items, without a vector of their own.
    """

    slug = "lightgcn"
    l2: Annotated[float, Range(0, 100, search=(1e-6, 1e-2), log=True), "weight of the squares of the batch rows"] = 1e-4
    num_layers: Annotated[int, Range(0, 16, search=(1, 4)), "propagation layers L"] = 3
    draw: Annotated[Literal["events", "users"], "the reference draws users uniformly, then one of their items"] = (
        "users"
    )

    def plan(self) -> Plan:
        """The reference's settings, with early stopping in place of the fixed 1000 epochs."""
        return Plan(learning_rate=1e-3, batch_size=2048, epochs=1000, evaluate_every=10)

    def ordinary(self) -> Plan:
        """The same: every change of its tables is one of all they are averaged into."""
        return self.plan()

    def build(self, schema: Schema) -> LightGCNModel:
        """Empty tables of the right sizes."""
        return LightGCNModel(self, schema)


class LightGCNModel(BPRMFModel):
    """BPR-MF whose final tables are propagated ones."""

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The graph of distinct training pairs, as CSR."""
        matrix = data.matrix
        return {
            "graph_indptr": torch.from_numpy(matrix.indptr.astype("int64")),
            "graph_indices": torch.from_numpy(matrix.indices.astype("int64")),
        }

    def put_facts(self, facts: Facts) -> None:
        """Build the operator once, whenever the graph changes."""
        super().put_facts(facts)
        if "graph_indptr" in self.facts:
            self.graph = Bipartite(self.facts["graph_indptr"], self.facts["graph_indices"], self.items.num_embeddings)

    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """E⁰ … E^L of users and of items."""
        return propagate(self.graph, self.users.weight, self.items.weight, self.spec.num_layers)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Z of users and of items."""
        users, items = self.layers()
        return mean_of(users), mean_of(items)

    def represent(self, batch: Batch) -> Reps:
        """As matrix factorisation does, from Z of the batch's rows alone."""
        layers = self.spec.num_layers
        if layers == 0:
            return super().represent(batch)
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        drawn = batch.negatives.items
        codes = torch.cat([batch.items, drawn.flatten()])
        found = sums_at(self.graph, self.users.weight, self.items.weight, layers, batch.users, codes)
        z_users, z_items, e_users, e_items = found
        z_users, z_items, b = z_users / (layers + 1), z_items / (layers + 1), len(batch.items)
        return {
            "query": z_users,
            "positive": z_items[:b],
            "negative": z_items[b:].view(*drawn.shape, -1),
            "_raw_query": e_users,
            "_raw_positive": e_items[:b],
            "_raw_negative": e_items[b:].view(*drawn.shape, -1),
        }

    def newcomers(self, queries: Queries, items: Tensor) -> Tensor:
        """z = Σ_{l<L} Σ_{i in H} E_i^l / sqrt(|H| deg(i)) / (L + 1): the user side of the propagation."""
        if self.spec.num_layers == 0:
            return super().newcomers(queries, items)
        _, layers = self.cached("layers", self.layers)
        scaled = self.cached("scaled", lambda: torch.stack(layers[:-1]).sum(0) * self.graph.item_scale[:, None])
        histories = queries.histories.matrix(len(scaled))
        out = torch.full((len(queries), scaled.shape[1]), torch.nan, device=scaled.device)
        for r in range(len(queries)):
            own = histories.indices[histories.indptr[r] : histories.indptr[r + 1]]
            if len(own):
                rows = scaled[torch.from_numpy(own.astype("int64")).to(scaled.device)]
                out[r] = rows.sum(0) / (len(own) ** 0.5 * (self.spec.num_layers + 1))
        return out
