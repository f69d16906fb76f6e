"""The classic of text search: words in common, rare ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset, Ids, Queries, Schema
from oakum.data.texts import item_texts, words_of
from oakum.engine.closed import ClosedForm, pick
from oakum.parameters import Range, Spec


class BM25(Spec):
    """Finds the items whose words are asked for: the rarer the word and the shorter the text, the more it counts.

    Paper: Robertson & Zaragoza 2009. s(q, d) = Σ_t n_q(t) idf(t) tf (k1 + 1) / (tf + k1 (1 − b + b |d| / mean |d|)) over the
    words of the request, idf(t) = ln(1 + (N − df + ½) / (df + ½)), which is never negative. Words are lower-case runs of
    letters and digits, not stemmed. A request without typed words asks with the texts of its history.
    Memory 12 bytes a distinct word of a text; time a request: the entries of its words. Newcomers: like everybody, by what
    they type or had; items without a text score NaN.
    """

    slug = "bm25"
    k1: Annotated[float, Range(0, 10, search=(0.6, 2.0)), "how slowly repeated words saturate"] = 1.2
    b: Annotated[float, Range(0, 1, search=(0.2, 0.9)), "how much long texts are held back"] = 0.75

    def build(self, schema: Schema) -> BM25Model:
        """An empty index."""
        return BM25Model(self, schema)


class BM25Model(ClosedForm):
    """Weights of words in texts, CSC [items, words]."""

    reads_content = True
    reads_requests = True

    spec: BM25
    words: dict[str, int]
    idf: NDArray[np.float64]
    mean: float
    weights: sparse.csr_matrix
    lengths: NDArray[np.int64]

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Count the words of all items."""
        texts = [words_of(t) for t in item_texts(data).texts]
        self.words = {w: i for i, w in enumerate(sorted({w for t in texts for w in t}))}
        self.lengths = np.array([len(t) for t in texts], np.int64)
        said = self.lengths > 0
        self.mean = float(self.lengths[said].mean()) if said.any() else 1.0
        rows, columns, counts = [], [], []
        for row, text in enumerate(texts):
            for word, count in Counter(text).items():
                rows.append(row)
                columns.append(self.words[word])
                counts.append(count)
        shape = (len(texts), len(self.words))
        tf = sparse.csr_matrix((np.array(counts, np.float64), (rows, columns)), shape=shape)
        df = np.bincount(np.array(columns, np.int64), minlength=shape[1])
        self.idf = np.log1p((said.sum() - df + 0.5) / (df + 0.5))
        tf.data = self.saturated(tf.data, np.repeat(self.lengths, np.diff(tf.indptr))) * self.idf[tf.indices]
        self.weights = tf

    def saturated(self, counts: NDArray[Any], lengths: Any) -> NDArray[np.float64]:
        """tf (k1 + 1) / (tf + k1 (1 − b + b |d| / mean |d|)); 0 where a word is absent."""
        k1, b = self.spec.k1, self.spec.b
        below = counts + k1 * (1 - b + b * lengths / self.mean)
        return np.divide(counts * (k1 + 1), below, out=np.zeros(np.shape(below)), where=np.asarray(counts) > 0)

    def codes(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Codes of words, int64 [n]; -1 for one that no item says."""
        return np.array([self.words.get(w, -1) for w in words], np.int64)

    def asked(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Codes of the known words of a request, and how much each counts: times asked · idf."""
        codes = self.codes(words_of(text))
        found, times = np.unique(codes[codes >= 0], return_counts=True)
        return found, times * self.idf[found]

    def score_words(self, text: str, documents: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Scores of documents given as word codes [n, length] (-1: a word that no item says), float64 [n]."""
        found, weights = self.asked(text)
        out = np.zeros(len(documents))
        for word, weight in zip(found, weights, strict=True):
            out += weight * self.saturated((documents == word).sum(1), documents.shape[1])
        return out

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """By typed words; by the words of the history where none were typed; NaN without either."""
        out = np.full((len(queries), len(self.lengths)), np.nan, np.float32)
        by_word = self.weights.tocsc()
        for row in range(len(queries)):
            text = "" if queries.text is None else queries.text[row]
            if words_of(text):
                found, weights = self.asked(text)
                times = weights / self.idf[found]
                out[row] = np.asarray(by_word[:, found] @ times).ravel()
            elif len(own := queries.histories.row(row)):
                told = np.asarray((self.weights[own] > 0).sum(0)).ravel()
                out[row] = np.asarray(self.weights @ told).ravel()
        out[:, self.lengths == 0] = np.nan
        return pick(out, items)

    def state(self) -> dict[str, NDArray[Any]]:
        """Words as bytes, weights, lengths."""
        w = self.weights
        return {
            "words": np.frombuffer("\n".join(self.words).encode() or b"\n", np.uint8).copy(),
            "idf": self.idf,
            "lengths": self.lengths,
            "mean": np.array([self.mean]),
            "indptr": w.indptr.astype(np.int64),
            "indices": w.indices.astype(np.int32),
            "data": w.data.astype(np.float64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        words = state["words"].tobytes().decode().split("\n") if len(state["idf"]) else []
        self.words = {w: i for i, w in enumerate(words)}
        self.idf, self.lengths, self.mean = state["idf"], state["lengths"], float(state["mean"][0])
        parts = (state["data"], state["indices"], state["indptr"])
        self.weights = sparse.csr_matrix(parts, shape=(len(self.lengths), len(words)))
