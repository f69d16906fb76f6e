"""Fields that attend to fields: learned crosses of any order, which can be shown."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from oakum.data import Interactions, Schema
from oakum.engine.plan import Plan
from oakum.errors import ParameterError
from oakum.models.ctr.base import BLOCK, RowModel, RowSpec
from oakum.nn.interact import MLP, FieldAttention
from oakum.parameters import Range


class AutoInt(RowSpec):
    """Predicts clicks from crosses of fields that it finds by itself, and shows which fields it combined.

    Paper: Song et al. 2019. Fields attend to fields: A = softmax(Q Kᵀ / √d'), O = concat(A V) + residual, a layer adds one
    order of crosses; z = w · flatten(last layer), log loss. `hidden` adds a network with batch norm beside it
    (AutoInt+). The layers are those of the authors' code (ReLU on the projections, scaled products, layer norm); `paper_form`
    gives the formula of the paper. Memory 12 d bytes a value in training, 4 · batch · heads · fields² a layer; time epochs · rows · layers · width ·
    (fields · width + fields²): thirty-nine fields are fine, five hundred are not. Newcomers: the vector "unknown" of the user
    field (trained on rare users), the other fields as they are. Differs from the paper in starting "unknown" and "missing" at
    zero and in a validation stop on AUC.
    """

    slug = "autoint"
    embedding_dim: Annotated[int, Range(1, 4096, search=(4, 64), log=True), "width d of the vectors"] = 16
    num_layers: Annotated[int, Range(1, 16, search=(1, 4)), "interacting layers"] = 3
    num_heads: Annotated[int, Range(1, 64), "attention heads; divides width"] = 2
    width: Annotated[int, Range(1, 4096, search=(16, 128), log=True), "width of a field in a layer, over all heads"] = (
        64
    )
    dropout: Annotated[float, Range(0, below=1, search=(0.0, 0.5)), "share of attention dropped"] = 0.0
    embedding_dropout: Annotated[float, Range(0, below=1), "share of the vectors' numbers dropped"] = 0.0
    residual: Annotated[bool, "each layer keeps what it was given, so that lower orders survive"] = True
    paper_form: Annotated[bool, "the formula of the paper in place of its code"] = False
    hidden: Annotated[tuple[int, ...], "widths of a network beside it (AutoInt+: 400,400); none: AutoInt"] = ()

    def plan(self) -> Plan:
        """The authors' optimiser, with an early stop on the AUC of the validation rows."""
        return super().plan().replace(epochs=20, patience=3)

    def build(self, schema: Schema) -> AutoIntModel:
        """Empty tables and layers of the right sizes."""
        if self.width % self.num_heads:
            raise ParameterError(f"num_heads ({self.num_heads}) must divide width ({self.width}) of AutoInt.")
        return AutoIntModel(self, schema)


class AutoIntModel(RowModel):
    """Vectors, interacting layers, a linear map."""

    def __init__(self, spec: AutoInt, schema: Schema) -> None:
        super().__init__(spec, schema, spec.embedding_dim)
        widths = [spec.embedding_dim, *[spec.width] * spec.num_layers]
        options = {"dropout": spec.dropout, "residual": spec.residual, "paper_form": spec.paper_form}
        self.layers = nn.ModuleList(
            FieldAttention(a, spec.width, spec.num_heads, **options)  # type: ignore[arg-type]
            for a in widths[:-1]
        )
        self.drop = nn.Dropout(spec.embedding_dropout)
        self.out = nn.Linear(len(self.layout) * spec.width, 1)
        wide = len(self.layout) * spec.embedding_dim
        self.deep = MLP(wide, spec.hidden, norm="batch") if spec.hidden else None

    def interact(self, fields: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last layer [b, f, width], and the attention [b, heads, f, f] of each."""
        attentions = []
        for layer in self.layers:
            fields, attention = layer(fields)
            attentions.append(attention)
        return fields, attentions

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """A linear map of the last layer, and the network beside it."""
        fields = self.drop(fields)
        out: Tensor = self.out(self.interact(fields)[0].flatten(1)).squeeze(-1)
        return out if self.deep is None else out + self.deep(fields.flatten(1))

    def attention(self, log: Interactions) -> Tensor:
        """Who looked at whom in each row, mean over heads and layers [n, f, f]; rows sum to 1. Memory 4 n f² bytes."""
        assert self.coder is not None
        codes, values = self.coder.encode(log)
        device = self.embed.table.weight.device
        with torch.no_grad():
            fields = self.embed(torch.from_numpy(codes).long().to(device), torch.from_numpy(values).to(device))
            return torch.stack([a.mean(1) for a in self.interact(fields)[1]]).mean(0)

    def explain(self, log: Interactions, k: int = 20) -> list[tuple[str, str, float]]:
        """The `k` pairs of fields that attend to each other most over these rows: (name, name, mean attention of both ways),
        best first. A pair of average weight has 1 / fields."""
        step = max(1, BLOCK // max(1, len(self.layout)))
        parts = [self.attention(log.take(slice(at, at + step))).sum(0).cpu() for at in range(0, len(log), step)]
        mean = torch.stack(parts).sum(0).double().numpy() / max(1, len(log))
        both = (mean + mean.T) / 2
        names = self.layout.names
        left, right = np.triu_indices(len(names), 1)
        best = np.argsort(-both[left, right], kind="stable")[:k]
        return [(names[left[p]], names[right[p]], float(both[left[p], right[p]])) for p in best]
