"""The middle of what clients send, coordinate by coordinate."""

from __future__ import annotations

import torch
from torch import Tensor

from oakum.defences.aggregate.base import Aggregation, by_coordinate
from oakum.engine.uploads import Replies, Uploads


class CoordinateMedian(Aggregation):
    """Takes the median of every coordinate over the uploads that touch it.

    Paper: Yin et al. 2018. Holds while fewer than half of those who touch a coordinate are hostile; a row that hardly
    anybody has is touched mostly by those who push it. Time clients · weights · log clients, memory one block of rows.
    """

    slug = "fed-median"

    def combine(self, uploads: Uploads, memory: dict[str, Tensor]) -> Replies:
        """Medians times weights."""
        return Replies(by_coordinate(uploads, median))


def median(x: Tensor) -> Tensor:
    """The middle of the values that are there, along the last axis (sorted, NaN last); the mean of two middles."""
    count = (~torch.isnan(x)).sum(-1, keepdim=True)
    low, high = ((count - 1) // 2).clamp_min(0), (count // 2).clamp_max(x.shape[-1] - 1)
    return 0.5 * (x.gather(-1, low) + x.gather(-1, high)).squeeze(-1)
