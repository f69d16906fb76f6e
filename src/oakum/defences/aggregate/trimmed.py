"""The mean of what clients send without its ends, coordinate by coordinate."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from oakum.defences.aggregate.base import Aggregation, by_coordinate
from oakum.engine.uploads import Replies, Uploads
from oakum.parameters import Range


class TrimmedMean(Aggregation):
    """Leaves the largest and the smallest values of every coordinate out, then takes the mean.

    Paper: Yin et al. 2018. Of the c uploads that touch a coordinate, floor(trim · c) are left out at either end.
    Time clients · weights · log clients, memory one block of rows.
    """

    slug = "fed-trimmed-mean"
    trim: Annotated[float, Range(0, below=0.5), "share of the uploads left out at either end"] = 0.1

    def combine(self, uploads: Uploads, memory: dict[str, Tensor]) -> Replies:
        """Trimmed means times weights."""
        return Replies(by_coordinate(uploads, lambda x: trimmed(x, self.trim)))


def trimmed(x: Tensor, share: float) -> Tensor:
    """Mean along the last axis (sorted, NaN last) without floor(share · count) values at either end."""
    count = (~torch.isnan(x)).sum(-1, keepdim=True)
    cut = torch.floor(share * count.double()).long()
    place = torch.arange(x.shape[-1], device=x.device)
    kept = (place >= cut) & (place < count - cut)
    return torch.where(kept, x, 0.0).sum(-1) / kept.sum(-1).clamp_min(1)
