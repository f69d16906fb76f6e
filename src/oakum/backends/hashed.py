"""Hashed TF-IDF with an SVD: an encoder without a download, for tests and for data that no language model knows."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.errors import ParameterError
from oakum.seeds import generator

WORD = re.compile(r"\w+")


def tokens(text: str) -> list[str]:
    """Words in lower case, and the letter triples of each word between marks: "cat" -> cat, <ca, cat>, …"""
    words = WORD.findall(text.lower())
    return words + [f"<{w}>"[i : i + 3] + "#" for w in words for i in range(len(w))]


class Hashed:
    """x = unit(unit(tf · idf) V): tf = 1 + log count of hashed words and letter triples, V the right singular vectors
    of the corpus it was fitted on. Deterministic. Memory buckets · dim; time tokens + n · dim · words."""

    def __init__(self, dim: int = 128, buckets: int = 4096) -> None:
        if dim > buckets:
            raise ParameterError(f"A hashed encoder of {dim} dimensions needs at least as many buckets. Got {buckets}.")
        self._dim, self.buckets = dim, buckets
        self.idf: NDArray[np.float32] | None = None
        self.basis: NDArray[np.float32] | None = None

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Hashed:
        """The encoder that `state` was taken from."""
        basis = np.asarray(state["text_basis"], np.float32)
        out = cls(basis.shape[1], basis.shape[0])
        out.idf, out.basis = np.asarray(state["text_idf"], np.float32), basis
        return out

    @property
    def name(self) -> str:
        """hashed, its width, and the digest of the corpus it was fitted on."""
        digest = "" if self.basis is None else hashlib.sha256(self.basis.tobytes()).hexdigest()[:16]
        return f"hashed:{self._dim} {digest}".strip()

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._dim

    def _counts(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """CSR [n, buckets] of 1 + log count."""
        indices: list[int] = []
        values: list[float] = []
        indptr = [0]
        for text in texts:
            found = Counter(zlib.crc32(t.encode()) % self.buckets for t in tokens(text))
            indices += found.keys()
            values += (1.0 + float(np.log(c)) for c in found.values())
            indptr.append(len(indices))
        shape = (len(texts), self.buckets)
        out = sparse.csr_matrix((np.array(values, np.float32), np.array(indices, np.int32), indptr), shape=shape)
        out.sort_indices()
        return out

    def fitted(self, texts: Sequence[str]) -> Hashed:
        """Document frequencies and singular vectors of these texts (distinct ones count once)."""
        out = Hashed(self._dim, self.buckets)
        counts = self._counts(list(dict.fromkeys(texts)))
        frequency = np.bincount(counts.indices, minlength=self.buckets)
        out.idf = (np.log((1 + counts.shape[0]) / (1 + frequency)) + 1).astype(np.float32)
        out.basis = _right_vectors(_unit_rows(counts @ sparse.diags(out.idf)), self._dim)
        return out

    def encode(self, texts: Sequence[str], progress: Callable[[float], None] | None = None) -> NDArray[np.float32]:
        """Float32 [n, dim], unit rows; zero where no token is known."""
        if self.idf is None or self.basis is None:
            raise ParameterError("The hashed encoder learns from a corpus first: call fitted(texts).")
        out = np.zeros((len(texts), self._dim), np.float32)
        for start in range(0, len(texts), 4096):
            part = texts[start : start + 4096]
            rows = _unit_rows(self._counts(part) @ sparse.diags(self.idf)) @ self.basis
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            out[start : start + 4096] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-6)
            if progress is not None:
                progress(min(1.0, (start + len(part)) / len(texts)))
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Document frequencies [buckets] and singular vectors [buckets, dim]."""
        return {} if self.idf is None or self.basis is None else {"text_idf": self.idf, "text_basis": self.basis}


def _unit_rows(x: Any) -> sparse.csr_matrix:
    x = sparse.csr_matrix(x, dtype=np.float32)
    length = np.sqrt(np.asarray(x.multiply(x).sum(1)).ravel())
    return sparse.csr_matrix(sparse.diags(1.0 / np.where(length > 0, length, 1.0)) @ x, dtype=np.float32)


def _right_vectors(x: sparse.csr_matrix, dim: int) -> NDArray[np.float32]:
    """The first right singular vectors [buckets, dim] by a randomised range finder with four power steps; columns
    beyond the rank are zero. Signs are fixed by the largest entry, so equal texts give equal vectors."""
    width = min(dim + 10, *x.shape)
    start = generator(0, "hashed text").standard_normal((x.shape[1], width))
    span = np.linalg.qr(x @ start)[0]
    for _ in range(4):
        span = np.linalg.qr(x @ np.linalg.qr(x.T @ span)[0])[0]
    _, strength, right = np.linalg.svd((x.T @ span).T, full_matrices=False)
    kept = right[: min(dim, int((strength > 1e-6).sum()))]
    kept = kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(1)])[:, None]
    out = np.zeros((x.shape[1], dim), np.float32)
    out[:, : len(kept)] = kept.T
    return out
