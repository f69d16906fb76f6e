"""CLHE: a bundle is read as a set of items, an item as several views of one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from oakum import losses
from oakum.backends import item_vectors
from oakum.backends.embed import width_of
from oakum.data import Dataset, Queries, Schema
from oakum.data.bundles import feedback_log
from oakum.data.texts import text_columns
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError, ParameterError
from oakum.models.bundle.views import VIEWS, ItemEncoder, feedback_vectors, vector_column
from oakum.models.classic.ials import PureSVD
from oakum.nn.sets import SetEncoder
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.bundles import Bundles, bundles, count_bundles, padded, sets_of
from oakum.sampling.sequences import like_lengths
from oakum.sampling.views import some_of

MAX_SIZE = 100  # items of a bundle read in a step, as published


class CLHE(Spec):
    """Completes a bundle from what its items are, who had them and which bundles they are in.

    The log is one of bundles: a bundle stands where a user stands elsewhere (`oakum.data.bundles.bundle_log` makes one of a
    log of shoppers), and what shoppers had is its relation "feedback". Paper: Ma et al. 2024. Views of an item, each of
    length 1: content norm(MLP(vector)) + norm(MLP(text)), feedback W q (q from `collaborative`; content where there is none)
    and a free table; they attend to each other and are averaged. A bundle is one self-attention over its items, averaged;
    candidates have an item encoder of their own; s = b · v. L = −(1/|b|) Σ_{i∈b} log softmax(s)_i, from a random part of the
    bundle, plus InfoNCE between two altered views of an item and between a bundle and part of it. Memory 4 items · (text +
    vector + 2 d) bytes and, in a step, 4 batch · items; time a step items · (text² + d · batch). Newcomers: any set of
    items, as all bundles are; new items by their text. Differs from the authors' code where that is in error: its attention
    weights are not trained, its input while training is the whole bundle, and its masks are of another sequence.
    """

    slug = "clhe"
    unknown_ids: ClassVar[str] = "need-one"
    views: Annotated[tuple[str, ...], "what items are known by: content, feedback, bundles"] = VIEWS
    encoder: Annotated[str, "text encoder: minilm, hashed, hashed:DIM, a folder or a name at the hub"] = "minilm"
    vectors: Annotated[str, "column of the item table that holds a vector each (pictures); empty: none"] = ""
    collaborative: Annotated[Spec, "the system whose item vectors of the feedback are used"] = PureSVD(
        embedding_dim=64, degree_exponent=0.5
    )
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "width d of items and bundles"] = 64
    alter: Annotated[
        Literal["drop", "noise", "mask"], "how an item's views are altered: dropout .2, noise .02, one left out"
    ] = "noise"
    item_weight: Annotated[float, Range(0, search=(0.0, 2.0)), "weight of the contrast of items"] = 0.1
    item_temperature: Annotated[float, Range(above=0), "its temperature"] = 0.5
    bundle_weight: Annotated[float, Range(0, search=(0.0, 2.0)), "weight of the contrast of bundles"] = 0.1
    bundle_temperature: Annotated[float, Range(above=0), "its temperature"] = 0.5
    keep_ratio: Annotated[float, Range(above=0, high=1), "share of a bundle's items kept in its other view"] = 0.5

    def plan(self) -> Plan:
        """As published."""
        return Plan(
            learning_rate=1e-3, weight_decay=1e-5, batch_size=256, epochs=50, evaluate_every=2, metric="recall@20"
        )

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """Widths of what is known of the items, 0 where nothing is. Raises `DataError` where no asked view is there."""
        table = data.tables.get("items")
        out = {"text": 0, "vector": 0, "feedback": 0}
        if "content" in self.views and table is not None:
            out["text"] = width_of(self.encoder) if text_columns(table) else 0
            out["vector"] = vector_column(data, self.vectors).shape[1] if self.vectors else 0
        if "feedback" in self.views and feedback_log(data) is not None:
            out["feedback"] = int(getattr(self.collaborative, "embedding_dim", 64))
        if "bundles" not in self.views and not any(out.values()):
            raise DataError(
                f"{type(self).__name__} knows items by {' and '.join(self.views)}, and '{data.name}' has neither a table of "
                "items with text, nor vectors in it, nor a relation 'feedback' of shoppers and items: give one of them, or "
                "add 'bundles' to the views."
            )
        return out

    def build(self, schema: Schema) -> CLHEModel:
        """Empty encoders."""
        for view in self.views:
            if view not in VIEWS:
                raise ParameterError(f"The views of a bundle system are {', '.join(VIEWS)}. Got {view!r} instead.")
        if not self.views:
            raise ParameterError(f"A bundle system needs at least one view of {', '.join(VIEWS)}. Got none.")
        return self.model(schema)

    def model(self, schema: Schema) -> CLHEModel:
        """The model of checked settings."""
        return CLHEModel(self, schema)


class CLHEModel(Model):
    """Two item encoders, for what a bundle holds and for candidates, and a set encoder."""

    reads_content = True  # and says itself which items it knows nothing of

    def __init__(self, spec: CLHE, schema: Schema) -> None:
        super().__init__()
        # From sizes alone, without those of a log: as on a log with text.
        sizes = schema.sizes or {"text": width_of(spec.encoder), "vector": 0, "feedback": 0}
        self.spec, self.num_items, self.sizes = spec, schema.num_items, dict(sizes)
        table = schema.num_items if "bundles" in spec.views else 0
        self.encoder, self.decoder = (ItemEncoder(sizes, table, spec.embedding_dim) for _ in range(2))
        self.sets = SetEncoder(spec.embedding_dim)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """What is known of the items: text, vectors, feedback; which are in a bundle, and which are known at all."""
        out: dict[str, Tensor] = {"bundled": torch.from_numpy(data.item_counts > 0)}
        if self.sizes["text"]:
            found = item_vectors(data, self.spec.encoder)
            out["text"] = torch.from_numpy(found.vectors)
        if self.sizes["vector"]:
            out["vector"] = torch.from_numpy(vector_column(data, self.spec.vectors))
        if self.sizes["feedback"]:
            out["feedback"] = torch.from_numpy(feedback_vectors(data, self.spec.collaborative, self.sizes["feedback"]))
        known = [out[name].any(1) for name in ("text", "vector", "feedback") if name in out]
        known += [out["bundled"]] if "bundles" in self.spec.views else []
        out["known"] = torch.stack(known).any(0)
        return out

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every bundle once."""
        return bundles(data, order, max_size=MAX_SIZE)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Bundles of an epoch."""
        return count_bundles(data)

    def represent(self, batch: Batch) -> Reps:
        """query: the bundle by a random part of it [b, d]; positive: the mean of its candidates' vectors [b, d]."""
        assert isinstance(batch, Bundles)
        spec, there = self.spec, batch.members >= 0
        sizes = there.sum(1)
        luck = torch.rand(len(batch), device=there.device)
        given = some_of(there, 1 + (luck * (sizes - 1)).long().clamp_max(sizes - 2))
        items, place = torch.unique(batch.members[there], return_inverse=True)
        views = self.encoder.views(self.facts, items)
        inside = self.laid(self.encoder.fuse(views), place, there)
        table = self.candidate_table()
        reps = {
            "query": self.sets(inside, given),
            "positive": (table[batch.members.clamp_min(0)] * there.unsqueeze(-1)).sum(1) / sizes.unsqueeze(1),
            "_given": given,
            "_table": table,
        }
        if spec.item_weight:
            for name in ("_item", "_item2"):
                reps[name] = self.encoder.fuse(self.altered(views))
        if spec.bundle_weight:
            part = some_of(there, (spec.keep_ratio * sizes).ceil().long().clamp_min(1))
            reps["_whole"], reps["_part"] = self.sets(inside, there), self.sets(inside, part)
        return reps

    @staticmethod
    def laid(vectors: Tensor, place: Tensor, there: Tensor) -> Tensor:
        """Vectors of distinct items laid out over the places of the bundles, [b, t, d]."""
        out = vectors.new_zeros(*there.shape, vectors.shape[-1])
        out[there] = vectors[place]
        return out

    def altered(self, views: Tensor) -> Tensor:
        """Another look at the same items, [n, views, d]."""
        if self.spec.alter == "drop":
            return F.dropout(views, 0.2)
        if self.spec.alter == "noise":
            return views + 0.02 * F.normalize(torch.randn_like(views), dim=-1)
        lost = torch.randint(views.shape[1], (len(views), 1), device=views.device)
        kept = torch.arange(views.shape[1], device=views.device) != lost
        return views * (kept if views.shape[1] > 1 else ~kept).unsqueeze(-1)

    def candidate_table(self) -> Tensor:
        """All items as candidates, [items, d]."""
        return self.decoder(self.facts, torch.arange(self.num_items, device=self.facts["known"].device))  # type: ignore[no-any-return]

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """softmax [b], and the two contrasts."""
        spec = self.spec
        out = {"softmax": losses.softmax(reps["query"], reps["positive"], reps["_table"])}
        if "_item" in reps:
            out["_item"] = spec.item_weight * losses.info_nce(reps["_item"], reps["_item2"], spec.item_temperature)
        if "_whole" in reps:
            out["_bundle"] = spec.bundle_weight * losses.info_nce(
                reps["_part"], reps["_whole"], spec.bundle_temperature
            )
        return out

    # --- answers ------------------------------------------------------------------------------------------------
    def query_vectors(self, queries: Queries) -> Tensor:
        """The vector of each set of items [q, d], NaN where none of it is known."""
        every = torch.arange(self.num_items, device=self.facts["known"].device)
        inside = self.cached("inside", lambda: self.encoder(self.facts, every))
        return self._read(queries, inside, self.sets, self.facts["known"])

    def _read(self, queries: Queries, inside: Tensor, sets: SetEncoder, known: Tensor) -> Tensor:
        histories = sets_of(queries.histories.only(known.cpu().numpy()), self.num_items)
        out = torch.full((len(queries), inside.shape[1]), torch.nan, device=inside.device)
        for at in like_lengths(histories.lengths):
            items = padded(histories.take(at)).to(inside.device)
            out[torch.from_numpy(at)] = sets(inside[items.clamp_min(0)], items >= 0)
        return out

    def item_vectors(self) -> Tensor:
        """The vector of each candidate [items, d], NaN where nothing is known of it."""
        table: Tensor = self.cached("candidates", self.candidate_table)
        return table.masked_fill(~self.facts["known"].unsqueeze(1), torch.nan)

    def item_table(self) -> Tensor:
        """For samplers: the vectors of candidates."""
        return self.candidate_table()
