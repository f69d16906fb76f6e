"""A sequence model over text-derived item tokens, for catalogues it has never seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.backends import item_vectors
from oakum.backends.embed import width_of
from oakum.data import Dataset, Filter, Ids, Queries, Ranking, Schema
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError, ParameterError
from oakum.nn.attention import Block, causal_mask, dropped
from oakum.nn.decode import Trie, beam, best, exact
from oakum.nn.quantize import FSQ
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import Sequences, count_sequences, pad_left, sequences
from oakum.seeds import keyed_hash

TIE = 1e-4  # weight of the cosine that tells items of one code apart: far below what tells codes apart
REQUESTS = 64  # requests read at a time


class RecGPT(Spec):
    """Recommends from any catalogue with text, also one it was not trained on: items are short codes made of their words.

    Paper: RecGPT (Jiang et al. 2025). A frozen encoder turns an item's text into e; `num_slices` slices of e are quantised
    (FSQ, `levels`) to one token each by a tokeniser trained to rebuild e (L1). A GPT-2 reads histories: input LN(token) +
    LN(W slice), bidirectional inside an item, causal between items; the states at the tokens of item n predict all tokens of
    item n + 1 at once: score(i) = Σ_k log p_k(code_i[k]). `decode` "exact" scores every item so, "beam" is the published
    search, which finds at most `beam_width` codes. No table has a row an item or a user: `refresh` with other data tokenises
    their catalogue and keeps all weights. Memory: items · (4 · text width + 8 · num_slices) bytes of facts, weights of the
    vocabulary Π levels; time: events · num_slices · layers · 12 d² an epoch, and a few look-ups an item and request. Newcomers:
    their history is read, as everybody's is. The defaults are a form for a CPU. The published one: encoder all-mpnet-base-v2,
    levels 8,8,8,6,5, embedding_dim 768, num_layers 3, num_heads 12, max_length 256, tokeniser_epochs 100, learning_rate 1e-4.
    Differs from the paper in this: positions count items back from the latest (the reference counts from the first in
    training and from the start of the padding in use, so its scores depend on batch mates); items of one code are all kept,
    the one whose text is nearest to what was predicted first; there is no temperature (it scales scores and changes no
    order); vectors have length √width before they are quantised; windows of like lengths share a batch.
    """

    slug = "recgpt"
    encoder: Annotated[str, "text encoder: minilm, hashed, hashed:DIM, a folder or a name at the hub"] = "minilm"
    levels: Annotated[tuple[int, ...], "levels of the quantiser; the vocabulary is their product"] = (8, 6, 5)
    num_slices: Annotated[int, Range(1, 64), "tokens of an item; divides the encoder's width"] = 4
    embedding_dim: Annotated[int, Range(1, 4096, search=(64, 256), log=True), "width d of the sequence model"] = 128
    num_layers: Annotated[int, Range(1, 48, search=(1, 4)), "blocks of the sequence model"] = 2
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides embedding_dim"] = 4
    max_length: Annotated[int, Range(1, 4096, search=(20, 256), log=True), "items read, the latest ones"] = 50
    dropout: Annotated[float, Range(0, below=1, search=(0.0, 0.3)), "share of the sequence model's values dropped"] = (
        0.1
    )
    tokeniser_layers: Annotated[int, Range(1, 12), "blocks of the tokeniser's decoder"] = 2
    tokeniser_epochs: Annotated[int, Range(0, 10_000), "passes over the catalogue that train the tokeniser"] = 20
    decode: Annotated[Literal["exact", "beam"], "score every item, or search beams as published"] = "exact"
    beam_width: Annotated[int, Range(4, 65_536), "beams kept; half as many first tokens, a quarter from each beam"] = 20

    def plan(self) -> Plan:
        """AdamW as published, at a rate for few epochs on little data; the tokeniser takes four items a sequence."""
        return Plan(
            optimiser="adamw", learning_rate=1e-3, weight_decay=0.01, batch_size=64, epochs=10, evaluate_every=1, patience=2
        )  # fmt: skip

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """The width of the encoder's vectors."""
        return {"text_dim": width_of(self.encoder)}

    def build(self, schema: Schema) -> RecGPTModel:
        """An empty tokeniser and an empty sequence model; sizes of the encoder alone."""
        width = schema.sizes["text_dim"] if "text_dim" in schema.sizes else width_of(self.encoder)
        if width % self.num_slices:
            raise ParameterError(
                f"num_slices ({self.num_slices}) must divide the width of the encoder ({width}) of RecGPT."
            )
        if self.embedding_dim % self.num_heads:
            raise ParameterError(
                f"num_heads ({self.num_heads}) must divide embedding_dim ({self.embedding_dim}) of RecGPT."
            )
        if not self.levels or any(not isinstance(n, int) or n < 2 for n in self.levels):
            raise ParameterError(
                f"The levels of RecGPT must be whole numbers of at least 2. Got {self.levels!r} instead."
            )
        return (BeamRecGPTModel if self.decode == "beam" else RecGPTModel)(self, width)


