"""How plausible written text is, as the framework sees it: how far it moved from what it was, and how it reads."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.changes import Budget
from oakum.backends.embed import embed, embedder
from oakum.data import Dataset
from oakum.data.texts import item_texts, words_of


class Bigrams:
    """A small language model of a corpus: p(w | v) = (n(v, w) + m p(w)) / (n(v) + m), p(w) = (n(w) + 1) / (N + V + 1).

    Memory: pairs that occur; time: words. It knows a fluent text of its catalogue from a string of searched words, no more.
    """

    def __init__(self, texts: Sequence[str], mass: float = 1.0) -> None:
        self.mass = mass
        self.singles: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        for text in texts:
            words = ["", *words_of(text)]
            self.singles.update(words[1:])
            self.starts.update(words[:-1])
            self.pairs.update(itertools.pairwise(words))
        self.total = sum(self.singles.values())

    def perplexity(self, text: str) -> float:
        """exp of the mean surprise of a word given the one before; at least 1, and 1 for a text without words."""
        words = ["", *words_of(text)]
        if len(words) == 1:
            return 1.0
        loss = 0.0
        for before, word in itertools.pairwise(words):
            alone = (self.singles[word] + 1) / (self.total + len(self.singles) + 1)
            loss -= np.log((self.pairs[before, word] + self.mass * alone) / (self.starts[before] + self.mass))
        return float(np.exp(loss / (len(words) - 1)))

    def relative(self, texts: Sequence[str], median: float) -> NDArray[np.float64]:
        """Perplexities in medians of the corpus, float64 [n]."""
        return np.array([self.perplexity(t) for t in texts]) / max(median, 1.0)


def similarity(old: Sequence[str], new: Sequence[str], judge: str = "minilm") -> NDArray[np.float32]:
    """Cosine of each text with what it became, float32 [n]; 0 where either says nothing, unless both are the same."""
    encoder = embedder(judge).fitted([*old, *new])
    vectors = embed([*old, *new], encoder, keep=False)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    out = (vectors[: len(old)] * vectors[len(old) :]).sum(1)
    out[[a == b for a, b in zip(old, new, strict=True)]] = 1.0
    return out.astype(np.float32)


def implausibility(before: Dataset, after: Dataset, judge: str = "minilm", *, limited: bool = True) -> Budget:
    """What written text costs: norm is the largest 1 − cosine among rewritten items; perplexity (where it is limited)
    the largest of a rewritten or added text under bigrams of the catalogue as it was, in medians of the catalogue's.

    Both are of the text that a model reads, all columns joined.
    """
    old, new = item_texts(before).texts, item_texts(after).texts
    moved = [c for c, t in enumerate(old) if new[c] != t]
    norm = 0.0
    if moved:
        cosines = similarity([old[c] for c in moved], [new[c] for c in moved], judge)
        norm = float(max(0.0, 1.0 - cosines.min()))
    written = [new[c] for c in moved] + list(new[len(old) :])
    strange = 0.0
    if limited and written:
        model = Bigrams(old)
        median = float(np.median([model.perplexity(t) for t in old if t] or [1.0]))
        strange = float(model.relative(written, median).max())
    return Budget(norm=norm, perplexity=strange)
