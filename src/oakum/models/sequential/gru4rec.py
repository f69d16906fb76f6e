"""A gated recurrent unit over the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.nn.attention import dropped
from oakum.nn.drawn import Drawn, drawn_scores
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.samplers import Popular, Sampler
from oakum.sampling.sequences import Sequences, count_sequences, like_lengths, pad_left, sequences


class GRU4Rec(Spec):
    """Reads a history event by event with a gated recurrent unit and says what comes next.

    Paper: Hidasi et al. 2016; Hidasi & Karatzoglou 2018 (BPR-max). h_t = GRU(E_x, h_{t−1}), s(j) = h_t · E_j with one table for
    what is read and what is scored. loss "softmax" (default) is the cross-entropy over all items, "bpr_max" −log Σ_j softmax(s_j)
    σ(s⁺ − s_j) over `num_negatives` drawn by popularity ^ ½, with λ Σ softmax(s_j) s_j². Memory: targets of a batch · items logits
    under softmax (at most 256 MB), targets · negatives under bpr_max, 16 items d bytes of weights and optimiser; time: events
    · (d² layers + items d, or negatives d) an epoch, one step after the other along a history. Newcomers: their history is read,
    as everybody's is. Differs from the paper in whole histories in place of parallel sessions cut at every step.
    """

    slug = "gru4rec"
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 128), log=True), "width d"] = 64
    num_layers: Annotated[int, Range(1, 8, search=(1, 2)), "layers of units"] = 1
    max_length: Annotated[int, Range(1, 10_000, search=(20, 200), log=True), "events read, the latest ones"] = 50
    dropout: Annotated[float, Range(0, below=1, search=(0.0, 0.5)), "share of inputs and states dropped"] = 0.3
    loss: Annotated[Literal["softmax", "bpr_max"], "what is minimised at each place"] = "softmax"
    num_negatives: Annotated[int, Range(1, 65_536, search=(32, 512), log=True), "drawn a place, for bpr_max"] = 128
    penalty: Annotated[float, Range(0, 100, search=(0.1, 2)), "λ of bpr_max on the scores of what is drawn"] = 1.0

    def plan(self) -> Plan:
        """Adam with early stopping. The batch size counts sequences of average length."""
        return Plan(learning_rate=1e-3, batch_size=128, epochs=200, evaluate_every=5, patience=3)

    def build(self, schema: Schema) -> GRU4RecModel:
        """Empty tables and units of the right sizes."""
        return GRU4RecModel(self, schema)


class GRU4RecModel(Model):
    """Item vectors and units."""

    def __init__(self, spec: GRU4Rec, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        d = spec.embedding_dim
        self.items = nn.Embedding(schema.num_items, d)
        nn.init.normal_(self.items.weight, std=d**-0.5)
        self.units = nn.GRU(d, d, spec.num_layers, batch_first=True)

    @property
    def sampler(self) -> Sampler:
        """By the square root of popularity; what was had may be drawn."""
        return Popular(power=0.5, reject=False)

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every user's latest events, a target at each place."""
        wants = self.spec.num_negatives if self.spec.loss == "bpr_max" else 0
        return sequences(data, order, max_length=self.spec.max_length, wants=wants)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The sequences of an epoch."""
        return count_sequences(data)

    def states(self, items: Tensor) -> Tensor:
        """States [s, t, d] after each event of int64 [s, t] (-1 pads on the left); they mean nothing at the pads.

        The units start with the first event: rows are moved to the left for them, and back.
        """
        there = items >= 0
        place = torch.arange(items.shape[1], device=items.device)
        pads = (~there).sum(1, keepdim=True)
        first = (place + pads).clamp_max(items.shape[1] - 1)
        x = self.items(items.gather(1, first).clamp_min(0))
        x = dropped(x, self.spec.dropout, self.training)
        out = dropped(self.units(x)[0], self.spec.dropout, self.training)
        back = (place - pads).clamp_min(0).unsqueeze(-1).expand(-1, -1, out.shape[-1])
        return out.gather(1, back)

    def represent_query(self, batch: Batch) -> Tensor:
        """The state before each target [b, d]."""
        assert isinstance(batch, Sequences)
        return self.states(batch.inputs).flatten(0, 1)[batch.place]

    def represent(self, batch: Batch) -> Reps:
        """query [b, d], positive [b, d], negative [b, n, d] where the loss draws any."""
        assert isinstance(batch, Sequences)
        reps = {"query": self.represent_query(batch), "positive": self.items(batch.items)}
        return reps if batch.negatives is None else Drawn(reps, self.items.weight, batch.negatives.items)

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """The loss of each target [b]."""
        assert isinstance(batch, Sequences)
        if batch.negatives is None:
            return {"softmax": losses.softmax(reps["query"], reps["positive"], self.items.weight, batch.items)}
        positive = (reps["query"] * reps["positive"]).sum(-1)
        negative = drawn_scores(reps["query"], reps)
        other = batch.negatives.items != batch.items[:, None]
        return {"bpr_max": losses.bpr_max(positive, negative, self.spec.penalty, other)}

    def item_table(self) -> Tensor:
        """The item vectors [i, d]."""
        return self.items.weight

    def item_vectors(self) -> Tensor:
        """The item vectors [i, d]."""
        return self.items.weight

    def query_vectors(self, queries: Queries) -> Tensor:
        """The state after the latest event of each history [q, d]; NaN for an empty one."""
        lengths = np.minimum(queries.histories.lengths, self.spec.max_length)
        out = torch.full((len(queries), self.spec.embedding_dim), torch.nan, device=self.items.weight.device)
        for at in like_lengths(lengths):
            items = torch.from_numpy(pad_left(queries.histories.take(at), int(lengths[at].max()))).to(out.device)
            out[torch.from_numpy(at).to(out.device)] = self.states(items)[:, -1]
        return out
