"""HSTU, for retrieval: what comes next in a long history, read with pointwise attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import ParameterError
from oakum.nn.drawn import Drawn, drawn_scores
from oakum.nn.hstu import PointwiseEncoder, gaps
from oakum.nn.unit import unit_rows
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.samplers import Sampler, Uniform
from oakum.sampling.sequences import (
    Sequences,
    count_sequences,
    like_lengths,
    pad_left,
    sequences,
    times_of,
    typical_gap,
)


class HSTU(Spec):
    """Reads long histories with pointwise attention, which also feels how often and how long ago, and says what is next.

    Paper: Zhai et al. 2024. A = SiLU(Q Kᵀ + p[i − j] + t[gap]) / max_length in place of a softmax, out = x + Linear(U ⊙
    LN(A V)); the score of an item is the cosine of state and item vector over the temperature; the loss a softmax over the
    target and `num_negatives` drawn items (0: over all items). times "request": the gap is counted from the moment that is
    asked about (in training the target's, at request `Queries.at`); "events" (default) counts from the event itself, so
    that nothing need be known of the request. alpha below 2 shortens long histories in training (stochastic length).
    Memory: events of a batch · (d · layers · 12 floats + max_length bytes) + targets · negatives floats, no matrix of
    scores whatever the length; time: events · (d² + max_length · d) · layers an epoch. Newcomers: their history is read,
    as everybody's; events without times count as one typical gap apart. Differs from the paper in batches of like lengths
    with equal targets, and in the default of `times`.
    """

    slug = "hstu"
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 128), log=True), "width d"] = 64
    num_layers: Annotated[int, Range(1, 64, search=(1, 8)), "layers"] = 2
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides embedding_dim"] = 1
    max_length: Annotated[int, Range(1, 100_000, search=(20, 400), log=True), "events read, the latest ones"] = 50
    dropout: Annotated[float, Range(0, below=1, search=(0.1, 0.6)), "share of activations dropped"] = 0.2
    times: Annotated[Literal["events", "request", "none"], "what gaps of time are counted from"] = "events"
    num_negatives: Annotated[int, Range(0, 65_536, search=(64, 512), log=True), "drawn a place; 0: all items"] = 128
    temperature: Annotated[float, Range(above=0, high=100, search=(0.03, 0.2), log=True), "divides cosines"] = 0.05
    unit: Annotated[bool, "whether states and item vectors are compared at unit length"] = True
    alpha: Annotated[float, Range(above=1, high=2), "stochastic length: reads up to max_length^(alpha/2); 2 is off"] = (
        2.0
    )

    def plan(self) -> Plan:
        """The reference's optimiser, with early stopping. The batch size counts sequences of average length."""
        return Plan(optimiser="adamw", beta2=0.98, batch_size=128, epochs=200, evaluate_every=5, patience=3)

    def build(self, schema: Schema) -> HSTUModel:
        """Empty tables and layers of the right sizes."""
        if self.embedding_dim % self.num_heads:
            raise ParameterError(
                f"num_heads ({self.num_heads}) must divide embedding_dim ({self.embedding_dim}) of HSTU."
            )
        return HSTUModel(self, schema)


class HSTUModel(Model):
    """Item vectors and an encoder."""

    def __init__(self, spec: HSTU, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        self.timed = schema.has_times and spec.times != "none"
        self.items = nn.Embedding(schema.num_items, spec.embedding_dim)
        nn.init.trunc_normal_(self.items.weight, std=0.02)
        self.encoder = PointwiseEncoder(
            spec.embedding_dim,
            spec.num_layers,
            spec.num_heads,
            spec.embedding_dim // spec.num_heads,
            spec.max_length,
            spec.dropout,
            timed=self.timed,
        )

    @property
    def sampler(self) -> Sampler:
        """Uniform over the catalogue; what was had may be drawn, so that it is learned that it seldom comes again."""
        return Uniform(reject=False)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The typical gap, for histories without times."""
        return {"gap": typical_gap(data)}

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every user's latest events, a target at each place."""
        spec = self.spec
        return sequences(data, order, max_length=spec.max_length, wants=spec.num_negatives, alpha=spec.alpha)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The sequences of an epoch."""
        return count_sequences(data)

    def states(self, items: Tensor, times: Tensor | None, asked: Tensor | None, table: Tensor) -> Tensor:
        """States [s, t, d] of codes int64 [s, t] (-1 pads); asked: int64 [s, t], what gaps are counted from."""
        buckets = None
        if self.timed and times is not None and asked is not None:
            buckets = gaps(asked, times)
        return self.encoder.history(table[items.clamp_min(0)], items >= 0, buckets)[0]

    def represent_query(self, batch: Batch) -> Tensor:
        """The state before each target [b, d], over the temperature."""
        assert isinstance(batch, Sequences)
        asked = batch.times
        if self.spec.times == "request" and batch.times is not None and batch.target_times is not None:
            asked = batch.times.flatten().scatter(0, batch.place, batch.target_times).view_as(batch.times)
        states = self.states(batch.inputs, batch.times, asked, self.items.weight)
        return self._query(states.flatten(0, 1)[batch.place])

    def _query(self, states: Tensor) -> Tensor:
        return F.normalize(states, dim=-1) / self.spec.temperature if self.spec.unit else states

    def represent(self, batch: Batch) -> Reps:
        """query [b, d], positive [b, d], negative [b, n, d] where negatives are drawn."""
        assert isinstance(batch, Sequences)
        table = self.item_table()
        reps = {"query": self.represent_query(batch), "positive": table[batch.items]}
        return reps if batch.negatives is None else Drawn(reps, table, batch.negatives.items)

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """The loss of each target [b]."""
        assert isinstance(batch, Sequences)
        query = reps["query"]
        if batch.negatives is None:
            return {"softmax": losses.softmax(query, reps["positive"], self.item_table(), batch.items)}
        positive = (query * reps["positive"]).sum(-1)
        negative = drawn_scores(query, reps)
        negative = negative.masked_fill(batch.negatives.items == batch.items[:, None], -5e4)
        # Relative to uniform draws, so that those are taken as they are.
        log_q = batch.negatives.log_q + float(np.log(self.items.num_embeddings))
        return {"sampled_softmax": losses.sampled_softmax(positive, negative, log_q)}

    def item_table(self) -> Tensor:
        """The item vectors [i, d], of unit length where so compared."""
        return unit_rows(self.items.weight) if self.spec.unit else self.items.weight

    def item_vectors(self) -> Tensor:
        """The item vectors [i, d]."""
        table: Tensor = self.cached("items", self.item_table)
        return table

    def query_vectors(self, queries: Queries) -> Tensor:
        """The state after the latest event of each history [q, d]; NaN for an empty one."""
        lengths = np.minimum(queries.histories.lengths, self.spec.max_length)
        device = self.items.weight.device
        out = torch.full((len(queries), self.spec.embedding_dim), torch.nan, device=device)
        for at in like_lengths(lengths):
            part, width = queries.take(at), int(lengths[at].max())
            items = torch.from_numpy(pad_left(part.histories, width)).to(device)
            times = asked = None
            if self.timed:
                times, now = times_of(part, width, float(self.facts["gap"]))
                asked = times
                if self.spec.times == "request":
                    asked = torch.cat([times[:, 1:], now[:, None]], 1)
                times, asked = times.to(device), asked.to(device)
            states = self.states(items, times, asked, self.items.weight)
            out[torch.from_numpy(at).to(device)] = self._query(states[:, -1])
        return out
