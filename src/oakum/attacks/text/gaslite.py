"""A passage that surfaces for a concept: words searched so that an encoder puts it amid the concept's queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Access, AddItems, Attack, Budget, Change, Goal, Nothing, Threat
from oakum.attacks.text.plausible import Bigrams
from oakum.attacks.text.tokens import Edit, Effort, Trace, token_search
from oakum.backends.embed import embed, embedder
from oakum.data.texts import item_texts
from oakum.errors import DataError, ParameterError
from oakum.kernels.kmeans import kmeans
from oakum.parameters import Range
from oakum.seeds import Rng

Floats = NDArray[np.floating[Any]]


class WhiteBox(Protocol):
    """An encoder with its insides open, as `backends.pretrained.Pretrained`."""

    def pieces(self, text: str) -> tuple[int, ...]: ...
    def text_of(self, pieces: Sequence[int]) -> str: ...
    def encode(self, texts: Sequence[str]) -> Floats: ...
    def table(self) -> Any: ...
    def vectors_at(self, rows: Any) -> Any: ...
    @property
    def ordinary(self) -> NDArray[np.int64]: ...


class GASLITE(Attack):
    """How many added items does it take until a message shows up for a whole concept?

    Paper: Ben-Tov & Sharif 2025. Over unit vectors Σ_q cos(q, p) = |Q| ⟨c, p⟩, so all queries of a concept are one
    vector: their centroid c (k-means gives one a passage). The passage is the message and a trigger of `length` word
    pieces; each round averages the gradient by one-hot over copies with one random piece changed, takes the `top` pieces a
    place, and goes through `flips` places, taking the best of `tried` pieces or none. Only texts that tokenise back to
    the same pieces stand. The concept is what the goal's items say; queries are never seen.
    search "hotflip" changes one random place a round, "gcg" takes one of all single changes: the paper's baselines.
    The message is a neutral marker; the item that carries it is added, nothing else changes.
    Memory top · pieces; time rounds · (copies + flips · tried) looks at the encoder. Newcomers: who asks plays no part.
    Differs: the start is a common word, not a language model's continuation; fluency is by bigrams of the catalogue.
    """

    slug = "gaslite"
    goals: ClassVar[tuple[str, ...]] = ("promote",)
    threat = Threat.LOG | Threat.CATALOGUE
    writes = True
    knowledge = "the public text encoder with its gradients, and how a concept is written about"

    encoder: Annotated[str, "minilm, or the folder of the encoder that is audited"] = "minilm"
    message: Annotated[str, "a neutral phrase that marks the passage"] = "This is a harmless marker sentence."
    length: Annotated[int, Range(1, 256), "word pieces of the trigger L"] = 20
    rounds: Annotated[int, Range(0, 1000), "gradients taken"] = 12
    copies: Annotated[int, Range(1, 256), "copies that a gradient is averaged over"] = 8
    top: Annotated[int, Range(1, 4096), "pieces a place that the gradient proposes"] = 256
    tried: Annotated[int, Range(1, 1024), "of these, how many are tried: half the best, half at random"] = 48
    flips: Annotated[int, Range(1, 256), "places gone through a round"] = 8
    beam: Annotated[int, Range(1, 64), "texts kept"] = 1
    fluency: Annotated[float, Range(0, 10), "weight of the mean log probability of a word"] = 0.0
    search: Annotated[Literal["gaslite", "hotflip", "gcg"], "which places a round changes"] = "gaslite"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """Passages within the budget's items: one a centroid of what the targets say."""
        if not budget.items:
            return Nothing()
        from oakum.backends.pretrained import Pretrained

        encoder = embedder(self.encoder)
        if not isinstance(encoder, Pretrained):
            raise ParameterError(f"'{self.encoder}' gives no gradients; give minilm or the folder of an encoder.")
        texts = item_texts(access.log()).texts
        concept = [texts[c] for c in goal.targets if texts[c]]
        if not concept:
            raise DataError("None of the goal's items says anything, so there is no concept to surface for.")
        model = Bigrams(texts) if self.fluency else None
        found = [self.passage(encoder, c, rng, model)[0] for c in centroids(embed(concept, encoder), budget.items, rng)]
        return AddItems(tuple(found))

    def passage(
        self, encoder: WhiteBox, centroid: Floats, rng: Rng, language: Bigrams | None = None
    ) -> tuple[str, Trace]:
        """One text for one centroid [dim], and how it was found."""
        head = encoder.pieces(self.message)
        if not head:
            raise ParameterError("The message has no words.")
        start = head + (encoder.pieces("the") * self.length)[: self.length]
        if encoder.pieces(encoder.text_of(start)) != start:
            raise ParameterError(
                f"The message and {self.length} pieces do not come back from the tokenizer as they are: the encoder reads "
                "fewer, or the message holds signs that it changes; give a shorter or a plainer one."
            )

        def objective(many: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
            texts = [encoder.text_of(t) for t in many]
            value = encoder.encode(texts).astype(np.float64) @ centroid
            if language is not None and self.fluency:
                value -= self.fluency * np.log([language.perplexity(t) for t in texts])
            return value

        def keep(tokens: tuple[int, ...]) -> tuple[int, ...] | None:
            return tokens if encoder.pieces(encoder.text_of(tokens)) == tokens else None

        def candidates(here: tuple[int, ...]) -> Iterator[list[Edit]]:
            ordinary = encoder.ordinary
            scores = self.first_order(encoder, here, centroid, len(head), rng)[:, ordinary]
            width = min(self.top, len(ordinary))
            best = np.argpartition(-scores, width - 1, axis=1)[:, :width]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)
            size = len(here) - len(head)
            if self.search == "gcg":
                at, which = (
                    rng.integers(size, size=self.flips * self.tried),
                    rng.integers(width, size=self.flips * self.tried),
                )
                yield [Edit(len(head) + int(p), int(ordinary[best[p, w]])) for p, w in zip(at, which, strict=True)]
                return
            count = 1 if self.search == "hotflip" else min(self.flips, size)
            for p in np.sort(rng.choice(size, count, replace=False)):
                chosen = best[p] if self.search == "hotflip" else self._some(best[p], rng)
                yield [Edit(len(head) + int(p), int(ordinary[w])) for w in chosen]

        effort = Effort(steps=self.rounds, beam=self.beam)
        tokens, trace = token_search(objective, start, candidates, effort, keep)
        return encoder.text_of(tokens), trace

    def _some(self, best: NDArray[Any], rng: Rng) -> NDArray[Any]:
        """Half the best, half drawn from the rest."""
        half = min(len(best), (self.tried + 1) // 2)
        rest = best[half:]
        drawn = rng.choice(rest, min(self.tried - half, len(rest)), replace=False) if len(rest) else rest
        return np.concatenate([best[:half], drawn])

    def first_order(self, encoder: WhiteBox, tokens: tuple[int, ...], centroid: Floats, fixed: int, rng: Rng) -> Floats:
        """Gradient of the objective by one-hot [places, pieces]: rows of length 1, averaged over copies in which one
        random place holds a random piece."""
        many = np.tile(np.array(tokens, np.int64), (self.copies, 1))
        for row in range(1, self.copies):
            many[row, fixed + int(rng.integers(len(tokens) - fixed))] = int(rng.choice(encoder.ordinary))
        grads = one_hot_gradient(encoder, many, centroid)[:, fixed:]
        norms = np.linalg.norm(grads, axis=2, keepdims=True)
        out: Floats = (grads / np.maximum(norms, 1e-12)).mean(0)
        return out


def one_hot_gradient(encoder: WhiteBox, tokens: NDArray[np.int64], centroid: Floats) -> Floats:
    """∂⟨E(x), c⟩ / ∂ one-hot of each place: tokens [n, t] -> [n, t, pieces]."""
    import torch

    from oakum.engine.inputs import slope

    table = encoder.table()
    rows = table[torch.from_numpy(tokens).to(table.device)]
    target = torch.from_numpy(np.asarray(centroid)).to(table)
    objective: Callable[[Any], Any] = lambda x: encoder.vectors_at(x) @ target
    with torch.no_grad():
        out: Floats = (slope(objective, rows) @ table.T).cpu().numpy()
    return out


def centroids(queries: Floats, count: int, rng: Rng) -> Floats:
    """The mean direction of each of `count` groups of unit queries, float32 [count, dim], of length 1."""
    unit = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    if count < 2:
        means = unit.mean(0, keepdims=True)
    else:
        means = kmeans(unit, min(count, len(unit)), spherical=True, seed=int(rng.integers(1 << 31)))[0]
    out: Floats = (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return out


def appeared(queries: Floats, corpus: Floats, passages: Floats, k: int = 10) -> NDArray[np.bool_]:
    """Whether at least one passage is among each query's first k, bool [queries]; ties go to the corpus.

    Measured from vectors of texts: [q, d] queries, [n, d] the corpus, [p, d] what was added to it.
    """
    own = queries @ corpus.T
    k = min(k, own.shape[1])
    last = np.partition(own, own.shape[1] - k, axis=1)[:, own.shape[1] - k]
    out: NDArray[np.bool_] = (queries @ passages.T).max(1) > last
    return out
