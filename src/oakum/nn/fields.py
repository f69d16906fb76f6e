"""Fields of rows as vectors: one encoder for rows of a log and for tables of items or users."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oakum.data.fields import Layout


class FieldEmbedding(nn.Module):
    """Slots of rows -> one vector a field: e_f = Σ_s value_s · V[code_s] over the slots s of the field.

    So a category is its row, a list the mean of its members, a number a direction times its scaled value. One table holds
    all fields, each at its offset; a batch reads only its own rows. The rows "missing" and "unknown" start at zero, which
    says nothing until training has met them. Memory 4 · rows · d bytes of weights, 4 · b · slots · d a batch.
    """

    def __init__(self, layout: Layout, embedding_dim: int, *, init_std: float | None = 0.01) -> None:
        """layout: sizes alone. init_std: deviation of the first values; None is Xavier over the width."""
        super().__init__()
        self.layout = layout
        self.table = nn.Embedding(max(1, sum(f.rows for f in layout.fields)), embedding_dim)
        nn.init.normal_(self.table.weight, std=init_std if init_std is not None else embedding_dim**-0.5)
        starts, start = [], 0
        with torch.no_grad():
            for f in layout.fields:
                starts += [start] * f.width
                self.table.weight[start : start + (1 if f.kind == "numeric" else 2)] = 0.0
                start += f.rows
        self.starts: Tensor
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.long), persistent=False)
        self.runs = _runs([f.width for f in layout.fields])

    def forward(self, codes: Tensor, values: Tensor) -> Tensor:
        """codes int [b, slots], values float [b, slots] -> [b, fields, d]."""
        vectors = self.table(codes + self.starts) * values.unsqueeze(-1)
        if len(self.runs) == 1 and not self.runs[0][2]:
            return vectors
        parts = [vectors[:, a:b].sum(1, keepdim=True) if many else vectors[:, a:b] for a, b, many in self.runs]
        return torch.cat(parts, 1)


def _runs(widths: Sequence[int]) -> list[tuple[int, int, bool]]:
    """Slots as (from, to, whether they are summed): neighbours of one slot each stay together."""
    out: list[tuple[int, int, bool]] = []
    at = 0
    for width in widths:
        if width == 1 and out and not out[-1][2]:
            out[-1] = (out[-1][0], at + 1, False)
        else:
            out.append((at, at + width, width > 1))
        at += width
    return out or [(0, 0, False)]
