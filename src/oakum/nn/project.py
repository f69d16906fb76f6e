"""Vectors of any width as vectors of one: for parts that cannot know the width of a model's."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from oakum.seeds import generator


@cache
def directions(d: int, width: int) -> Tensor:
    """A fixed random projection [d, width], the same in every process; lengths are kept in expectation up to width / d."""
    drawn = generator(0, "projection", d).standard_normal((d, width)) / d**0.5
    return torch.from_numpy(drawn.astype("float32"))


def projected(vectors: Tensor, width: int) -> Tensor:
    """[b, d] -> float32 [b, width]."""
    return vectors.float() @ directions(vectors.shape[1], width).to(vectors.device)
