"""Triple sequence learning for cross-domain recommendation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.data import Dataset, Ids, Queries, Schema, domains
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError, ParameterError
from oakum.nn.attention import Encoder
from oakum.nn.pooling import AskedPooling
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.cross_domain import VIEWS, Aligned, aligned, count_aligned, of_domains, windows
from oakum.sampling.samplers import InDomain, Sampler
from oakum.sampling.sequences import Sequences, count_sequences, sequences

PAIRS = (
    1 << 20
)  # pairs of a place and an event scored at a time; above it the scores are computed again on the way back


class TriCDR(Spec):
    """Says what a user takes next in one product line from what the user did in all of them.

    Paper: Ma et al. 2023. Three encoders read the events of the target, of the source and of both in order (mix); for each
    event of the target to predict, attention asked by the target's state q and the mean g of the mix, a = softmax MLP([f; q;
    f⊙q; q − f; g]), sums up each of the three as m, s, t; logit(j) = scale · cos(W₂ LeakyReLU(W₁ [m; s; t]), e_j), e of the
    target. Contrast (NT-Xent of m, s, t) aligns them, a triplet margin keeps s nearer to m than to t. The encoders are
    trained alone first (three phases), then all together (the fourth). Memory: the items' vectors twice (the mix and their
    own domain's), 16 d bytes each with the optimiser, and blocks of 2²⁰ attended pairs, 1 GB; time: events · (d² layers
    + max_length · (80 d + 3200) for each of the three) an epoch. Newcomers: their history is read, as everybody's is; a
    history in the source alone is answered too. Differs from the paper in SASRec's blocks as this project has them
    (pre-normalised), tables of each encoder's own items only, zeros in place of a mean over padding where nothing came
    before, a prediction of the first event of the target too, a constant learning rate, stopping on validation.
    """

    slug = "tri-cdr"
    target: Annotated[str | None, "domain to recommend in; must be named"] = None
    source: Annotated[str | None, "domain to learn from; none: all others"] = None
    embedding_dim: Annotated[int, Range(1, 4096, search=(32, 128), log=True), "width d"] = 64
    num_layers: Annotated[int, Range(1, 32, search=(1, 3)), "blocks of each encoder"] = 2
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides embedding_dim"] = 1
    max_length: Annotated[int, Range(1, 10_000, search=(20, 200), log=True), "events read of each of the three"] = 200
    dropout: Annotated[float, Range(0, below=1, search=(0.1, 0.6)), "share of activations dropped"] = 0.2
    attention: Annotated[Literal["triple", "last"], "last: the latest states in place of the attention"] = "triple"
    scale: Annotated[float, Range(above=0, search=(2, 30), log=True), "factor on the cosine"] = 5.0
    temperature: Annotated[float, Range(above=0, search=(0.05, 1), log=True), "of the contrast"] = 0.1
    contrast_weight: Annotated[float, Range(0, search=(0.01, 4), log=True), "weight of the contrast"] = 0.1
    contrast_shares: Annotated[tuple[float, ...], "mix-source, mix-target, source-target"] = (1.0, 1.0, 1.0)
    triplet_weight: Annotated[float, Range(0, search=(0.1, 10), log=True), "weight of the triplet margin"] = 10.0
    margin: Annotated[float, Range(0, search=(1, 20), log=True), "how much nearer the source is to the mix"] = 4.0
    pretrain_epochs: Annotated[int, Range(0, 10_000), "passes for each encoder alone"] = 20

    def plan(self) -> Plan:
        """The reference's optimiser, with early stopping of the joint phase. The batch size counts users."""
        return Plan(learning_rate=1e-3, beta2=0.98, batch_size=120, epochs=200, evaluate_every=1, patience=10)

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """Items of the target and of the source; refuses unknown domains with the list of known ones."""
        sides = self.sides(data)
        return {"target_items": int((sides == 1).sum()), "source_items": int((sides == 2).sum())}

    def sides(self, data: Dataset) -> NDArray[np.int8]:
        """int8 [items]: 1 in the target, 2 in the source, 0 in neither."""
        found = domains(data)
        if self.target is None:
            raise ParameterError(f"TriCDR needs a target. Known domains: {', '.join(found.names)}.")
        if self.source == self.target:
            raise ParameterError(f"The source and the target of TriCDR are both '{self.target}'; name two domains.")
        out = np.where(found.codes == found.code(self.target), 1, 0).astype(np.int8)
        out[found.codes == found.code(self.source) if self.source else (found.codes >= 0) & (out == 0)] = 2
        if not (out == 2).any():
            raise DataError(f"All items of '{data.name}' are of the domain '{self.target}'; TriCDR learns from two.")
        return out

    def build(self, schema: Schema) -> TriCDRModel:
        """Empty encoders of the right sizes."""
        if self.embedding_dim % self.num_heads:
            raise ParameterError(
                f"num_heads ({self.num_heads}) must divide embedding_dim ({self.embedding_dim}) of TriCDR."
            )
        if len(self.contrast_shares) != 3 or min(self.contrast_shares) < 0 or not sum(self.contrast_shares):
            raise ParameterError(
                f"contrast_shares of TriCDR are three numbers from 0, not all 0. Got {self.contrast_shares}."
            )
        return TriCDRModel(self, schema)


