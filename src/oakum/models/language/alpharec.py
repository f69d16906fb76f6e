"""Collaborative filtering without id embeddings: a small map of frozen title vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.backends.embed import width_of
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.nn.propagate import Bipartite, mean_of, propagate, sums_at
from oakum.nn.text import encoder_of, means, text_facts, typed
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Pairs, pairs
from oakum.sampling.samplers import Sampler, Shared


class AlphaRec(Spec):
    """Recommends by what items are called: a small map turns the vectors of a language encoder into ones of taste.

    Paper: Sheng et al. 2024. x_i is the frozen vector of the title, x_u the mean over the user's items, E⁰ = map(x)
    with one map for both sides, Z = mean of E⁰ … E^L under Ã = D^-½ A D^-½, s(u, i) = cos(Z_u, Z_i); sampled softmax
    of cos / τ. map "mlp" is AlphaRec, "linear" with num_layers=0 the paper's probe of what an encoder knows.
    It has no table of ids, so it scores items nobody had, answers typed words (x_u moves `intention` of the way to
    their vector), and keeps its weights when it is refreshed onto another domain (`transfers`).
    Memory 4 (users + items)(D + 3 d) bytes; time a batch: (users + items) D · hidden_dim + 2 L · events · d.
    Newcomers: the same formula from their history; a known history gives the known user's vector.
    Differs from the paper in negatives shared by a batch (the plan's `negatives=Uniform()` gives each row its own; 40
    times slower), and in log-sum-exp where the reference overflows.
    """

    slug = "alpharec"
    encoder: Annotated[str, "minilm, hashed:DIM, a folder or the name of a model"] = "minilm"
    text: Annotated[Literal["title", "all"], "what is read of an item: its title (paper) or all its text"] = "title"
    map: Annotated[Literal["mlp", "linear"], "two layers, or one matrix without bias"] = "mlp"
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 128), log=True), "width d of the space of taste"] = 64
    hidden_dim: Annotated[int, Range(1, 16384, search=(96, 768), log=True), "width between the two layers"] = 192
    num_layers: Annotated[int, Range(0, 16, search=(0, 3)), "propagation layers L; 0 uses no graph"] = 2
    num_negatives: Annotated[int, Range(1, 65536), "negatives in the softmax"] = 256
    temperature: Annotated[float, Range(above=0, high=10, search=(0.05, 0.5), log=True), "τ"] = 0.2
    intention: Annotated[float, Range(0, 1), "share of typed words in a request: 0 the past alone, 1 pure search"] = 0.5

    def plan(self) -> Plan:
        """The reference's settings."""
        return Plan(learning_rate=5e-4, batch_size=4096, epochs=500, evaluate_every=5, patience=20, metric="recall@20")

    def sizes(self, data: Dataset) -> dict[str, int]:
        """The width of the encoder's vectors."""
        return {"text_dim": width_of(self.encoder)}

    def build(self, schema: Schema) -> AlphaRecModel:
        """An untrained map."""
        return AlphaRecModel(self, schema)


