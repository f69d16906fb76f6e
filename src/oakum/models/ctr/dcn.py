"""Deep and cross network."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from oakum.data import Schema
from oakum.models.ctr.base import RowModel, RowSpec
from oakum.nn.interact import MLP, CrossNet
from oakum.parameters import Range


class DCN(RowSpec):
    """Explicit products of fields of any order, beside a network.

    Paper: Wang et al. 2021 (version 2). x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l over the concatenated vectors, a network in
    parallel, one linear map over both ends. kind "vector" is version 1 (2017), x_0 (w · x_l) + b + x_l. Memory 12 d bytes a
    value plus 12 · layers · (fields · d)² in training, time epochs · rows · layers · (fields · d)². Newcomers: the vector
    "unknown" of the user field, the other fields as they are.
    """

    slug = "dcn"
    embedding_dim: Annotated[int, Range(1, 4096, search=(4, 64), log=True), "width d of the vectors"] = 16
    num_layers: Annotated[int, Range(1, 16, search=(1, 5)), "cross layers"] = 3
    kind: Annotated[Literal["matrix", "vector"], "version 2 or version 1 of the paper"] = "matrix"
    hidden: Annotated[tuple[int, ...], "widths of the network's layers"] = (400, 400, 400)
    dropout: Annotated[float, Range(0, below=1, search=(0.0, 0.5)), "share of the network's activations dropped"] = 0.2
    norm: Annotated[Literal["none", "batch", "layer"], "what evens out the activations"] = "none"

    def build(self, schema: Schema) -> DCNModel:
        """Empty tables and layers of the right sizes."""
        return DCNModel(self, schema)


class DCNModel(RowModel):
    """Crosses and network, side by side."""

    def __init__(self, spec: DCN, schema: Schema) -> None:
        super().__init__(spec, schema, spec.embedding_dim)
        width = len(self.layout) * spec.embedding_dim
        self.cross = CrossNet(width, spec.num_layers, spec.kind)
        self.deep = MLP(width, spec.hidden, dropout=spec.dropout, norm=spec.norm, logit=False)
        self.out = nn.Linear(width + self.deep.width, 1)

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """A linear map over both ends."""
        x = fields.flatten(1)
        out: Tensor = self.out(torch.cat([self.cross(x), self.deep(x)], 1)).squeeze(-1)
        return out
