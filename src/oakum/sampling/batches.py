"""Batches, one type a task, and the order in which they come.

Orders come from keys and row ids alone: a resumed run sees the same batches, and deleting one row leaves the
relative order of all others as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oakum.data import Dataset, Interactions
from oakum.kernels.shuffle import picked, shuffled
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

    def take(self, at: Tensor) -> Self:
        """Some rows of the batch, int64 [r]; tensors with a row a batch row lose the others, all else is kept."""
        kept: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value: Any = getattr(self, f.name)
            whole = isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(self)
            kept[f.name] = value[at] if whole else value.take(at, len(self)) if isinstance(value, Negatives) else value
        return type(self)(**kept)


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

    def take(self, at: Tensor, rows: int) -> Negatives:
        """Those of some rows of a batch of `rows`; shared ones stay shared."""
        cut = lambda x: x[at] if len(x) == rows else x
        return Negatives(cut(self.items), cut(self.log_q), None if self.weight is None else cut(self.weight))


@dataclass(slots=True)
class Pairs(Batch):
    """Observed pairs: users int64 [b], items int64 [b]."""

    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))


@dataclass(slots=True)
class Labelled(Pairs):
    """Pairs drawn from all users × items: labels float32 [b], 1 where the pair is in the log.

    rows: its place among the distinct pairs of the log (the order of `Dataset.matrix`), -1 where it is not in it. weights:
    float32 [b], what a row must weigh for the mean over rows to be the mean over all pairs, or None where it is that.
    """

    labels: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    weights: Tensor | None = None


def pairs(data: Dataset, order: Order, *, wants: int = 1, by: str = "events") -> Iterator[Pairs]:
    """Training pairs, shuffled by a keyed hash.

    by="events": every event once an epoch. by="users": as many draws as there are distinct pairs, the user uniform
    over users with events, then one of the user's items uniformly (light users weigh as much as heavy ones).
    """
    log = data.interactions
    if by == "events":
        positions = shuffled(order.key("pairs"), log.rows)
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
        own, who, had = picked(positions[start : start + order.batch_size], rows, users, items)
        yield Pairs(torch.from_numpy(own), wants, None, torch.from_numpy(who), torch.from_numpy(had))


def labelled_pairs(data: Dataset, order: Order, *, by: str = "halves") -> Iterator[Labelled]:
    """Clicked and unlabelled pairs of people with events and all items, with replacement; twice the distinct pairs an epoch.

    by="uniform": every pair of all alike. by="halves": half of a batch clicked, half unlabelled, each uniformly;
    "halves-weighted": the same with importance weights. Nothing of size users × items is made.
    """
    matrix = data.matrix
    active = np.flatnonzero(np.diff(matrix.indptr)).astype(np.int64)
    width, clicked = np.int64(data.num_items), matrix.nnz
    everything = len(active) * int(width)
    owners = np.repeat(np.arange(len(active)), np.diff(matrix.indptr)[active])
    known = owners * width + matrix.indices  # rising, since columns are sorted

    def draw(name: str, slots: np.ndarray, size: int) -> np.ndarray:
        return (keyed_hash(order.key(name), slots) % np.uint64(size)).astype(np.int64)

    def place_of(keys: np.ndarray) -> np.ndarray:
        at = np.searchsorted(known, keys)
        return np.where(known[np.minimum(at, clicked - 1)] == keys, at, -1)

    for start in range(0, 2 * clicked, order.batch_size):
        slots = np.arange(start, min(start + order.batch_size, 2 * clicked))
        if by == "uniform" or clicked == everything:
            keys = draw("pair", slots, everything)
            rows = place_of(keys)
            weights = None
        else:
            half = len(slots) // 2
            rows = np.concatenate([draw("clicked", slots[:half], clicked), np.full(len(slots) - half, -1)])
            keys = np.concatenate([known[rows[:half]], draw("unlabelled 0", slots[half:], everything)])
            again = 0
            while len(hit := half + np.flatnonzero(place_of(keys[half:]) >= 0)):
                again += 1
                keys[hit] = draw(f"unlabelled {again}", slots[hit], everything)
            share = clicked / everything
            weights = np.where(
                rows >= 0, share * len(slots) / max(1, half), (1 - share) * len(slots) / (len(slots) - half)
            )
        users, items = np.divmod(keys, width)
        yield Labelled(
            torch.from_numpy(rows),
            0,
            None,
            torch.from_numpy(active[users]),
            torch.from_numpy(items),
            torch.from_numpy((rows >= 0).astype(np.float32)),
            torch.from_numpy(weights.astype(np.float32)) if by == "halves-weighted" and weights is not None else None,
        )


@dataclass(slots=True)
class Rows(Batch):
    """Labelled rows: codes int64 [b, slots] and values float32 [b, slots] of their fields, labels float32 [b] in {0, 1};
    users, items int64 [b], -1 where the log has none."""

    codes: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    values: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0))
    labels: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))


Slots = tuple[NDArray[np.int32], NDArray[np.float32]]


def rows(
    log: Interactions,
    labels: NDArray[np.float32],
    slots: Callable[[NDArray[np.int64]], Slots],
    order: Order,
    only: NDArray[np.bool_] | None = None,
) -> Iterator[Rows]:
    """Every row once an epoch, shuffled by a keyed hash. slots: positions [b] -> codes and values [b, slots]; only: bool [n],
    the rows to take, None for all."""
    positions = shuffled(order.key("rows"), log.rows)
    if only is not None:
        positions = positions[only[positions]]
    for start in range(0, len(positions), order.batch_size):
        at = positions[start : start + order.batch_size]
        codes, values = slots(at)
        yield Rows(
            torch.from_numpy(log.rows[at]),
            0,
            None,
            torch.from_numpy(codes.astype(np.int64)),
            torch.from_numpy(values),
            torch.from_numpy(labels[at]),
            torch.from_numpy(log.users[at].astype(np.int64)),
            torch.from_numpy(log.items[at].astype(np.int64)),
        )