class Tokeniser(nn.Module):
    """Text vectors to tokens, and from what the tokens keep back to vectors."""

    def __init__(self, width: int, num_slices: int, levels: tuple[int, ...], num_layers: int) -> None:
        super().__init__()
        self.num_slices, self.scale = num_slices, width**0.5
        part = width // num_slices
        self.fsq = FSQ(part, levels)
        self.positions = nn.Embedding(num_slices, part)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(
            Block(part, math.gcd(8, part), 0.2, hidden=4 * part, activation=F.gelu) for _ in range(num_layers)
        )
        self.inner, self.outer = nn.Linear(part, width), nn.Linear(width, width)

    def slices(self, vectors: Tensor) -> Tensor:
        """[n, width] -> [n, num_slices, part]."""
        return vectors.unflatten(-1, (self.num_slices, -1))

    def codes(self, vectors: Tensor) -> Tensor:
        """[n, width] -> int64 [n, num_slices]."""
        return self.fsq.codes(self.slices(vectors * self.scale))

    def forward(self, vectors: Tensor) -> Tensor:
        """What is rebuilt of the scaled vectors, [n, width]."""
        x = dropped(self.fsq(self.slices(vectors * self.scale)) + self.positions.weight, 0.1, self.training)
        for block in self.blocks:
            x = dropped(block(x, None), 0.2, self.training)
        out: Tensor = self.outer(torch.relu(self.inner(x[:, -1])))
        return out


class Reader(nn.Module):
    """The sequence model: GPT-2 blocks over tokens with the slice that each stands for beside it."""

    def __init__(self, spec: RecGPT, part: int, vocabulary: int) -> None:
        super().__init__()
        d, self.num_slices, self.dropout = spec.embedding_dim, spec.num_slices, spec.dropout
        self.tokens = nn.Embedding(vocabulary, d)
        self.positions = nn.Embedding(spec.max_length * spec.num_slices, d)
        self.side = nn.Linear(part, d, bias=False)
        self.norm_tokens, self.norm_side, self.norm = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        gelu = nn.GELU("tanh")
        self.blocks = nn.ModuleList(
            Block(d, spec.num_heads, spec.dropout, hidden=4 * d, activation=gelu) for _ in range(spec.num_layers)
        )
        self.head = nn.Linear(d, vocabulary, bias=False)
        for weight in (self.tokens.weight, self.positions.weight, self.head.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, codes: Tensor, slices: Tensor, there: Tensor, place: Tensor) -> Tensor:
        """codes int64 [s, t, k], slices [s, t, k, part], there bool [s, t] (no padding), place int64 [b] flat in
        [s · t] -> the states [b, k, d] at the tokens of those items."""
        x = self.norm_tokens(self.tokens(codes)) + self.norm_side(self.side(slices))
        back = torch.arange(codes.shape[1] - 1, -1, -1, device=codes.device).unsqueeze(1)  # items from the latest
        place_of = back * self.num_slices + torch.arange(self.num_slices, device=codes.device)
        x = (x + self.positions(place_of)) * there[:, :, None, None]
        x = dropped(x, self.dropout, self.training).flatten(1, 2)
        mask = causal_mask(there, self.num_slices)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x.unflatten(1, (-1, self.num_slices)).flatten(0, 1)[place])
        return out


