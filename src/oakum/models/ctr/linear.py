"""Logistic regression over the fields of a row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oakum.data import Schema
from oakum.models.ctr.base import RowModel, RowSpec


class LogisticRegression(RowSpec):
    """One weight a value: the baseline that every model of rows has to beat.

    z = w_0 + Σ_f w_f, one weight for every value of every field, log loss. Memory 12 bytes a value in training, time
    epochs · rows · fields. Newcomers: the weight of "unknown" for the user, the other fields as they are.
    """

    slug = "logistic-regression"

    def build(self, schema: Schema) -> LogisticRegressionModel:
        """One weight a value."""
        return LogisticRegressionModel(self, schema)


class LogisticRegressionModel(RowModel):
    """Fields of width 1."""

    def __init__(self, spec: LogisticRegression, schema: Schema) -> None:
        super().__init__(spec, schema, 1)
        self.bias = nn.Parameter(torch.zeros(()))

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Their sum."""
        return self.bias + fields.sum((1, 2))