@dataclass(slots=True)
class View(Sequences):
    """Windows of one view, with its name."""

    view: str = "mix"


class Reader(nn.Module):
    """The vectors of some items and an encoder over them."""

    def __init__(self, spec: TriCDR, items: int) -> None:
        super().__init__()
        self.items = nn.Embedding(items, spec.embedding_dim)
        nn.init.normal_(self.items.weight, std=0.02)
        self.encoder = Encoder(spec.embedding_dim, spec.num_layers, spec.num_heads, spec.max_length, spec.dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of the table [s, t], -1 pads -> states [s, t, d]."""
        out: Tensor = self.encoder.read(self.items(rows.clamp_min(0)), rows >= 0)
        return out


class TriCDRModel(Model):
    """Three readers, the attention between them, and what brings them together."""

    def __init__(self, spec: TriCDR, schema: Schema) -> None:
        super().__init__()
        self.spec, d = spec, spec.embedding_dim
        target, source = (schema.sizes.get(f"{n}_items", schema.num_items) for n in ("target", "source"))
        self.mix, self.source = Reader(spec, target + source), Reader(spec, source)
        self.target = Reader(spec, target)
        self.attention = AskedPooling(d)
        self.fuse = nn.Sequential(nn.Linear(3 * d, d), nn.LeakyReLU(), nn.Linear(d, d))
        make = lambda: nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))
        self.contrast = nn.ModuleDict({view: make() for view in VIEWS})

    # --- the data -----------------------------------------------------------------------------------------------
    def phases(self) -> Sequence[Phase]:
        """Each encoder alone, then everything."""
        alone = [Phase(name=v, moves=(f"{v}.",), epochs=self.spec.pretrain_epochs, looks=False) for v in VIEWS]
        return (*alone, Phase(name="joint"))

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """sides int8 [items], and the row of each item in its domain's table, int64 [items] (-1: in neither)."""
        sides = self.spec.sides(data)
        rows = np.full(len(sides), -1, np.int64)
        for side in (1, 2):
            rows[sides == side] = np.arange((sides == side).sum())
        return {"sides": torch.from_numpy(sides), "rows": torch.from_numpy(rows)}

    @property
    def sides(self) -> NDArray[np.int8]:
        """int8 [items]: 1 in the target, 2 in the source."""
        out: NDArray[np.int8] = self.facts["sides"].cpu().numpy()
        return out

    @property
    def candidates(self) -> Ids:
        """The items of the target."""
        return np.flatnonzero(self.sides == 1).astype(np.int32)

    @property
    def sampler(self) -> Sampler:
        """Uniform over the domain of the positive."""
        return InDomain()

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """One view's windows while it is trained alone, all three in line after that."""
        length = self.spec.max_length
        if phase.name == "joint":
            yield from aligned(data, self.sides, order, max_length=length, wants=1)
            return
        for batch in sequences(of_domains(data, self.sides, phase.name), order, max_length=length, wants=1):
            yield View(**{f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}, view=phase.name)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The sequences of an epoch."""
        if phase.name == "joint":
            return count_aligned(data, self.sides)
        return count_sequences(of_domains(data, self.sides, phase.name))

    def of_table(self, view: str, items: Tensor) -> Tensor:
        """Item codes of any shape as rows of the table of a view; -1 stays."""
        rows = self.facts["rows"][items.clamp_min(0)]
        if view == "mix":
            rows = rows + (self.facts["sides"][items.clamp_min(0)] == 2) * self.target.items.num_embeddings
        return rows.masked_fill(items < 0, -1)

    # --- the mathematics ----------------------------------------------------------------------------------------
    def gathered(self, items: Sequence[Tensor], known: Tensor, sequence: Tensor, slot: Tensor) -> list[Tensor]:
        """m, s, t of each prediction, each [b, d]. items: codes [s, ·] of mix, source, target; known [b, 3] as in `Aligned`."""
        states = [reader(self.of_table(v, x)) for v, reader, x in zip(VIEWS, self.readers, items, strict=True)]
        newest = [
            x[sequence, (n - 1).clamp_min(0)] * (n > 0).unsqueeze(-1)
            for x, n in zip(states, known.unbind(1), strict=True)
        ]
        if self.spec.attention == "last":
            return newest
        shape = (len(items[0]), int(slot.max()) + 1)
        asked = newest[2].new_zeros(*shape, newest[2].shape[-1]).index_put((sequence, slot), newest[2])
        until = known.new_zeros(*shape, 3).index_put((sequence, slot), known)
        visible = [
            (torch.arange(x.shape[1], device=x.device) < until[:, :, v, None]) & (x >= 0).unsqueeze(1)
            for v, x in enumerate(items)
        ]
        whole = (visible[0].float() @ states[0]) / visible[0].sum(-1, keepdim=True).clamp_min(1)
        found = [self.attention(f, v, asked, whole) for f, v in zip(states, visible, strict=True)]
        return [x[sequence, slot] for x in found]

    @property
    def readers(self) -> tuple[Reader, Reader, Reader]:
        """The encoders in the order of `VIEWS`."""
        return self.mix, self.source, self.target

    def represent(self, batch: Batch) -> Reps:
        """query [b, d], positive [b, d], negative [b, n, d], whose dot products are the logits; projections of the latest
        prediction of each sequence for the contrast."""
        assert batch.negatives is not None
        if isinstance(batch, View):
            reader: Reader = dict(zip(VIEWS, self.readers, strict=True))[batch.view]
            states = reader(self.of_table(batch.view, batch.inputs))
            vectors = lambda x: reader.items(self.of_table(batch.view, x))
            query = states.flatten(0, 1)[batch.place]
            return {
                "query": query,
                "positive": vectors(batch.items),
                "negative": vectors(batch.negatives.items),
            }
        assert isinstance(batch, Aligned)
        parts = self.gathered([getattr(batch, v) for v in VIEWS], batch.known, batch.sequence, batch.slot)
        unit = lambda x: F.normalize(self.target.items(self.of_table("target", x)), dim=-1)
        reps = {"query": self.spec.scale * F.normalize(self.fuse(torch.cat(parts, -1)), dim=-1)}
        reps.update(positive=unit(batch.items), negative=unit(batch.negatives.items))
        for view, part in zip(VIEWS, parts, strict=True):
            reps[f"_{view}"] = self.contrast[view](part[batch.last])
        return reps

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """bce [b]; contrast and triplet [b], those of a sequence at its latest prediction so that their means are over
        sequences. Sequences without an event in the source (or target) take no part where that is compared."""
        positive = (reps["query"] * reps["positive"]).sum(-1)
        negative = (reps["query"].unsqueeze(1) * reps["negative"]).sum(-1)
        out = {"bce": losses.binary_cross_entropy(positive, negative)}
        if not isinstance(batch, Aligned):
            return out
        there = batch.known[batch.last] > 0
        rows = torch.nonzero(batch.last)[:, 0]

        def spread(values: Tensor, among: Tensor) -> Tensor:
            share = len(batch) / max(1, int(among.sum()))
            return torch.zeros_like(positive).index_put((rows[among],), share * values)

        views = {v: reps[f"_{v}"] for v in VIEWS}
        if self.spec.contrast_weight:
            total = torch.zeros_like(positive)
            pairs = (("mix", "source"), ("mix", "target"), ("source", "target"))
            for (a, b), share in zip(pairs, self.spec.contrast_shares, strict=True):
                among = there[:, VIEWS.index(a)] & there[:, VIEWS.index(b)]
                values = losses.nt_xent(views[a][among], views[b][among], self.spec.temperature)
                total = total + spread(share / sum(self.spec.contrast_shares) * values, among)
            out["contrast"] = self.spec.contrast_weight * total
        if self.spec.triplet_weight:
            among = there.all(1)
            mix, source, target = (views[v][among] for v in VIEWS)
            out["triplet"] = self.spec.triplet_weight * spread(
                losses.triplet(source, mix, target, self.spec.margin), among
            )
        return out

    # --- scoring ------------------------------------------------------------------------------------------------
    def item_vectors(self) -> Tensor:
        """Unit vectors of the items of the target [i, d]; NaN for all others."""
        sides = self.facts["sides"]
        out = torch.full((len(sides), self.spec.embedding_dim), torch.nan, device=sides.device)
        out[sides == 1] = F.normalize(self.target.items.weight, dim=-1)
        return out

    def query_vectors(self, queries: Queries) -> Tensor:
        """What comes after the latest event of each history [q, d]; NaN where it holds none of either domain."""
        sides, device = self.sides, self.facts["sides"].device
        histories = queries.histories.keep(sides[queries.histories.items] > 0)
        out = torch.full((len(queries), self.spec.embedding_dim), torch.nan, device=device)
        known = np.flatnonzero(histories.lengths > 0)
        known = known[np.argsort(histories.lengths[known], kind="stable")]
        for start in range(0, len(known), 256):
            at = torch.from_numpy(known[start : start + 256]).to(device)
            views = windows(histories.take(known[start : start + 256]), sides, self.spec.max_length)
            items = [torch.from_numpy(x).to(device) for x in views]
            all_of_it = torch.stack([(x >= 0).any(1) * x.shape[1] for x in items], 1)
            here = torch.arange(len(at), device=device)
            parts = self.gathered(items, all_of_it, here, torch.zeros_like(here))
            out[at] = self.spec.scale * F.normalize(self.fuse(torch.cat(parts, -1)), dim=-1)
        return out
