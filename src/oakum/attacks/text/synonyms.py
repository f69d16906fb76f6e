"""Which words may stand for which: what an attacker may substitute, and what a defender averages over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from oakum.errors import DataError

Floats = NDArray[np.floating]
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Synonyms:
    """words: the vocabulary. allowed: S(w), codes that may be put for w (never w itself). sets: P_w, the codes that w is
    averaged over, w among them. Both are the same length as `words`."""

    words: tuple[str, ...]
    allowed: tuple[NDArray[np.int64], ...]
    sets: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, words: Sequence[str], pairs: Sequence[tuple[int, int]], cap: int = 100) -> Synonyms:
        """From pairs of codes, both ways; P_w is the connected component, cut to the first `cap` by code where larger
        (from vectors: the nearest)."""
        at = np.array(pairs, np.int64).reshape(-1, 2)
        at = np.concatenate([at, at[:, ::-1]])
        graph = sparse.csr_matrix((np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(len(words), len(words)))
        return cls._built(words, graph, cap, None)

    @classmethod
    def from_vectors(
        cls, words: Sequence[str], vectors: Floats, threshold: float = 0.9, *, cap: int = 100, directions: int = 8
    ) -> Synonyms:
        """S(w): words whose vectors have a dot product above the threshold, after rows are put on the unit sphere, the mean
        is taken out, and then the first `directions` principal directions (all but the top; Mu & Viswanath 2018).

        Time words² · dim, in blocks; memory words · dim and the pairs.
        """
        v = all_but_the_top(vectors, directions)
        rows, columns = [], []
        for start in range(0, len(v), _BLOCK):
            near = v[start : start + _BLOCK] @ v.T > threshold
            r, c = np.nonzero(near)
            keep = r + start != c
            rows.append(r[keep] + start)
            columns.append(c[keep])
        r, c = (np.concatenate(x) if x else np.empty(0, np.int64) for x in (rows, columns))
        graph = sparse.csr_matrix((np.ones(len(r)), (r, c)), shape=(len(words), len(words)))
        return cls._built(words, graph, cap, v)

    @classmethod
    def _built(cls, words: Sequence[str], graph: sparse.csr_matrix, cap: int, vectors: Floats | None) -> Synonyms:
        graph.setdiag(0)
        graph.eliminate_zeros()
        graph.sum_duplicates()
        count, component = connected_components(graph, directed=False)
        order = np.argsort(component, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(component, minlength=count))[:-1])
        sets = []
        for word in range(len(words)):
            group = members[component[word]]
            if len(group) > cap:
                if vectors is not None:
                    group = group[np.argsort(-(vectors[group] @ vectors[word]), kind="stable")]
                group = np.concatenate([[word], group[group != word][: cap - 1]])
            sets.append(np.sort(group).astype(np.int64))
        allowed = tuple(
            np.sort(graph.indices[graph.indptr[w] : graph.indptr[w + 1]]).astype(np.int64) for w in range(len(words))
        )
        return cls(tuple(words), allowed, tuple(sets))

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """The code of each word."""
        return {w: i for i, w in enumerate(self.words)}

    @cached_property
    def overlaps(self) -> NDArray[np.float64]:
        """q_w = min over w' in S(w) of |P_w ∩ P_w'| / max(|P_w|, |P_w'|), float64 [words]; 1 where nothing may be put.

        The mass that two uniform draws share; the larger size is what makes it sound where the sizes differ.
        """
        out = np.ones(len(self.words))
        for word, others in enumerate(self.allowed):
            own = self.sets[word]
            for other in others.tolist():
                theirs = self.sets[other]
                if own is not theirs and not (len(own) == len(theirs) and (own == theirs).all()):
                    shared = len(np.intersect1d(own, theirs, assume_unique=True))
                    out[word] = min(out[word], shared / max(len(own), len(theirs)))
        return out

    @cached_property
    def flat(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """P_w end to end, where each begins, and how long each is."""
        sizes = np.array([len(s) for s in self.sets], np.int64)
        return np.concatenate([*self.sets, np.empty(0, np.int64)]), np.cumsum(sizes) - sizes, sizes

    def draws(self, document: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Each word replaced by a uniform draw from its P_w. document [n] codes, -1 for words outside the vocabulary, which
        stay; uniform [m, n] in [0, 1), given, so that two documents can share their randomness."""
        members, starts, sizes = self.flat
        known = np.maximum(document, 0)
        if not len(members):
            return np.tile(document, (len(uniform), 1))
        chosen = members[starts[known] + np.minimum((uniform * sizes[known]).astype(np.int64), sizes[known] - 1)]
        return np.where(document >= 0, chosen, -1)


def all_but_the_top(vectors: Floats, directions: int = 8) -> Floats:
    """Unit rows, centred, without their first principal directions."""
    v = np.asarray(vectors, np.float64)
    v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
    v = v - v.mean(0)
    if not directions or len(v) <= directions:
        return v
    values, axes = np.linalg.eigh(v.T @ v)
    top = axes[:, np.argsort(-values)[:directions]]
    return v - (v @ top) @ top.T


def read_vectors(path: Path, words: Sequence[str] | None = None) -> tuple[list[str], Floats]:
    """Word vectors from a text file, a word and its numbers a line (counter-fitted-vectors.txt, GloVe); only `words`
    where given. Raises `DataError` with the line that does not fit."""
    wanted = None if words is None else set(words)
    found: list[str] = []
    rows: list[Floats] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            word, _, rest = line.rstrip().partition(" ")
            if wanted is not None and word not in wanted:
                continue
            try:
                row = np.array(rest.split(), np.float64)
            except ValueError:
                raise DataError(
                    f"{path}, line {number}: expected a word and its numbers, found {line[:60]!r}."
                ) from None
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    f"{path}, line {number}: '{word}' has {len(row)} numbers; those before have {len(rows[0])}."
                )
            found.append(word)
            rows.append(row)
    return found, np.array(rows).reshape(len(rows), -1)
