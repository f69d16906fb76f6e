"""What comes next in a session, from what is told of the items: no item has a number of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.data.fields import FIRST, MISSING, Coder, Layout
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError, ParameterError, nearest
from oakum.nn.attention import Encoder
from oakum.nn.fields import FieldEmbedding
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.samplers import OnOffer, Sampler
from oakum.sampling.sequences import Sequences, count_prefixes, pad_left, prefixes


class M2TRec(Spec):
    """Says what comes next in a session from categories, brands and titles alone: new and rare items count like any other.

    Paper: Shalaby et al. 2022. φ(i) = the vectors of the item's columns side by side (words and lists averaged, numbers
    scaled; values unseen in training share one vector); s = mean of a bidirectional Transformer over W φ + positions;
    next item softmax(s · W_o φ(j)) over the items on offer, next category of every level softmax(U_l s), added with weight λ.
    Every prefix of every session is an example. Memory 12 d_f bytes a distinct value, nothing that grows with the items but
    8 slots bytes of facts each (and 4 D for scores); time an epoch: events · length · (D² layers + length D), and W_o φ of the
    catalogue once a step, of `num_negatives` only where negatives are drawn. Newcomers: the session is read, as everybody's is.
    Items told apart by no column tie; ties are broken by a fixed permutation. Differs from the paper in what it does not say: the
    output layer is tied to φ, λ = 1, positions count from the end, blocks are pre-normalised; missing categories teach nothing.
    """

    slug = "m2trec"
    columns: Annotated[tuple[str, ...], "item columns to read, by name; none: all"] = ()
    levels: Annotated[tuple[str, ...], "category columns to predict beside the item; none: all categories read"] = ()
    level_weight: Annotated[
        float, Range(0, 100, search=(0.1, 2)), "λ: weight of each category's loss; 0: items alone"
    ] = 1.0
    field_dim: Annotated[int, Range(1, 1024, search=(16, 64), log=True), "width d_f of a column's vectors"] = 32
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 256), log=True), "width D of the session"] = 128
    num_layers: Annotated[int, Range(1, 32, search=(1, 3)), "blocks"] = 2
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides embedding_dim"] = 4
    dropout: Annotated[float, Range(0, below=1, search=(0.1, 0.5)), "share of activations dropped"] = 0.1
    max_length: Annotated[
        int, Range(1, 10_000, search=(10, 100), log=True), "items read of a session, the latest ones"
    ] = 50
    pool: Annotated[Literal["mean", "last"], "the session: mean over its items (paper), or its latest"] = "mean"
    num_negatives: Annotated[
        int | None, Range(1, 65_536), "negatives of a sampled softmax; none: all items on offer"
    ] = None
    min_count: Annotated[int, Range(1, 1_000_000), "values with fewer training events share one vector"] = 2
    max_values: Annotated[int, Range(1, 256), "words or members read of one cell"] = 16

    def plan(self) -> Plan:
        """Adam with early stopping. The batch size counts prefixes."""
        return Plan(learning_rate=1e-3, batch_size=512, epochs=50, evaluate_every=1, patience=5, metric="recall@20")

    def coders(self, data: Dataset) -> tuple[Coder, Coder]:
        """How item columns become slots: those read, and those predicted."""
        table = data.tables["items"]
        for name in (*self.columns, *self.levels):
            if name not in table.columns:
                raise ParameterError(
                    f"The items of '{data.name}' have no column '{name}'.{nearest(name, table.columns)}"
                )
        events = np.bincount(data.interactions.items, minlength=data.num_items)
        settings: dict[str, Any] = {"weights": events, "min_count": self.min_count, "max_values": self.max_values}
        read = Coder.learn({n: table[n] for n in self.columns or table.columns}, **settings)
        if not read.fields:
            raise DataError(
                f"No item column of '{data.name}' tells items apart ({', '.join(table.columns)} are constants, keys or "
                "vectors): give categories, brands, titles or numbers."
            )
        levels = self.levels or [f.name for f in read.fields if f.kind in ("categorical", "multi")]
        told = Coder.learn({n: table[n] for n in levels if self.level_weight}, **settings)
        wrong = [f.name for f in told.fields if f.kind not in ("categorical", "multi")]
        if wrong:
            raise ParameterError(f"The column '{wrong[0]}' holds no categories, so it cannot be a level to predict.")
        return read, told

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """Rows of every column's table, read and predicted."""
        read, told = self.coders(data)
        return {**read.layout.sizes("item"), **told.layout.sizes("level")}

    def build(self, schema: Schema) -> M2TRecModel:
        """Empty tables and blocks of the right sizes."""
        if self.embedding_dim % self.num_heads:
            raise ParameterError(
                f"num_heads ({self.num_heads}) must divide embedding_dim ({self.embedding_dim}) of M2TRec."
            )
        return M2TRecModel(self, schema)


