"""Fields of rows as vectors: one encoder for rows of a log and for tables of items or users."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oakum.data.crosses import Pair
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
        self.ones = all(f.kind == "categorical" for f in layout.fields)  # then every value is 1

    def forward(self, codes: Tensor, values: Tensor) -> Tensor:
        """codes int [b, slots], values float [b, slots] -> [b, fields, d]."""
        vectors = _rows(self.table, codes + self.starts)
        if not self.ones:
            vectors = vectors * values.unsqueeze(-1)
        if len(self.runs) == 1 and not self.runs[0][2]:
            return vectors
        parts = [vectors[:, a:b].sum(1, keepdim=True) if many else vectors[:, a:b] for a, b, many in self.runs]
        return torch.cat(parts, 1)


class CrossEmbedding(nn.Module):
    """Pairs of values -> one vector a pair of fields: that of the cross where it has a code of its own, else the pair's "rare".

    Rows of a pair: "rare" (starts at zero), then its crosses in the order of their keys. Memory 4 · (pairs + crosses) · d bytes
    of weights; time log2(crosses) a look-up.
    """

    def __init__(
        self, pairs: Sequence[Pair], kept: Sequence[int], embedding_dim: int, *, init_std: float = 0.01
    ) -> None:
        """kept: how many crosses of each pair have a code of their own. init_std: small, since a cross is met seldom and what
        it does not know is noise to whoever reads it."""
        super().__init__()
        self.pairs = tuple(pairs)
        self.table = nn.Embedding(len(kept) + sum(kept), embedding_dim)
        nn.init.normal_(self.table.weight, std=init_std)
        shift, first = [0], [0]
        for pair, n in zip(pairs, kept, strict=True):
            shift.append(shift[-1] + pair.cells)
            first.append(first[-1] + n)
        put = lambda name, value: self.register_buffer(name, torch.tensor(value, dtype=torch.long), persistent=False)
        self.shift: Tensor
        self.rare: Tensor
        self.slots: Tensor
        self.factor: Tensor
        put("shift", shift[:-1])
        put("rare", [n + p for p, n in enumerate(first[:-1])])
        put("slots", [p.slots for p in pairs])
        put("factor", [p.rows[1] for p in pairs])
        with torch.no_grad():
            self.table.weight[self.rare] = 0.0

    def places(self, codes: Tensor, keys: Tensor) -> Tensor:
        """Rows of the table: codes int [b, slots], keys int64 [crosses] of all pairs joined -> [b, pairs]."""
        asked = codes[:, self.slots[:, 0]] * self.factor + codes[:, self.slots[:, 1]] + self.shift
        if not len(keys):
            return self.rare.expand(asked.shape)
        at = torch.searchsorted(keys, asked)
        own = keys[at.clamp(max=len(keys) - 1)] == asked
        # A cross comes after the rare rows of its own pair and of all pairs before it.
        after = torch.arange(1, len(self.pairs) + 1, device=codes.device)
        return torch.where(own, at + after, self.rare)

    def forward(self, codes: Tensor, keys: Tensor) -> Tensor:
        """codes int [b, slots], keys int64 [crosses] -> [b, pairs, d]."""
        out: Tensor = self.table(self.places(codes, keys))
        return out


def _rows(table: nn.Embedding, codes: Tensor) -> Tensor:
    """Rows of a table, [..., d]. On a CPU their gradients are added up in the same order in a quarter of the time that an
    embedding takes; elsewhere only the embedding's order is fixed."""
    if codes.device.type != "cpu":
        out: Tensor = table(codes)
        return out
    return table.weight.index_select(0, codes.flatten()).view(*codes.shape, -1)


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
