"""Frozen text vectors as facts of a model: of items when it is prepared, of typed words when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oakum.backends import Embedder, embed, embedder, item_vectors
from oakum.data import Dataset
from oakum.data.texts import KINDS
from oakum.errors import ModelFileError

if TYPE_CHECKING:
    from oakum.engine.learner import Facts

STATE = ("text_idf", "text_basis")  # what an encoder learned of a corpus; see `backends`


def text_facts(data: Dataset, encoder: str, facts: Facts, *, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, Tensor]:
    """The fact "text" [items, D], zero rows where nothing is said, and what the encoder learned of these texts.

    facts: the model's own. Where they hold the state of an encoder (a model that is refreshed onto other data) that
    encoder is used again, so that old and new words lie in one space.
    """
    state = {k: facts[k].cpu().numpy() for k in STATE if k in facts}
    found = item_vectors(data, encoder, kinds=kinds, state=state)
    kept = found.state or state
    out = {"text": torch.from_numpy(found.vectors), **{k: torch.from_numpy(v) for k, v in kept.items()}}
    return out


def encoder_of(encoder: str, facts: Facts) -> Embedder:
    """The encoder that the facts were made with, ready to encode."""
    return embedder(encoder, {k: facts[k].cpu().numpy() for k in STATE if k in facts})


def typed(texts: Sequence[str], encoder: Embedder, facts: Facts) -> Tensor:
    """Vectors of what people typed [q, D], zero where they typed no word."""
    found = torch.from_numpy(embed(list(texts), encoder, keep=False)).to(facts["text"].device)
    if found.shape[1] != facts["text"].shape[1]:
        raise ModelFileError(
            f"The encoder gives vectors of {found.shape[1]} dimensions where the model was trained on "
            f"{facts['text'].shape[1]}: it is another encoder than the one it was trained with."
        )
    return found


def means(text: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
    """The mean vector of each row's items, zero for an empty row. [i, D], CSR of n rows -> [n, D]."""
    counts = indptr.diff()
    rows = torch.repeat_interleave(torch.arange(len(counts), device=text.device), counts)
    out = text.new_zeros(len(counts), text.shape[1])
    step = max(1, (1 << 24) // max(1, text.shape[1]))  # at most 64 MB of gathered rows at a time
    for start in range(0, len(indices), step):
        out.index_add_(0, rows[start : start + step], text[indices[start : start + step]])
    return out / counts.clamp_min(1).unsqueeze(1)
