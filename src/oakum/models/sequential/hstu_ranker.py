"""HSTU, for ranking: what somebody will do with each of many candidates, in one pass over the history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.data import Dataset, Ids, Queries, Schema
from oakum.data.fields import Layout
from oakum.data.told import SIDES, coder_again, coder_of, told
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError, ParameterError
from oakum.nn.fields import FieldEmbedding
from oakum.nn.hstu import BUCKETS, Cache, Looks, PointwiseEncoder, gaps, led
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

MOST = 8  # actions told apart


class HSTURanker(Spec):
    """Says how far somebody will go with each candidate: the history is read once, however many candidates there are.

    Paper: Zhai et al. 2024. The stream is what is told of the user (a token for each of `user_columns`), then item, action,
    item, action, …; an item is its own vector plus those of `item_columns`, an action the set of levels that the event's
    value reaches (up to 8 distinct values, or octiles), the first of which is "happened". A candidate looks at the whole
    stream and at itself, never at another candidate (M-FALCON); heads over state ⊙ item give the probability of each level,
    trained by binary cross-entropy on what happened next and on `num_negatives` drawn items at which nothing did. The score
    is the sum of the probabilities, the expected level. Memory: tokens of a batch · (d · layers · 16 floats + max_length
    bytes · (1 + negatives)); time: tokens · (d² + max_length · d) · layers an epoch, and for c candidates of a request c
    (d² + max_length · d) · layers. Newcomers: their history is read, without the tokens of the user (which are left out of a share `dropout` of the sequences in
    training, too); events without values count as the middle level.
    Differs from the paper's production model in SiLU on Q, K and V and in the relative bias of the retrieval model; as there,
    the sums themselves reach the output beside their normalised form, so that how much there was is not lost.
    """

    slug = "hstu-ranker"
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 128), log=True), "width d"] = 64
    num_layers: Annotated[int, Range(1, 64, search=(1, 8)), "layers"] = 2
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides embedding_dim"] = 2
    max_length: Annotated[int, Range(1, 100_000, search=(20, 400), log=True), "events read, the latest ones"] = 100
    dropout: Annotated[float, Range(0, below=1, search=(0.1, 0.6)), "share of activations dropped"] = 0.2
    times: Annotated[
        Literal["events", "request", "none"], "when a candidate is shown: at the latest event, or given"
    ] = "events"
    interleave: Annotated[bool, "item and action as two tokens, which takes two layers to read; else one token"] = True
    num_negatives: Annotated[int, Range(0, 4096), "drawn items a place; 0 learns from events alone"] = 1
    alpha: Annotated[float, Range(above=1, high=2), "stochastic length: reads up to max_length^(alpha/2); 2 is off"] = (
        2.0
    )
    user_columns: Annotated[tuple[str, ...], "columns of the table of users, read as tokens before the history"] = ()
    item_columns: Annotated[tuple[str, ...], "columns of the table of items, added to the item's own vector"] = ()

    def plan(self) -> Plan:
        """The reference's optimiser, with early stopping. The batch size counts sequences of average length."""
        return Plan(optimiser="adamw", beta2=0.98, batch_size=64, epochs=50, evaluate_every=2, patience=3)

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """How many actions are told apart, and the fields of users and items."""
        if self.num_negatives == 0 and data.interactions.values is None:
            raise DataError(
                f"'{data.name}' has no values: all events are alike, so there is nothing to tell apart. Add a column "
                "'rating' (or 'label'), or set num_negatives above 0."
            )
        users, items = coder_of(data, "users", self.user_columns), coder_of(data, "items", self.item_columns)
        return {"actions": len(levels_of(data)), **users.layout.sizes("users"), **items.layout.sizes("items")}

    def build(self, schema: Schema) -> HSTURankerModel:
        """Empty tables and layers of the right sizes."""
        if self.embedding_dim % self.num_heads:
            raise ParameterError(
                f"num_heads ({self.num_heads}) must divide embedding_dim ({self.embedding_dim}) of HSTURanker."
            )
        return HSTURankerModel(self, schema)


def levels_of(data: Dataset) -> Tensor:
    """The values from which each action counts as done, rising, float32 [actions]."""
    values = data.interactions.values
    found = np.unique(values) if values is not None else np.zeros(1)
    if len(found) > MOST:
        assert values is not None
        found = np.unique(np.quantile(values, np.arange(MOST) / MOST))
    return torch.from_numpy(found.astype(np.float32))


