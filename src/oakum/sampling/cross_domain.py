"""Histories seen three ways (all, source, target) with what was known before each event of the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oakum.data import Dataset, Ragged
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import alike, pad_left

VIEWS = ("mix", "source", "target")


@dataclass(slots=True)
class Aligned(Batch):
    """Three windows a sequence, and the events of the target that are to be predicted.

    mix, source, target: int64 [s, ·] item codes, oldest first, -1 pads on the left. sequence: int64 [b] the sequence of each
    prediction, slot: int64 [b] its number within it. known: int64 [b, 3], for mix, source and target the columns that lie
    strictly before the predicted event in the merged order: those below this number. users, items: int64 [b]; last: bool
    [b], the latest prediction of its sequence. The window of the mixture ends where the last prediction stands, so nothing
    that happened after it is in the batch at all.
    """

    mix: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    source: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    target: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    sequence: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    slot: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    known: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 3, dtype=torch.long))
    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    last: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.bool))


def of_domains(data: Dataset, sides: NDArray[np.int8], which: str) -> Dataset:
    """The events of one view. sides: int8 [items], 1 target, 2 source, 0 neither; which: one of `VIEWS`."""
    side = sides[data.interactions.items]
    kept = {"mix": side > 0, "source": side == 2, "target": side == 1}[which]
    return data if kept.all() else data.with_interactions(data.interactions.take(kept))


def windows(histories: Ragged, sides: NDArray[np.int8], length: int) -> tuple[NDArray[np.int64], ...]:
    """The last `length` events of each history as mix, source and target, each int64 [n, w] with w the longest there."""
    side = sides[histories.items]
    parts = (histories.keep(side > 0), histories.keep(side == 2), histories.keep(side == 1))
    return tuple(pad_left(p, min(length, int(p.lengths.max(initial=1)) or 1)) for p in parts)


def aligned(
    data: Dataset, sides: NDArray[np.int8], order: Order, *, max_length: int, wants: int = 0
) -> Iterator[Aligned]:
    """Batches with a prediction for every event of the target that has a state of the target within the window, and for the
    first one where something happened in the source before it. `order.batch_size` counts sequences, of like length."""
    histories = of_domains(data, sides, "mix").histories
    inside = sides[histories.items] == 1
    place = np.arange(len(inside)) - histories.offsets[histories.owners()]
    last = np.full(len(histories), -1, np.int64)
    np.maximum.at(last, histories.owners()[inside], place[inside])
    count = np.bincount(histories.owners()[inside], minlength=len(histories))
    users = np.flatnonzero(last > 0)
    for chosen in alike(users, np.minimum(last, max_length), np.minimum(count, max_length), order):
        yield _batch(histories.take(chosen), last[chosen], chosen, sides, max_length, wants)


def count_aligned(data: Dataset, sides: NDArray[np.int8]) -> int:
    """How many sequences `aligned` makes of a log: users with an event of the target that is not their first."""
    histories = of_domains(data, sides, "mix").histories
    inside = sides[histories.items] == 1
    inside[histories.offsets[:-1][histories.lengths > 0]] = False
    return len(np.unique(histories.owners()[inside]))


def _batch(
    part: Ragged,
    last: NDArray[np.int64],
    users: NDArray[np.int64],
    sides: NDArray[np.int8],
    max_length: int,
    wants: int,
) -> Aligned:
    owners = part.owners()
    place = np.arange(len(owners)) - part.offsets[owners]
    inside = sides[part.items] == 1
    before = place < last[owners]
    mix, source, target = windows(part.keep(before), sides, max_length)
    targets = np.cumsum(inside) - inside  # events of the target before each event, of all rows so far ...
    targets -= targets[part.offsets[:-1]][owners]  # ... and of this row
    so_far = np.stack([place, place - targets, targets], 1)
    ends = part.offsets[:-1] + last
    widths = np.array([mix.shape[1], source.shape[1], target.shape[1]])
    known = np.maximum(widths - (so_far[ends][owners] - so_far), 0)
    predicted = inside & (place <= last[owners]) & (place > 0)
    predicted &= np.where(targets > 0, known[:, 2] > 0, known[:, 0] > 0)
    at = np.flatnonzero(predicted)
    counts = np.bincount(owners[at], minlength=len(part))
    slot = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = part.rows if part.rows is not None else np.arange(len(owners))
    known[so_far == 0] = 0  # padding lies below the first event
    as_tensor = lambda x: torch.from_numpy(x.astype(np.int64))
    return Aligned(
        as_tensor(rows[at]),
        wants,
        None,
        mix=as_tensor(mix),
        source=as_tensor(source),
        target=as_tensor(target),
        sequence=as_tensor(owners[at]),
        slot=as_tensor(slot),
        known=as_tensor(known[at]),
        users=as_tensor(users[owners[at]]),
        items=as_tensor(part.items[at]),
        last=torch.from_numpy(at == ends[owners[at]]),
    )
