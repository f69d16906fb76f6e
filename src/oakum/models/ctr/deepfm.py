"""A factorisation machine and a network over the same vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from oakum.data import Schema
from oakum.models.ctr.fm import FM, FMModel
from oakum.nn.interact import MLP
from oakum.parameters import Range


class DeepFM(FM):
    """A factorisation machine with a network beside it; both read the same vectors.

    Paper: Guo et al. 2017. z = FM(v) + MLP(concat v). With the last weights of the network at 0 it is the factorisation
    machine. Memory as fm plus 12 bytes a weight of the network, time epochs · rows · (fields · d · hidden + hidden²).
    Newcomers: the vector "unknown" of the user field, the other fields as they are.
    """

    slug = "deepfm"
    hidden: Annotated[tuple[int, ...], "widths of the network's layers"] = (400, 400, 400)
    dropout: Annotated[float, Range(0, below=1, search=(0.0, 0.5)), "share of the network's activations dropped"] = 0.2
    norm: Annotated[Literal["none", "batch", "layer"], "what evens out the activations"] = "none"

    def build(self, schema: Schema) -> DeepFMModel:
        """Empty tables and layers of the right sizes."""
        return DeepFMModel(self, schema)


class DeepFMModel(FMModel):
    """FM plus MLP."""

    def __init__(self, spec: DeepFM, schema: Schema) -> None:
        super().__init__(spec, schema)
        self.deep = MLP(len(self.layout) * spec.embedding_dim, spec.hidden, dropout=spec.dropout, norm=spec.norm)

    def logit(self, fields: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Both logits added."""
        out: Tensor = super().logit(fields, codes, values) + self.deep(fields.flatten(1))
        return out