class HSTURankerModel(Model):
    """Item and action vectors, an encoder, and heads."""

    def __init__(self, spec: HSTURanker, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        d, self.actions = spec.embedding_dim, schema.sizes.get("actions", 1)
        self.timed = schema.has_times and spec.times != "none"
        self.step = 2 if spec.interleave else 1  # tokens an event
        self.items = nn.Embedding(schema.num_items, d)
        nn.init.trunc_normal_(self.items.weight, std=0.02)
        self.done = nn.Parameter(torch.randn(self.actions, d) * 0.02)
        self.unknown = None if spec.interleave else nn.Parameter(torch.randn(1, d) * 0.02)
        self.layouts = {side: Layout.from_sizes(schema.sizes, side) for side in SIDES}
        self.told = nn.ModuleDict(
            {f"of_{side}": FieldEmbedding(x, d, init_std=0.02) for side, x in self.layouts.items() if len(x)}
        )
        self.reads_content = "of_items" in self.told
        self.ahead = len(self.layouts["users"])  # tokens of the user, before the first event
        length = self.ahead + self.step * spec.max_length + 1
        size = (d, spec.num_layers, spec.num_heads, d // spec.num_heads, length, spec.dropout)
        self.encoder = PointwiseEncoder(*size, timed=self.timed, raw=True)
        self.heads = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, self.actions))

    @property
    def sampler(self) -> Sampler:
        """Uniform over the catalogue; what was had may be drawn, so that it is learned that it seldom comes again."""
        return Uniform(reject=False)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The levels of the actions, the typical gap for histories without times, and the fields of all users and items; on a
        refresh the vocabularies of the fields stay."""
        facts = {"levels": levels_of(data), "gap": typical_gap(data)}
        kept = {k: v.cpu().numpy() for k, v in self.facts.items()}
        for side, names in (("users", self.spec.user_columns), ("items", self.spec.item_columns)):
            if f"of_{side}" in self.told:
                again = f"{side}/codes" in kept
                coder = coder_again(self.layouts[side], side, kept) if again else coder_of(data, side, names)
                facts |= {k: torch.from_numpy(v) for k, v in told(data, side, coder).items()}
        return facts

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every user's latest events, a target at each place."""
        spec = self.spec
        return sequences(data, order, max_length=spec.max_length, wants=spec.num_negatives, alpha=spec.alpha)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The sequences of an epoch."""
        return count_sequences(data)

    # --- the stream ---------------------------------------------------------------------------------------------
    def reached(self, values: Tensor | None, shape: torch.Size) -> Tensor:
        """Which levels the values reach, float32 [*shape, actions]; unknown values reach the middle one."""
        levels = self.facts["levels"]
        if values is None:
            values = levels[len(levels) // 2].expand(shape)
        return (values.unsqueeze(-1) >= levels).float()

    def fields(self, side: str, codes: Tensor) -> Tensor:
        """Vectors [n, fields, d] of users or items int64 [n]; -1 is a newcomer."""
        out: Tensor = self.told[f"of_{side}"](self.facts[f"{side}/codes"][codes], self.facts[f"{side}/values"][codes])
        return out

    def vectors(self, items: Tensor) -> Tensor:
        """Item vectors [..., d]."""
        own: Tensor = self.items(items)
        return own + self.fields("items", items.flatten()).sum(1).view_as(own) if "of_items" in self.told else own

    def stream(self, users: Tensor, items: Tensor, values: Tensor | None, times: Tensor | None) -> Cache:
        """Keys and values of each layer over users int64 [s] (-1: a newcomer) and histories int64 [s, t] (-1 pads)."""
        there = items >= 0
        what = self.vectors(items.clamp_min(0))
        acted = self.reached(values, items.shape) @ self.done
        tokens = torch.stack([what, acted], 2).flatten(1, 2) if self.spec.interleave else what + acted
        buckets = None
        if self.timed and times is not None:
            buckets = self.beside(self.each(gaps(times, times), 1), there)
            buckets = F.pad(buckets, (0, 0, self.ahead, 0), value=BUCKETS - 1)
        there = self.each(there, 1)
        if self.ahead:
            if self.training:
                users = users.masked_fill(torch.rand(users.shape, device=users.device) < self.spec.dropout, -1)
            tokens, there = led(self.fields("users", users), tokens, there)
        return self.encoder.history(tokens, there, buckets)[1]

    def each(self, x: Tensor, dim: int) -> Tensor:
        """An entry an event to an entry a token."""
        return x if self.step == 1 else x.repeat_interleave(self.step, dim)

    def beside(self, buckets: Tensor, there: Tensor) -> Tensor:
        """Gaps to events uint8 [s, r, t] as gaps to tokens [s, r, ahead + t · step]; the user's tokens count as long ago."""
        if self.ahead:
            buckets = buckets.masked_fill(~there[:, None], BUCKETS - 1)
        return F.pad(self.each(buckets, 2), (self.ahead, 0), value=BUCKETS - 1)

    def asked_of(
        self,
        kept: Cache,
        items: Tensor,
        limit: Tensor,
        there: Tensor,
        before: Tensor,
        times: Tensor | None,
        asked: Tensor | None,
    ) -> Tensor:
        """States [s, r, d] of candidates int64 [s, r]. limit: int64 [r] events of the (padded) stream that each sees;
        there: bool [s, t] which events are no padding, before: int64 [s, r] how many of them each sees; times [s, t] of the
        stream, asked [s, r] of the candidates."""
        vectors = self.vectors(items)
        if self.unknown is not None:
            vectors = vectors + self.unknown
        buckets = own = None
        if self.timed and times is not None and asked is not None:
            buckets = self.beside(gaps(asked, times), there)
            own = torch.zeros_like(items, dtype=torch.uint8)
        limit = self.ahead + limit * self.step
        looks = Looks(limit, limit, buckets, own)
        return self.encoder.ask(kept, vectors, self.ahead + before * self.step, looks)[0]

    def logits(self, states: Tensor, items: Tensor) -> Tensor:
        """Logits of the actions [..., actions] from states and item vectors [..., d]."""
        d = states.shape[-1]
        out: Tensor = self.heads(F.layer_norm(states, (d,)) * items * d**0.5)
        return out

    # --- training -----------------------------------------------------------------------------------------------
    def represent(self, batch: Batch) -> Reps:
        """query [b, d] the state of what came next as a candidate; positive [b, d], negative [b, n, d] item vectors."""
        assert isinstance(batch, Sequences)
        s, t = batch.inputs.shape
        drawn = batch.items[:, None] if batch.negatives is None else batch.negatives.items
        rows = drawn if batch.negatives is None else torch.cat([batch.items[:, None], drawn], 1)
        n = rows.shape[1]
        grid = batch.items.new_zeros(s * t, n).index_copy(0, batch.place, rows).view(s, t * n)
        place = torch.arange(t, device=grid.device).repeat_interleave(n)
        asked = batch.times
        if self.spec.times == "request" and batch.times is not None and batch.target_times is not None:
            asked = batch.times.flatten().scatter(0, batch.place, batch.target_times).view(s, t)
        there = batch.inputs >= 0
        before = there.cumsum(1)[:, place]
        users = grid.new_full((s,), -1).index_copy(0, batch.place // t, batch.users)
        kept = self.stream(users, batch.inputs, batch.values, batch.times)
        asked = None if asked is None else asked[:, place]
        states = self.asked_of(kept, grid, place + 1, there, before, batch.times, asked)
        states = states.view(s * t, n, -1)[batch.place]
        reps = {"query": states[:, 0], "positive": self.vectors(batch.items)}
        if batch.negatives is not None:
            reps |= {"_states": states[:, 1:], "negative": self.vectors(drawn)}
        return reps

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """Binary cross-entropy over the actions, at what happened and at what did not [b]."""
        assert isinstance(batch, Sequences)
        done = self.reached(batch.target_values, batch.items.shape)
        found = self.logits(reps["query"], reps["positive"])
        loss = F.binary_cross_entropy_with_logits(found, done, reduction="none").mean(-1)
        if batch.negatives is not None:
            other = batch.negatives.items != batch.items[:, None]
            none = F.softplus(self.logits(reps["_states"], reps["negative"])).mean(-1)
            loss = loss + (none * other).mean(-1)
        return {"bce": loss}

    # --- scoring ------------------------------------------------------------------------------------------------
    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """The expected level, [q, items], [q, i] or [q, c]; NaN for an empty history."""
        return self.act(queries, items).sum(-1)

    def act(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """The probability of each action [q, items, actions], [q, i, actions] or [q, c, actions]; NaN likewise."""
        device = self.items.weight.device
        asked = np.arange(self.items.num_embeddings) if items is None else np.asarray(items, np.int64)
        own = torch.from_numpy(np.broadcast_to(asked, (len(queries), asked.shape[-1])).copy()).to(device)
        out = torch.full((*own.shape, self.actions), torch.nan, device=device)
        lengths = np.minimum(queries.histories.lengths, self.spec.max_length)
        for at in like_lengths(lengths, 1 << 23):
            rows = torch.from_numpy(at).to(device)
            out[rows] = self._act(queries.take(at), int(lengths[at].max()), own[rows])
        return out.masked_fill((own < 0).unsqueeze(-1), torch.nan)

    def _act(self, queries: Queries, width: int, own: Tensor) -> Tensor:
        histories = queries.histories
        lay = lambda what: torch.from_numpy(pad_left(histories, width, what)).to(own.device)
        items = lay("items")
        times, now = (x.to(own.device) for x in times_of(queries, width, float(self.facts["gap"])))
        if self.spec.times == "events":
            now = times[:, -1]
        users = torch.from_numpy(queries.users.astype(np.int64)).to(own.device)
        kept = self.stream(users, items, None if histories.values is None else lay("values"), times)
        there = items >= 0
        before = there.sum(1, keepdim=True)
        out = []
        for part in own.clamp_min(0).split(max(1, (1 << 22) // (len(own) * width * self.step)), dim=1):
            limit = torch.full((part.shape[1],), width, device=own.device)
            asked = now[:, None].expand(part.shape)
            states = self.asked_of(kept, part, limit, there, before.expand(part.shape), times, asked)
            out.append(torch.sigmoid(self.logits(states, self.vectors(part))))
        return torch.cat(out, 1)