class AlphaRecModel(Model):
    """The map; texts and graph are facts."""

    reads_content = True
    transfers = True
    reads_requests = True

    def __init__(self, spec: AlphaRec, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        wide = schema.sizes.get("text_dim") or width_of(spec.encoder)
        self.map: nn.Module = nn.Linear(wide, spec.embedding_dim, bias=False)
        if spec.map == "mlp":
            self.map = nn.Sequential(
                nn.Linear(wide, spec.hidden_dim), nn.LeakyReLU(), nn.Linear(spec.hidden_dim, spec.embedding_dim)
            )

    @property
    def sampler(self) -> Sampler:
        """Uniform items that the user did not have, one draw for the whole batch."""
        return Shared()

    # --- facts ----------------------------------------------------------------------------------------------------
    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The item texts as vectors, and the graph of distinct pairs."""
        kinds = ("title",) if self.spec.text == "title" else ("title", "description", "categories")
        return {
            **text_facts(data, self.spec.encoder, self.facts, kinds=kinds),
            "graph_indptr": torch.from_numpy(data.matrix.indptr.astype("int64")),
            "graph_indices": torch.from_numpy(data.matrix.indices.astype("int64")),
        }

    def put_facts(self, facts: Facts) -> None:
        """Build the operator and the users' means once, whenever texts or events change."""
        super().put_facts(facts)
        if "text" not in self.facts:
            return
        indptr, indices, text = (self.facts[k] for k in ("graph_indptr", "graph_indices", "text"))
        self.graph = Bipartite(indptr, indices, len(text))
        self.x_users, self.x_items = means(text, indptr, indices), text
        degree = torch.bincount(indices, minlength=len(text))
        self.unknown = (degree == 0) & (text == 0).all(1)
        if self.spec.map == "linear":  # the map commutes with the graph: smooth once, train rows only
            layers = propagate(self.graph, self.x_users, self.x_items, self.spec.num_layers)
            self.smooth = mean_of(layers[0]), mean_of(layers[1])

    # --- vectors --------------------------------------------------------------------------------------------------
    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """E⁰ … E^L of users and of items."""
        return propagate(self.graph, self.map(self.x_users), self.map(self.x_items), self.spec.num_layers)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Unit vectors Z of users and of items."""
        if self.spec.map == "linear":
            users, items = self.map(self.smooth[0]), self.map(self.smooth[1])
        else:
            of_users, of_items = self.layers()
            users, items = mean_of(of_users), mean_of(of_items)
        return F.normalize(users, dim=-1), F.normalize(items, dim=-1)

    # --- training -------------------------------------------------------------------------------------------------
    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """As many draws as pairs: a user uniformly, then one of the user's items."""
        return pairs(data, order, wants=self.spec.num_negatives, by="users")

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, d], negative [b, n, d] or [1, n, d] where the batch shares its negatives."""
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        drawn = batch.negatives.items
        query, items = self.rows_of(batch.users, torch.cat([batch.items, drawn.flatten()]))
        positive, negative = items.split([len(batch.items), drawn.numel()])
        return {"query": query, "positive": positive, "negative": negative.view(*drawn.shape, -1)}

    def rows_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """`tables` at some users and some items alone."""
        if self.spec.map == "linear":
            found = self.map(self.smooth[0][users]), self.map(self.smooth[1][items])
        elif self.spec.num_layers:
            whole = self.map(self.x_users), self.map(self.x_items)
            found = sums_at(self.graph, *whole, self.spec.num_layers, users, items)[:2]
        else:
            found = self.map(self.x_users[users]), self.map(self.x_items[items])
        return F.normalize(found[0], dim=-1), F.normalize(found[1], dim=-1)

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """softmax [b] of cosines over the temperature."""
        assert batch.negatives is not None
        query = reps["query"] / self.spec.temperature
        negative = losses.against(query, reps["negative"])
        if batch.negatives.weight is not None:
            negative = negative.masked_fill(batch.negatives.weight == 0, -torch.inf)
        return {"softmax": losses.sampled_softmax((query * reps["positive"]).sum(-1), negative)}

    def represent_query(self, batch: Batch) -> Tensor:
        """The users' vectors [b, d]."""
        assert isinstance(batch, Pairs)
        return self.rows_of(batch.users, batch.items[:0])[0]

    def item_table(self) -> Tensor:
        """The items' vectors [i, d]."""
        return self.tables()[1]

    # --- asking ---------------------------------------------------------------------------------------------------
    def item_vectors(self) -> Tensor:
        """Unit vectors [items, d]; NaN for items without a word and without an event."""

        def make() -> Tensor:
            return self.cached("tables", self.tables)[1].masked_fill(self.unknown[:, None], torch.nan)

        out: Tensor = self.cached("items", make)
        return out

    def query_vectors(self, queries: Queries) -> Tensor:
        """Trained users by their row; newcomers, and whoever types words, by their history and their words."""
        users = self.cached("tables", self.tables)[0]
        words = None if queries.text is None else np.array([any(c.isalnum() for c in t) for t in queries.text])
        fresh = queries.users < 0 if words is None else (queries.users < 0) | words
        out: Tensor = users[torch.from_numpy(np.maximum(queries.users, 0).astype(np.int64)).to(users.device)]
        if fresh.any():
            at = np.flatnonzero(fresh)
            out[torch.from_numpy(at).to(out.device)] = self.newcomers(queries.take(at))
        return out

    def newcomers(self, queries: Queries) -> Tensor:
        """z = (E⁰ + Σ_{l<L} Σ_{i in H} E_i^l / sqrt(|H| deg(i))) / (L + 1), E⁰ = map((1 − α) mean of H + α words)."""
        text = self.facts["text"]
        history = queries.histories.matrix(len(text))
        indptr, indices = (
            torch.from_numpy(a.astype("int64")).to(text.device) for a in (history.indptr, history.indices)
        )
        x, lengths = means(text, indptr, indices), indptr.diff()
        silent = lengths == 0
        if queries.text is not None:
            encoder = self.cached("encoder", lambda: encoder_of(self.spec.encoder, self.facts))
            q = typed(queries.text, encoder, self.facts)
            said = (q != 0).any(1)
            share = torch.where(silent, 1.0, self.spec.intention) * said
            x = torch.lerp(x, q, share[:, None])
            silent = silent & ~said
        z = self.map(x)
        if self.spec.num_layers:
            scaled = self.cached("scaled", self._scaled)
            z = z + means(scaled, indptr, indices) * lengths.sqrt()[:, None]
        return F.normalize(z, dim=-1).masked_fill(silent[:, None], torch.nan)

    def _scaled(self) -> Tensor:
        """Σ_{l<L} E_i^l / sqrt(deg(i)) [items, d]: what an item hands to who had it."""
        items: Any = self.layers()[1][:-1]
        return torch.stack(items).sum(0) * self.graph.item_scale[:, None]
