"""Self-attentive sequential recommendation."""

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
from oakum.errors import ParameterError
from oakum.nn.attention import Encoder
from oakum.nn.drawn import Drawn, drawn_scores
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import Sequences, count_sequences, pad_left, sequences


class SASRec(Spec):
    """Reads a history with causal self-attention and says what comes next.

    Paper: Kang & McAuley 2018. s(j) = h_t · E_j with h_t the state after the latest of the last `max_length` events; tied
    item vectors; positions are counted from the latest event. loss "softmax" (default) is the full cross-entropy over
    items, "bce" the paper's one negative a place, "gbce" Petrov & Macdonald 2023 with 256. Memory: targets of a batch · items
    logits under softmax, at most 256 MB (recomputed above), 16 (items + max_length) d bytes of weights and optimiser; time:
    events · (d² layers + items d) an epoch, without items d under bce. Newcomers: their history is read, as everybody's is.
    Differs from the paper in pre-normalised blocks, in the default loss, and in batches of like lengths and equal targets.
    """

    slug = "sasrec"
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 128), log=True), "width d"] = 64
    num_layers: Annotated[int, Range(1, 32, search=(1, 3)), "blocks"] = 2
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides embedding_dim"] = 1
    max_length: Annotated[int, Range(1, 10_000, search=(20, 200), log=True), "events read, the latest ones"] = 50
    dropout: Annotated[float, Range(0, below=1, search=(0.1, 0.6)), "share of activations dropped"] = 0.5
    loss: Annotated[Literal["softmax", "bce", "gbce"], "what is minimised at each place"] = "softmax"
    num_negatives: Annotated[int | None, Range(1, 4096), "negatives a place; none: 1 for bce, 256 for gbce"] = None
    calibration: Annotated[float, Range(0, 1), "t of gbce: 0 is bce"] = 0.75

    def plan(self) -> Plan:
        """The reference's optimiser, with early stopping. The batch size counts sequences of average length."""
        return Plan(learning_rate=1e-3, beta2=0.98, batch_size=128, epochs=200, evaluate_every=5, patience=3)

    def build(self, schema: Schema) -> SASRecModel:
        """Empty tables and blocks of the right sizes."""
        if self.embedding_dim % self.num_heads:
            raise ParameterError(
                f"num_heads ({self.num_heads}) must divide embedding_dim ({self.embedding_dim}) of SASRec."
            )
        return SASRecModel(self, schema)


class SASRecModel(Model):
    """Item vectors and an encoder."""

    def __init__(self, spec: SASRec, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        self.items = nn.Embedding(schema.num_items, spec.embedding_dim)
        nn.init.normal_(self.items.weight, std=0.02)
        self.encoder = Encoder(spec.embedding_dim, spec.num_layers, spec.num_heads, spec.max_length, spec.dropout)

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every user's latest events, a target at each place."""
        usual = {"softmax": 0, "bce": 1, "gbce": 256}[self.spec.loss]
        wants = self.spec.num_negatives or usual if usual else 0
        return sequences(data, order, max_length=self.spec.max_length, wants=wants)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The sequences of an epoch."""
        return count_sequences(data)

    def represent_query(self, batch: Batch) -> Tensor:
        """The state before each target [b, d]."""
        assert isinstance(batch, Sequences)
        states = self.encoder(batch.inputs, self.items.weight)
        return states.flatten(0, 1)[batch.place]

    def represent(self, batch: Batch) -> Reps:
        """query [b, d], positive [b, d], negative [b, n, d] where the loss draws any."""
        assert isinstance(batch, Sequences)
        drawn = batch.items[:0] if batch.negatives is None else batch.negatives.items
        if many := batch.negatives is not None and drawn.numel() > 8 * len(batch):
            drawn = batch.items[:0]
        # One look-up, so that the dense gradient of the table is made once.
        codes = [batch.inputs.clamp_min(0).flatten(), batch.items, drawn.flatten()]
        inputs, positive, negative = self.items(torch.cat(codes)).split([len(c) for c in codes])
        states = self.encoder.read(inputs.view(*batch.inputs.shape, -1), batch.inputs >= 0)
        reps = {"query": states.flatten(0, 1)[batch.place], "positive": positive}
        if batch.negatives is None:
            return reps
        if many:
            return Drawn(reps, self.items.weight, batch.negatives.items)
        return {**reps, "negative": negative.view(*drawn.shape, -1)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """The loss of each target [b]."""
        assert isinstance(batch, Sequences)
        if self.spec.loss == "softmax":
            return {"softmax": losses.softmax(reps["query"], reps["positive"], self.items.weight, batch.items)}
        positive = (reps["query"] * reps["positive"]).sum(-1)
        negative = drawn_scores(reps["query"], reps)
        if self.spec.loss == "bce":
            return {"bce": losses.binary_cross_entropy(positive, negative)}
        return {"gbce": losses.gbce(positive, negative, self.items.num_embeddings, self.spec.calibration)}

    def item_table(self) -> Tensor:
        """The item vectors [i, d]."""
        return self.items.weight

    def item_vectors(self) -> Tensor:
        """The item vectors [i, d]."""
        return self.items.weight

    def query_vectors(self, queries: Queries) -> Tensor:
        """The state after the latest event of each history [q, d]; NaN for an empty one."""
        lengths = queries.histories.lengths
        out = torch.full((len(queries), self.spec.embedding_dim), torch.nan, device=self.items.weight.device)
        known = np.flatnonzero(lengths > 0)
        known = known[np.argsort(lengths[known], kind="stable")]
        for start in range(0, len(known), 512):
            at = known[start : start + 512]
            part = queries.histories.take(at)
            width = min(self.spec.max_length, int(part.lengths.max()))
            inputs = torch.from_numpy(pad_left(part, width)).to(out.device)
            out[torch.from_numpy(at).to(out.device)] = self.encoder(inputs, self.items.weight)[:, -1]
        return out
