"""Matrix factorisation trained to rank observed items above unobserved ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.engine.triples import Triples
from oakum.nn.foldin import ridge
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Pairs, pairs


class BPRMF(Spec):
    """Vectors of users and items whose product ranks what a person will like first.

    Paper: Rendle et al. 2009. L = mean softplus(s(u, j) − s(u, i)) + λ/2 (|p_u|² + |q_i|² + |q_j|²), s = p·q, with
    one uniform negative j a positive. Memory 12 (users + items) d bytes, time epochs · events · d.
    Newcomers: a ridge solve onto the item table. Trained by steps over triples as in the paper (`Triples`: some four million
    a second of one core), or by batches under Adam with the plan's step=None and wherever
    plug-ins train along. Differs from the paper in drawing events,
    not users, and in a rate that falls.
    """

    slug = "bpr-mf"
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "width of the vectors"] = 64
    l2: Annotated[
        float, Range(0, 100, search=(1e-4, 0.1), log=True), "weight of the squares of the rows of a triple"
    ] = 0.02
    num_negatives: Annotated[int, Range(1, 1024), "negatives a positive"] = 1
    init_std: Annotated[float, Range(above=0), "standard deviation of the first values"] = 0.1
    draw: Annotated[Literal["events", "users"], "every event once an epoch, or users uniformly and then an item"] = (
        "events"
    )

    def plan(self) -> Plan:
        """Plain steps over triples, their rate falling to 0. Rate and l2 were chosen on a tenth of the training parts of
        MovieLens-1M and Gowalla, held out for validation: the best of twelve pairs on both."""
        return Plan(
            step=Triples(), optimiser="sgd", learning_rate=0.2, schedule="linear", epochs=40, batch_size=262_144, device="cpu"
        )  # fmt: skip

    def ordinary(self) -> Plan:
        """SELFRec's settings, batches under Adam, with early stopping; what `step=None` asks for."""
        return Plan(learning_rate=1e-3, batch_size=2048, epochs=200)

    def build(self, schema: Schema) -> BPRMFModel:
        """Empty tables of the right sizes."""
        return BPRMFModel(self, schema)


class BPRMFModel(Model):
    """The tables, and the pairwise loss over a batch of them."""

    private = ("users",)

    def __init__(self, spec: Any, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        self.users = nn.Embedding(schema.num_users, spec.embedding_dim)
        self.items = nn.Embedding(schema.num_items, spec.embedding_dim)
        self.initialise()

    def initialise(self) -> None:
        """The first values of both tables."""
        nn.init.normal_(self.users.weight, std=self.spec.init_std)
        nn.init.normal_(self.items.weight, std=self.spec.init_std)

    def tables(self) -> tuple[Tensor, Tensor]:
        """The final vectors [users, d], [items, d]."""
        return self.users.weight, self.items.weight

    def by_triples(self) -> tuple[Tensor, Tensor, float] | None:
        """The raw tables, unless a model built on this one changed how they become scores or losses."""
        own = ("tables", "represent", "losses", "batches")
        if any(getattr(type(self), name) is not getattr(BPRMFModel, name) for name in own):
            return None
        return self.users.weight, self.items.weight, self.spec.l2

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Observed pairs that want negatives."""
        return pairs(data, order, wants=self.spec.num_negatives, by=self.spec.draw)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, d], negative [b, n, d] from the final tables; private names: the raw rows."""
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        users, items = self.tables()
        u, i, j = batch.users, batch.items, batch.negatives.items
        return {
            "query": users[u],
            "positive": items[i],
            "negative": items[j],
            "_raw_query": self.users.weight[u],
            "_raw_positive": self.items.weight[i],
            "_raw_negative": self.items.weight[j],
        }

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """bpr [b], and l2 [b] of the raw rows."""
        positive = (reps["query"] * reps["positive"]).sum(-1)
        negative = (reps["query"].unsqueeze(1) * reps["negative"]).sum(-1)
        raw = losses.l2(reps["_raw_query"], reps["_raw_positive"], reps["_raw_negative"])
        return {"bpr": losses.bpr(positive, negative), "l2": self.spec.l2 * raw}

    def represent_query(self, batch: Batch) -> Tensor:
        """The users' vectors [b, d]."""
        assert isinstance(batch, Pairs)
        return self.tables()[0][batch.users]

    def item_table(self) -> Tensor:
        """The items' vectors [i, d]."""
        return self.tables()[1]

    def query_vectors(self, queries: Queries) -> Tensor:
        """Trained users by their row, newcomers by a ridge solve on their history."""
        users, items = self.cached("tables", self.tables)
        out = users[torch.from_numpy(np.maximum(queries.users, 0).astype(np.int64)).to(users.device)]
        fresh = np.flatnonzero(queries.users < 0)
        if len(fresh):
            out = out.clone()
            out[torch.from_numpy(fresh).to(out.device)] = self.newcomers(queries.take(fresh), items)
        return out

    def newcomers(self, queries: Queries, items: Tensor) -> Tensor:
        """Vectors of people known by their history alone [q, d]."""
        return ridge(items, queries.histories)

    def item_vectors(self) -> Tensor:
        """The items' vectors [items, d]."""
        out: Tensor = self.cached("tables", self.tables)[1]
        return out
