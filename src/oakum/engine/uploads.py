"""What clients send to the server and what it sends back, as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from oakum.engine.learner import Model

#: One client's gradients by parameter name: a tensor of the parameter's shape, or rows of a table with their values.
Upload: TypeAlias = dict[str, "Tensor | tuple[Tensor, Tensor]"]


@dataclass(frozen=True)
class Seen:
    """What a hostile client sees in a round.

    model: a copy of the software with the shared weights of the moment; its private tables have rows for the client's own
    made-up people only. num_items: size of the catalogue. targets: int64. own: private rows that this client keeps from round to round, by name, [rows, ..].
    honest: what it would have uploaded, for clients with data; generator: its randomness.
    """

    model: Model
    private: tuple[str, ...]
    num_items: int
    targets: Tensor
    promote: bool
    own: Mapping[str, Tensor]
    generator: torch.Generator
    honest: Upload | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of a table that uploads touched: owner int64 [m] (place of the upload), row int64 [m], values [m, ..]."""

    owner: Tensor
    row: Tensor
    values: Tensor

    def by_row(self, largest: int = 1 << 24) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Blocks of (row ids [r], values [r, c, ..] padded with NaN, owners [r, c] padded with -1)."""
        order = torch.argsort(self.row, stable=True)
        ids, counts = torch.unique_consecutive(self.row[order], return_counts=True)
        starts = counts.cumsum(0) - counts
        widest = int(counts.max()) if len(counts) else 1
        size = max(1, largest // max(1, widest * self.values[0].numel() if len(self.values) else 1))
        for at in range(0, len(ids), size):
            some, first = counts[at : at + size], starts[at : at + size]
            place = torch.arange(widest, device=ids.device)[None].expand(len(some), -1)
            there = place < some[:, None]
            source = order[(first[:, None] + place).clamp_max(len(order) - 1)]
            mask = there.view(*there.shape, *[1] * (self.values.dim() - 1))
            values = torch.where(mask, self.values[source], torch.nan)
            yield ids[at : at + size], values, torch.where(there, self.owner[source], -1)


@dataclass(frozen=True)
class Uploads:
    """A round's uploads.

    clients: int64 [c], numbers of the participants. weights: [c], their shares. rate: the learning rate of the moment (an
    update is −rate · gradient). dense: [c, ..] by parameter name; tables: touched rows by name; sizes: rows of each table.
    """

    clients: Tensor
    weights: Tensor
    rate: float
    dense: Mapping[str, Tensor]
    tables: Mapping[str, Rows]
    sizes: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.clients)

    def scaled(self, factors: Tensor) -> Uploads:
        """Every upload times its factor [c]."""
        wide = lambda f, x: f.view(-1, *[1] * (x.dim() - 1))
        dense = {n: x * wide(factors, x) for n, x in self.dense.items()}
        tables = {n: replace(t, values=t.values * wide(factors[t.owner], t.values)) for n, t in self.tables.items()}
        return replace(self, dense=dense, tables=tables)

    def total(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """The weighted sum by parameter name, of the parameter's shape."""
        weights = self.weights if weights is None else weights
        out = {n: torch.tensordot(weights, x, 1) for n, x in self.dense.items()}
        for n, t in self.tables.items():
            part = t.values * weights[t.owner].view(-1, *[1] * (t.values.dim() - 1))
            out[n] = t.values.new_zeros(self.sizes[n], *t.values.shape[1:]).index_add_(0, t.row, part)
        return out

    def products(self) -> Tensor:
        """Dot products of all pairs of uploads, float64 [c, c]; rows of a table are met block by block, so nothing
        of clients × weights is made."""
        c = len(self)
        out = torch.zeros(c, c, dtype=torch.float64, device=self.weights.device)
        for x in self.dense.values():
            flat = x.reshape(c, -1).double()
            out += flat @ flat.T
        for t in self.tables.values():
            ids, place = torch.unique(t.row, return_inverse=True)
            flat = t.values.flatten(1).double()
            size = max(1, (1 << 22) // max(1, c * flat.shape[1]))
            for at in range(0, len(ids), size):
                inside = (place >= at) & (place < at + size)
                block = flat.new_zeros(c, min(size, len(ids) - at), flat.shape[1])
                block.index_put_((t.owner[inside], place[inside] - at), flat[inside], accumulate=True)
                block = block.reshape(c, -1)
                out += block @ block.T
        return out

    def norms(self) -> Tensor:
        """Length of each upload, float64 [c]."""
        out = self.weights.new_zeros(len(self), dtype=torch.float64)
        for x in self.dense.values():
            out += (x.reshape(len(self), -1).double() ** 2).sum(1)
        for t in self.tables.values():
            out.index_add_(0, t.owner, (t.values.flatten(1).double() ** 2).sum(1))
        return out.sqrt()

    def of(self, place: int) -> dict[str, Tensor]:
        """One upload as whole tensors."""
        one = self.weights.new_zeros(len(self))
        one[place] = 1.0
        return self.total(one)


@dataclass(frozen=True)
class Replies:
    """common: the gradient that the server's own weights follow, by parameter name. each: by place of the upload, what that
    participant's copy follows."""

    common: Mapping[str, Tensor]
    each: Sequence[Mapping[str, Tensor]] = field(default_factory=tuple)


def gathered(
    parts: Sequence[Upload], clients: Tensor, weights: Tensor, rate: float, shapes: Mapping[str, torch.Size]
) -> Uploads:
    """Uploads of single clients as one value; what one did not send is 0 (dense) or absent (rows). shapes: of the shared
    parameters; those that are sent by rows by anyone are tables."""
    tables = {n for part in parts for n, value in part.items() if isinstance(value, tuple)}
    dense, rows = {}, {}
    for name, shape in shapes.items():
        sent = [part.get(name) for part in parts]
        if name not in tables:
            zero = weights.new_zeros(shape)
            dense[name] = torch.stack([zero if x is None else x for x in sent])  # type: ignore[misc]
            continue
        pairs = [(place, x) for place, x in enumerate(sent) if isinstance(x, tuple)]
        owner = torch.cat([torch.full_like(x[0], place) for place, x in pairs])
        rows[name] = Rows(owner, torch.cat([x[0] for _, x in pairs]), torch.cat([x[1] for _, x in pairs]))
    return Uploads(clients, weights, rate, dense, rows, {n: shapes[n][0] for n in rows})


def sparse(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that a gradient touches, int64 [m], and their values."""
    rows = torch.nonzero(gradient.flatten(1).any(1)).flatten()
    return rows, gradient[rows]
