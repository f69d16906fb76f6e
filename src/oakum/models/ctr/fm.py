"""Factorisation machines."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from oakum.data import Schema
from oakum.models.ctr.base import RowModel, RowSpec
from oakum.nn.fields import FieldEmbedding
from oakum.nn.interact import fm
from oakum.parameters import Range


class FM(RowSpec):
    """A weight for every value and a product for every pair of fields.

    Paper: Rendle 2010. z = w_0 + Σ_f w_f + Σ_{i<j} v_i · v_j, in time linear in the fields. Two one-hot fields give matrix
    factorisation with biases. Memory 12 (d + 1) bytes a value in training, time epochs · rows · fields · d. Newcomers: the
    vector "unknown" of the user field (trained on rare users), the other fields as they are.
    """

    slug = "fm"
    embedding_dim: Annotated[int, Range(1, 4096, search=(4, 64), log=True), "width d of the vectors"] = 16

    def build(self, schema: Schema) -> FMModel:
        """Empty tables of the right sizes."""
        return FMModel(self, schema)


class FMModel(RowModel):
    """The linear part and the pairs."""

    def __init__(self, spec: Any, schema: Schema) -> None:
        super().__init__(spec, schema, spec.embedding_dim)
        self.linear = FieldEmbedding(self.layout, 1)
        self.bias = nn.Parameter(torch.zeros(()))

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Bias, weights and products."""
        return self.bias + self.linear(codes, values).sum((1, 2)) + fm(fields)
