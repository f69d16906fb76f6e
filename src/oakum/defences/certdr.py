"""A proof that no rewording by synonyms brings a document into the top of a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.text.synonyms import Synonyms
from oakum.backends.embed import embed, embedder
from oakum.data import Dataset, Ids, Queries
from oakum.data.texts import item_texts, words_of
from oakum.defences.base import Defence
from oakum.engine.closed import pick
from oakum.errors import ParameterError
from oakum.parameters import Range
from oakum.seeds import generator

Floats = NDArray[np.float64]

#: What a certificate speaks of.
THREAT = (
    "one document of the list outside its first k is reworded by replacing {count} words by allowed synonyms; insertions, "
    "deletions, paraphrase, several documents at once and documents outside the list are not covered"
)


class CertDR(Defence):
    """Shows which result lists no rewording by synonyms can change, and makes more of them so.

    Paper: Wu et al. 2022. f(q, d) = E g(q, Z), Z = d with every word drawn afresh from its set P_w, g in [0, 1]. For any d'
    made by at most R substitutions |f(q, d') − f(q, d)| ≤ o_d = 1 − Π q_w over the R smallest q_w, q_w the least overlap of
    P_w with the set of a word that may be put there. A list is certified at k where f(d_r) + o_r + e < f(d_k) for all r > k;
    e = 2 √(ln(2 n / α) / (2 m)) covers the m draws of all n documents at once.
    The first `depth` items of the victim's list are ranked by f; what comes after keeps its place. g is a fixed sigmoid
    of the score, ((s − centre) / scale): a bound that read other documents would void the proof.
    Memory 4 m · words of the documents that were listed; time depth · m looks at the victim a query; draws are shared by queries.
    Differs: overlaps divide by the larger set (by the own set they are unsound); e holds for the whole list; the
    certificate compares each document with d_k (`tight`), the authors' takes the worst gap and the worst bound apart.
    """

    slug = "certdr"
    encoder: Annotated[str, "encoder of single words that synonyms are made from"] = "minilm"
    threshold: Annotated[float, Range(0, 1), "dot product above which words are synonyms, t"] = 0.6
    cap: Annotated[int, Range(1, 10_000), "words of a set P_w at most, c"] = 100
    directions: Annotated[int, Range(0, 64), "principal directions taken out of the word vectors"] = 8
    samples: Annotated[int, Range(1, 100_000), "draws a document, m"] = 200
    alpha: Annotated[float, Range(above=0, below=1), "chance that the draws mislead a certificate"] = 0.05
    depth: Annotated[int, Range(2, 10_000), "documents ranked by f, n"] = 20
    substitutions: Annotated[int, Range(0), "words that may be replaced, R; 0 sets no limit"] = 0
    centre: Annotated[float, Range(), "score that g takes to one half"] = 10.0
    scale: Annotated[float, Range(above=0), "score that g takes from one half to 0.73"] = 2.0
    seed: Annotated[int, Range(0), "of the draws"] = 0

    def synonyms(self, data: Dataset) -> Synonyms:
        """Words that two items or more say, and which of them may stand for each other."""
        counts: dict[str, int] = {}
        for text in item_texts(data).texts:
            for word in set(words_of(text)):
                counts[word] = counts.get(word, 0) + 1
        words = sorted(w for w, c in counts.items() if c > 1 and w.isalpha())
        vectors = embed(words, embedder(self.encoder).fitted(words))
        return Synonyms.from_vectors(words, vectors, self.threshold, cap=self.cap, directions=self.directions)

    def wrap(self, fitted: Any, data: Dataset) -> Smoothed:
        """The smoothed ranker in the place of one that scores words (`score_words`, as bm25 does)."""
        if not hasattr(fitted.scorer, "score_words"):
            raise ParameterError(
                f"certdr smooths rankers of text that score words they are given, as 'bm25'; '{fitted.spec.slug}' does not."
            )
        return Smoothed(self, fitted.scorer, item_texts(data).texts, self.synonyms(data))


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """One list. items: sorted by f; f, bound: smoothed scores and o_d; slack: e; margin: how far the nearest document
    stays below d_k at worst; certified: whether it is above 0; plain: by the authors' looser rule; threat: what is covered."""

    items: Ids
    f: Floats
    bound: Floats
    slack: float
    k: int
    margin: float
    certified: bool
    plain: bool
    threat: str


class Smoothed:
    """Ranks by f, and says which lists are certain."""

    def __init__(self, spec: CertDR, base: Any, texts: tuple[str, ...], synonyms: Synonyms) -> None:
        self.spec, self.base, self.synonyms = spec, base, synonyms
        self._texts = [words_of(t) for t in texts]
        self._own = base.codes(synonyms.words)
        self._drawn: dict[int, NDArray[np.int64]] = {}

    def document(self, words: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A text as codes among the synonyms (-1: none), and as the victim's own codes."""
        return np.array([self.synonyms.codes.get(w, -1) for w in words], np.int64), self.base.codes(words)

    def drawn(self, words: list[str], uniform: Floats) -> NDArray[np.int64]:
        """Draws of Z in the victim's codes [m, n]."""
        mine, theirs = self.document(words)
        codes = self.synonyms.draws(mine, uniform)
        return np.where(codes >= 0, self._own[np.maximum(codes, 0)] if len(self._own) else codes, theirs)

    def uniform(self, item: int) -> Floats:
        """The randomness of a document, the same for every query and for every rewording of it: [m, n]."""
        rng = generator(self.spec.seed, "certdr", item)
        return rng.random((self.spec.samples, len(self._texts[item])))

    def bounded(self, scores: Any) -> Floats:
        """g in [0, 1]."""
        z = np.clip((np.asarray(scores, np.float64) - self.spec.centre) / self.spec.scale, -60, 60)
        return np.asarray(1 / (1 + np.exp(-z)))

    def smoothed(self, text: str, item: int, words: list[str] | None = None) -> float:
        """f of an item, or of a rewording of it that has as many words."""
        if words is None:
            if item not in self._drawn:
                self._drawn[item] = self.drawn(self._texts[item], self.uniform(item)).astype(np.int32)
            drawn = self._drawn[item]
        else:
            drawn = self.drawn(words, self.uniform(item))
        return float(self.bounded(self.base.score_words(text, drawn)).mean())

    def bound(self, item: int) -> float:
        """o_d."""
        mine, _ = self.document(self._texts[item])
        return bound_of(self.synonyms.overlaps[mine[mine >= 0]], self.spec.substitutions)

    def listed(self, text: str) -> Ids:
        """The victim's first `depth` items."""
        from oakum.data import Ragged

        asked = Queries(np.array([-1], np.int32), Ragged.empty(1), None, [text])
        scores = self.base.score(asked)[0]
        known = np.flatnonzero(np.isfinite(scores))
        return known[np.argsort(-scores[known], kind="stable")[: self.spec.depth]].astype(np.int32)

    def certify(self, text: str, k: int = 10) -> Certificate:
        """The list of one query and whether its first k are certain."""
        items = self.listed(text)
        if not 1 <= k < len(items):
            raise ParameterError(
                f"A list of {len(items)} documents is certified at k from 1 to {len(items) - 1}. Got {k}."
            )
        f = np.array([self.smoothed(text, int(i)) for i in items])
        order = np.argsort(-f, kind="stable")
        items, f = items[order], f[order]
        o = np.array([self.bound(int(i)) for i in items])
        e = slack(self.spec.samples, self.spec.alpha, len(items))
        margin = float((f[k - 1] - f[k:] - o[k:]).min() - e)
        plain = bool(f[k - 1] - f[k] - o[k:].max() - e > 0)
        count = f"at most {self.spec.substitutions}" if self.spec.substitutions else "any number of"
        return Certificate(items, f, o, e, k, margin, margin > 0, plain, THREAT.format(count=count))

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """f for the items of the list, g − 1 for those after it, so that they stay below."""
        base = self.base.score(queries)
        out = np.where(np.isfinite(base), self.bounded(np.nan_to_num(base)) - 1, np.nan).astype(np.float32)
        if queries.text is not None:
            for row, text in enumerate(queries.text):
                if words_of(text):
                    for item in self.listed(text).tolist():
                        out[row, item] = self.smoothed(text, item)
        return pick(out, items)


def bound_of(overlaps: Floats, substitutions: int = 0) -> float:
    """o = 1 − Π of the `substitutions` smallest overlaps; of all of them for 0."""
    worst = np.sort(overlaps)[: substitutions or None]
    return float(1 - np.prod(worst))


def slack(samples: int, alpha: float, documents: int = 1) -> float:
    """e: what the draws may mislead two scores by, with chance alpha over all documents of a list (Hoeffding)."""
    return float(2 * np.sqrt(np.log(2 * documents / alpha) / (2 * samples)))
