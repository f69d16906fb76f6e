"""`Embedder`: what turns texts into vectors, chosen by name, computed once for each text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from oakum.backends.cache import Cache
from oakum.backends.hashed import Hashed
from oakum.data import Dataset, Ragged
from oakum.data.texts import KINDS, item_texts
from oakum.errors import ParameterError

Vectors = NDArray[np.float32]
State = Mapping[str, NDArray[Any]]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors of one width; the same text always becomes the same vector (to 1e-6)."""

    @property
    def name(self) -> str:
        """Names the vectors: two encoders of one name give the same ones. Holds the digest of the weights."""
        ...

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        ...

    def fitted(self, texts: Sequence[str]) -> Embedder:
        """The encoder after it has seen a corpus; itself, where it was trained before."""
        ...

    def encode(self, texts: Sequence[str], progress: Callable[[float], None] | None = None) -> Vectors:
        """Float32 [n, dim]; `progress` is told the share done."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """What was learned from a corpus, to be saved with a model; empty where nothing was."""
        ...


class ItemVectors(NamedTuple):
    """vectors float32 [items, dim] (a zero row: no text); state: what the encoder learned of these texts (put it
    beside the weights and give it back to `embedder`); note: which columns were read and by what they were encoded."""

    vectors: Vectors
    state: dict[str, NDArray[Any]]
    note: str


def embedder(name: str = "minilm", state: State | None = None) -> Embedder:
    """The encoder of a name.

    "minilm": all-MiniLM-L6-v2 (384 wide), from the extra 'text'. "hashed" or "hashed:DIM": words and letter triples
    hashed, weighed by TF-IDF, reduced by SVD; needs no extra, learns from the texts it is fitted on (`state` puts
    back what it learned). Anything else: a folder of a `transformers` or sentence-transformers model, or its name at
    the hub; only safetensors weights are read and no code that comes with a model is run.
    """
    if name == "hashed" or name.startswith("hashed:"):
        width = name.partition(":")[2] or "128"
        if not width.isdigit() or not 1 <= int(width) <= 4096:
            raise ParameterError(f"The encoder '{name}' should be hashed:DIM with DIM from 1 to 4096.")
        return Hashed(int(width)) if not state else Hashed.restored(state)
    from oakum.backends.pretrained import Pretrained, minilm_folder

    if name == "minilm":
        return Pretrained(minilm_folder(), label="minilm")
    if not name.strip():
        raise ParameterError("The encoder has no name: give minilm, hashed, a folder or the name of a model.")
    return Pretrained.named(name)


def width_of(name: str) -> int:
    """The width of an encoder's vectors, without its weights where its name says it."""
    if name == "minilm":
        return 384
    return embedder(name).dim


def embed(
    texts: Sequence[str],
    encoder: Embedder,
    *,
    cache: Path | None = None,
    keep: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Vectors:
    """Vectors of texts, float32 [n, dim]; each distinct text is encoded once, ever.

    A text without a letter or digit gives a zero row: nothing is known of it. Vectors of encoders that were trained
    before are kept in the cache folder (`cache`, by default OAKUM_CACHE or the user's cache folder) under the digest
    of (encoder, text); keep=False neither reads nor writes there. Memory n · dim, nothing else dense.
    """
    distinct = list(dict.fromkeys(t for t in texts if any(c.isalnum() for c in t)))
    place = {t: r for r, t in enumerate(distinct)}
    rows = np.array([place.get(t, -1) for t in texts], np.int64)
    if keep and not encoder.state():
        found = Cache(encoder.name, encoder.dim, cache).get(distinct, lambda part: encoder.encode(part, progress))
    else:
        found = encoder.encode(distinct, progress) if distinct else np.zeros((0, encoder.dim), np.float32)
    out = np.zeros((len(rows), encoder.dim), np.float32)
    out[rows >= 0] = found[rows[rows >= 0]]
    return out


def item_vectors(
    data: Dataset,
    encoder: str = "minilm",
    *,
    kinds: Sequence[str] = tuple(KINDS),
    state: State | None = None,
    progress: Callable[[float], None] | None = None,
) -> ItemVectors:
    """The frozen text vectors of all items of a data set.

    kinds: which of title, description and categories are read. state: of an encoder that was fitted on other texts;
    None fits it on these. Raises `DataError` where the items have no text, `MissingExtra` where the encoder is absent.
    """
    from oakum.engine.progress import Shown

    words = item_texts(data, kinds)
    model = embedder(encoder, state)
    if not state:
        model = model.fitted(words.texts)
    if progress is not None or len(words.texts) < 2000:
        vectors = embed(words.texts, model, progress=progress)
    else:
        with Shown(f"Encoding {len(words.texts):,} texts") as shown:
            vectors = embed(words.texts, model, progress=lambda share: shown.update(share))
    return ItemVectors(vectors, model.state(), f"{words.note} Encoded by {model.name.partition(' ')[0]}.")


def history_vectors(data: Dataset, histories: Ragged, encoder: str = "minilm", *, prompt: str = "") -> Vectors:
    """What an encoder makes of each history as text, float32 [n, dim]: the mean of its titles' vectors, or with a `prompt` one
    text a history, the prompt and then all titles (for encoders that read that much). Zero rows for empty histories.

    Memory (items + n) · dim. Raises `DataError` where the items have no text, `MissingExtra` where the encoder is absent.
    """
    words = item_texts(data, ("title",)).texts
    model = embedder(encoder).fitted(words)
    if prompt:
        titles = lambda r: "; ".join(f"Item title: {words[i]}" for i in histories.row(r))
        return embed([prompt + titles(r) if histories.lengths[r] else "" for r in range(len(histories))], model)
    vectors = embed(words, model)
    out = np.zeros((len(histories), model.dim), np.float32)
    np.add.at(out, histories.owners(), vectors[histories.items])
    out /= np.maximum(histories.lengths, 1)[:, None]
    return out