class RecGPTModel(Model):
    """A tokeniser, trained first and then frozen, and a reader of token sequences."""

    reads_content = True
    transfers = True

    def __init__(self, spec: RecGPT, text_dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.tokeniser = Tokeniser(text_dim, spec.num_slices, spec.levels, spec.tokeniser_layers)
        self.reader = Reader(spec, text_dim // spec.num_slices, self.tokeniser.fsq.size)

    def phases(self) -> tuple[Phase, ...]:
        """The tokeniser by itself, then the sequence model over its frozen codes."""
        first = Phase(name="tokeniser", moves=("tokeniser.",), epochs=self.spec.tokeniser_epochs, looks=False)
        return first, Phase(name="main", moves=("reader.",))

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Text vectors [items, width] (a zero row: no text); then codes int64 [items, num_slices], -1 without text."""
        if phase.name == "tokeniser":
            state = {k: v.cpu().numpy() for k, v in self.facts.items() if k.startswith("text_")}
            found = item_vectors(data, self.spec.encoder, state=state)
            return {
                "vectors": torch.from_numpy(found.vectors),
                **{k: torch.from_numpy(v) for k, v in found.state.items()},
            }
        vectors = self.facts["vectors"]
        if not bool(vectors.any()):
            raise DataError(f"RecGPT knows items by their text, and no item of '{data.name}' has any.")
        with torch.no_grad():
            codes = torch.cat([self.tokeniser.codes(part) for part in vectors.split(4096)])
        return {"codes": codes.masked_fill(~vectors.any(1, keepdim=True), -1)}

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """The catalogue, shuffled; then every user's latest events, a target at each place."""
        known = self.facts["vectors"].any(1).cpu().numpy()
        if phase.name == "tokeniser":
            items = np.flatnonzero(known)
            items = items[np.argsort(keyed_hash(order.key("items"), items), kind="stable")]
            return (Batch(part) for part in torch.from_numpy(items).split(4 * order.batch_size))
        log = data.interactions
        if not known.all():
            data = data.with_interactions(log.take(known[log.items]))
        return sequences(data, order, max_length=self.spec.max_length)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Sequences of an epoch; the items of the catalogue, four counted as one, for the tokeniser."""
        return -(-data.num_items // 4) if phase.name == "tokeniser" else count_sequences(data)

    def represent(self, batch: Batch) -> Reps:
        """query: the states at the tokens of the item before the target, side by side [b, k · d]; positive: the head's
        rows of the target's tokens [b, k · d]. Of the tokeniser: the text vectors and what is rebuilt of them."""
        if not isinstance(batch, Sequences):
            vectors = self.facts["vectors"][batch.rows]
            return {"_text": vectors * self.tokeniser.scale, "_rebuilt": self.tokeniser(vectors)}
        states = self._states(batch.inputs, batch.place)
        positive = self.reader.head.weight[self.facts["codes"][batch.items]]
        return {"query": states.flatten(1), "positive": positive.flatten(1)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """The cross-entropy of each target's tokens, averaged; the L1 of the tokeniser."""
        if not isinstance(batch, Sequences):
            return {"l1": (reps["_rebuilt"] - reps["_text"]).abs().mean(-1)}
        head = self.reader.head.weight
        query, positive = (
            reps[name].unflatten(1, (self.spec.num_slices, -1)).flatten(0, 1) for name in ("query", "positive")
        )
        token = self.facts["codes"][batch.items].flatten()
        return {"softmax": losses.softmax(query, positive, head, token).view(len(batch), -1).mean(1)}

    def _states(self, inputs: Tensor, place: Tensor) -> Tensor:
        safe = inputs.clamp_min(0)
        slices = self.tokeniser.slices(self.facts["vectors"][safe])
        return self.reader(self.facts["codes"][safe].clamp_min(0), slices, inputs >= 0, place)  # type: ignore[no-any-return]

    # --- answers ------------------------------------------------------------------------------------------------
    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """Σ_k log p_k(code[k]) and, to tell items of one code apart, a trace of the cosine to the predicted text."""
        device = self.facts["codes"].device
        shape = (len(queries), len(self.facts["codes"]) if items is None else items.shape[-1])
        out = torch.full(shape, torch.nan, device=device)
        chosen = None if items is None else torch.from_numpy(items.astype(np.int64)).to(device)
        for at, log_probs, text in self._read(queries):
            out[at] = self._scored(log_probs, text, chosen if chosen is None or chosen.dim() == 1 else chosen[at])
        return out

    def _read(self, queries: Queries) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Blocks of requests that can be answered: their places, log-probabilities [b, k, v] of the next item's tokens,
        and the text vector [b, width] that these say on average."""
        histories = queries.histories.only((self.facts["codes"][:, 0] >= 0).cpu().numpy())
        lengths = np.minimum(histories.lengths, self.spec.max_length)
        order = np.argsort(lengths, kind="stable")[(lengths == 0).sum() :]
        fsq = self.tokeniser.fsq
        every = fsq.digits(torch.arange(fsq.size, device=fsq.levels.device)) / (fsq.levels // 2)
        for start in range(0, len(order), REQUESTS):
            at = order[start : start + REQUESTS]
            inputs = torch.from_numpy(pad_left(histories.take(at), int(lengths[at].max()))).to(every.device)
            last = torch.arange(1, len(at) + 1, device=every.device) * inputs.shape[1] - 1
            log_probs = torch.log_softmax(self.reader.head(self._states(inputs, last)), -1)
            text = fsq.project_out(log_probs.exp() @ every).flatten(1)
            yield torch.from_numpy(at).to(every.device), log_probs, text

    def _scored(self, log_probs: Tensor, text: Tensor, items: Tensor | None) -> Tensor:
        at = slice(None) if items is None else items.clamp_min(0)
        vectors = self.cached("unit vectors", lambda: F.normalize(self.facts["vectors"], dim=-1))[at]
        codes, text = self.facts["codes"][at], F.normalize(text, dim=-1)
        near = text @ vectors.T if vectors.dim() == 2 else (vectors @ text.unsqueeze(-1)).squeeze(-1)
        lacking = codes[..., 0] < 0 if items is None else (codes[..., 0] < 0) | (items < 0)
        return (exact(log_probs, codes.clamp_min(0)) + TIE * near).masked_fill(lacking, torch.nan)


class BeamRecGPTModel(RecGPTModel):
    """Makes its lists by the published search along the trie of the catalogue."""

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        """The items of at most `beam_width` codes a request, best first. The trie holds what anybody may be shown;
        what one request excludes is taken out of its list afterwards, which may then end early."""
        codes, width = self.facts["codes"], self.spec.beam_width
        shut = where.closed(len(codes))
        allowed = codes[:, 0] >= 0
        if shut is not None:
            allowed = allowed & torch.from_numpy(~shut).to(codes.device)
        items = torch.nonzero(allowed).flatten()
        trie = Trie(codes[items], items)
        found = Ranking(np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), np.nan, np.float32))
        for at, log_probs, text in self._read(queries):
            step = lambda depth, prefix, p=log_probs: p[:, depth, None].expand(-1, prefix.shape[1], -1)
            leaves, _ = beam(trie, step, len(at), first=width // 2, each=width // 4, keep=width)
            named = trie.expand(leaves)
            rows = at.cpu().numpy()
            closed = torch.from_numpy(where.take(rows).closed_rows(len(codes), len(at))).to(codes.device)
            score = self._scored(log_probs, text, named)
            items, score = best(named, score.masked_fill(closed.gather(1, named.clamp_min(0)), torch.nan), k)
            found.items[rows, : items.shape[1]] = items.cpu().numpy()
            found.scores[rows, : items.shape[1]] = score.cpu().numpy()
        return found