class M2TRecModel(Model):
    """φ, an encoder of sessions, and a head a level."""

    reads_content = True
    transfers = True

    def __init__(self, spec: M2TRec, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        width = spec.embedding_dim
        self.layout, self.levels = (Layout.from_sizes(schema.sizes, g) for g in ("item", "level"))
        self.fields = FieldEmbedding(self.layout, spec.field_dim, init_std=None)
        told = max(1, len(self.layout)) * spec.field_dim
        self.enter, self.leave = nn.Linear(told, width), nn.Linear(told, width, bias=False)
        self.encoder = Encoder(width, spec.num_layers, spec.num_heads, spec.max_length, spec.dropout, causal=False)
        self.heads = nn.ModuleList(nn.Linear(width, f.rows) for f in self.levels.fields)

    @property
    def sampler(self) -> Sampler:
        """Items that were on offer; what was seen in the session may be drawn."""
        return OnOffer(reject=False)

    # --- facts ----------------------------------------------------------------------------------------------------
    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Slots of all items, read and predicted, and which items have events; on a refresh the vocabularies stay."""
        if "item/codes" in self.facts:
            kept = {k: v.cpu().numpy() for k, v in self.facts.items()}
            own = lambda g: {k.removeprefix(f"{g}/"): v for k, v in kept.items() if k.startswith(f"{g}/")}
            coders = tuple(Coder.from_facts(x, own(g)) for x, g in ((self.layout, "item"), (self.levels, "level")))
        else:
            coders = self.spec.coders(data)
        table = data.tables["items"]
        facts: dict[str, Any] = {"seen": data.item_counts > 0}
        for group, coder in zip(("item", "level"), coders, strict=True):
            facts.update({f"{group}/{k}": v for k, v in coder.facts().items()})
            columns = {n: table[n] for n in coder.layout.names if n in table.columns}
            facts[f"{group}/codes"], facts[f"{group}/values"] = coder.encode(columns, data.num_items)
        return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in facts.items()}

    def put_facts(self, facts: Facts) -> None:
        """Where the items on offer stand, and which items nothing is known of."""
        super().put_facts(facts)
        if "seen" in self.facts:
            seen = self.facts["seen"]
            self.offered = torch.nonzero(seen).squeeze(1)
            self.unknown = (self.facts["item/codes"] < FIRST).all(1) & ~seen
            if any(f.kind == "numeric" for f in self.layout.fields):  # its code 1 is "there", not "unknown"
                self.unknown = (self.facts["item/codes"] == MISSING).all(1) & ~seen

    def told(self, codes: Tensor) -> Tensor:
        """φ: the vectors of the columns side by side, of items [n] -> [n, fields · d_f]."""
        return self.fields(self.facts["item/codes"][codes], self.facts["item/values"][codes]).flatten(1)

    # --- training -------------------------------------------------------------------------------------------------
    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every prefix of every session."""
        return prefixes(data, order, max_length=self.spec.max_length, wants=self.spec.num_negatives or 0)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The prefixes of an epoch."""
        return count_prefixes(data)

    def pooled(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Entering vectors [b, t, D], and where they are no padding -> sessions [b, D]."""
        states = self.encoder.read(vectors, there)
        if self.spec.pool == "last":
            return states[:, -1]
        return (states * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True).clamp_min(1)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, D], negative [b, n, D] where any are drawn; private: the items on offer [i, D], and which the
        positives are."""
        assert isinstance(batch, Sequences)
        drawn = batch.items[:0] if batch.negatives is None else batch.negatives.items
        there = batch.inputs >= 0
        codes = torch.cat([batch.inputs.clamp_min(0).flatten(), batch.items, drawn.flatten()])
        # One pass of φ over the distinct items, or over all on offer where the softmax asks for them anyway.
        whole = batch.negatives is None
        distinct, at = (self.offered, torch.searchsorted(self.offered, codes)) if whole else _distinct(codes)
        own = self.told(distinct)
        inputs, positive, negative = at.split([batch.inputs.numel(), len(batch.items), drawn.numel()])
        query = self.pooled(self.enter(own)[inputs].view(*there.shape, -1), there)
        table = self.leave(own)
        reps = {"query": query, "positive": table[positive]}
        if whole:
            reps["_offered"], reps["_place"] = table, positive
        else:
            reps["negative"] = table[negative].view(*drawn.shape, -1)
        return reps

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """softmax [b] of the next item, and _NAME [b] of its category on each level."""
        assert isinstance(batch, Sequences)
        query, positive = reps["query"], reps["positive"]
        if batch.negatives is None:
            out = {"softmax": losses.softmax(query, positive, reps["_offered"], reps["_place"])}
        else:
            other = losses.against(query, reps["negative"]) - batch.negatives.log_q
            other = other.masked_fill(batch.negatives.items == batch.items[:, None], -torch.inf)
            out = {"softmax": losses.sampled_softmax((query * positive).sum(-1), other)}
        start = 0
        for field, head in zip(self.levels.fields, self.heads, strict=True):
            slots = slice(start, start := start + field.width)
            codes, values = (self.facts[f"level/{k}"][batch.items, slots] for k in ("codes", "values"))
            share = values * (codes != MISSING)
            found = losses.shared_cross_entropy(head(query), codes.long(), share)
            out[f"_{field.name}"] = self.spec.level_weight * found
        return out

    def represent_query(self, batch: Batch) -> Tensor:
        """The session before each target [b, D]."""
        return self.represent(batch)["query"]

    def item_table(self) -> Tensor:
        """W_o φ of all items [items, D]; NaN for one of which nothing is known."""
        every = torch.arange(len(self.unknown), device=self.unknown.device)
        parts = [self.leave(self.told(part)) for part in every.split(1 << 14)]
        return torch.cat(parts).masked_fill(self.unknown[:, None], torch.nan)

    # --- asking ---------------------------------------------------------------------------------------------------
    def item_vectors(self) -> Tensor:
        """W_o φ [items, D]."""
        out: Tensor = self.cached("items", self.item_table)
        return out

    def query_vectors(self, queries: Queries) -> Tensor:
        """The session of each history [q, D]; NaN for an empty one."""
        lengths = queries.histories.lengths
        out = torch.full((len(queries), self.spec.embedding_dim), torch.nan, device=self.unknown.device)
        known = np.flatnonzero(lengths > 0)
        known = known[np.argsort(lengths[known], kind="stable")]
        for start in range(0, len(known), 512):
            at = known[start : start + 512]
            part = queries.histories.take(at)
            inputs = torch.from_numpy(pad_left(part, min(self.spec.max_length, int(part.lengths.max())))).to(out.device)
            distinct, place = _distinct(inputs.clamp_min(0).flatten())
            vectors = self.enter(self.told(distinct))[place].view(*inputs.shape, -1)
            out[torch.from_numpy(at).to(out.device)] = self.pooled(vectors, inputs >= 0)
        return out

    def category_chances(self, queries: Queries) -> dict[str, Tensor]:
        """The chance of each value of the next item's category, by level: [q, rows], columns in the order of the vocabulary
        after "missing" and "unknown"."""
        session = self.query_vectors(queries)
        return {f.name: head(session).softmax(-1) for f, head in zip(self.levels.fields, self.heads, strict=True)}


def _distinct(codes: Tensor) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = torch.unique(codes, return_inverse=True)
    return found
