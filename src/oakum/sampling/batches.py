"""Batches, one type a task, and the order in which they come.

Orders come from keys and row ids alone: a resumed run sees the same batches, and deleting one row leaves the
relative order of all others as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from oakum.data import Dataset
from oakum.seeds import derive, keyed_hash


@dataclass(frozen=True, slots=True)
class Order:
    """What fixes the batches of one epoch: a seed, the phase, the epoch and the batch size."""

    seed: int
    phase: str
    epoch: int
    batch_size: int

    def key(self, name: str) -> int:
        """A 63-bit key for one purpose within this epoch."""
        return derive(self.seed, "order", self.phase, self.epoch, name)


@dataclass(slots=True)
class Batch:
    """What all batches share: `rows` int64 [b] log rows, `wants` negatives a row that the engine shall draw."""

    rows: Tensor
    wants: int = 0
    negatives: Negatives | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Self:
        """The batch with its tensors on `device`."""
        moved: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value: Any = getattr(self, f.name)
            moved[f.name] = value.to(device) if isinstance(value, Tensor | Negatives) else value
        return type(self)(**moved)


@dataclass(slots=True)
class Negatives:
    """items int64 [b, n], or [1, n] where all rows share them; log_q float32 of the same shape, the log-probability of
    the draw; weight float32 [b, n] (0: not a negative of this row) or None."""

    items: Tensor
    log_q: Tensor
    weight: Tensor | None = None

    def to(self, device: torch.device) -> Negatives:
        """The same draws on `device`."""
        weight = None if self.weight is None else self.weight.to(device)
        return Negatives(self.items.to(device), self.log_q.to(device), weight)


@dataclass(slots=True)
class Pairs(Batch):
    """Observed pairs: users int64 [b], items int64 [b]."""

    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))


def pairs(data: Dataset, order: Order, *, wants: int = 1, by: str = "events") -> Iterator[Pairs]:
    """Training pairs, shuffled by a keyed hash.

    by="events": every event once an epoch. by="users": as many draws as there are distinct pairs, the user uniform
    over users with events, then one of the user's items uniformly (light users weigh as much as heavy ones).
    """
    log = data.interactions
    if by == "events":
        positions = np.argsort(keyed_hash(order.key("pairs"), log.rows), kind="stable")
        users, items, rows = log.users, log.items, log.rows
    else:
        matrix = data.matrix
        active = np.flatnonzero(np.diff(matrix.indptr))
        n = matrix.nnz
        draws = keyed_hash(order.key("users"), np.arange(n, dtype=np.int64))
        users = active[(draws % np.uint64(len(active))).astype(np.int64)].astype(np.int32)
        degree = np.diff(matrix.indptr)[users].astype(np.uint64)
        within = (keyed_hash(order.key("items"), np.arange(n, dtype=np.int64)) % degree).astype(np.int64)
        items = matrix.indices[matrix.indptr[users] + within]
        rows = positions = np.arange(n, dtype=np.int64)
    for start in range(0, len(positions), order.batch_size):
        at = positions[start : start + order.batch_size]
        yield Pairs(
            torch.from_numpy(rows[at]),
            wants,
            None,
            torch.from_numpy(users[at].astype(np.int64)),
            torch.from_numpy(items[at].astype(np.int64)),
        )
