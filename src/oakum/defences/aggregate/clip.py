"""No client may send more than most do."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from oakum.defences.aggregate.base import Aggregation
from oakum.engine.uploads import Replies, Uploads
from oakum.parameters import Range


class NormClipping(Aggregation):
    """Shortens uploads that are longer than most, then adds them up by weight.

    Paper: Sun et al. 2019. An upload longer than τ is scaled to τ; τ is the median length in the round times `factor`, or
    `largest`. by="row" clips every touched row of a table at the median length of touched rows, and the rest by itself.
    Bounds what one client can do, whatever it sends. Time and memory: one pass over the uploads.
    """

    slug = "norm-clipping"
    factor: Annotated[float, Range(above=0, high=1000), "times the median length of the round"] = 1.0
    largest: Annotated[float, Range(0), "a fixed bound in its place; 0 takes the median"] = 0.0
    by: Annotated[Literal["upload", "row"], "what is measured and clipped"] = "upload"

    def combine(self, uploads: Uploads, memory: dict[str, Tensor]) -> Replies:
        """The weighted sum of the clipped uploads."""
        if self.by == "upload":
            return Replies(uploads.scaled(self._factors(uploads.norms())).total())
        tables = {}
        for name, table in uploads.tables.items():
            length = table.values.reshape(len(table.row), -1).double().norm(dim=1)
            factor = self._factors(length).view(-1, *[1] * (table.values.dim() - 1))
            tables[name] = replace(table, values=table.values * factor)
        dense = replace(uploads, tables={})
        return Replies(
            {**dense.scaled(self._factors(dense.norms())).total(), **replace(uploads, dense={}, tables=tables).total()}
        )

    def _factors(self, length: Tensor) -> Tensor:
        if not len(length):
            return length.float()
        bound = self.largest or self.factor * length.quantile(0.5)
        return torch.clamp(bound / length.clamp_min(1e-30), max=1.0).float()
