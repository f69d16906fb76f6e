"""Histories as training sequences: windows, next-item targets, batches of like lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oakum.data import Dataset, Ragged
from oakum.sampling.batches import Batch, Order
from oakum.seeds import keyed_hash

PAD = -1


@dataclass(slots=True)
class Sequences(Batch):
    """Windows of histories and what came next.

    inputs: int64 [s, t] item codes, oldest first, padded with -1 on the left. place: int64 [b] the flat position in
    [s · t] after which each target came. users, items: int64 [b] owner and item of each target; rows: its log row.
    A row of the batch is a target, so that plug-ins and samplers treat it as any other pair.
    """

    inputs: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    place: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))


def pad_left(histories: Ragged, length: int) -> np.ndarray:
    """The last `length` events of each row, int64 [n, length], padded with -1 on the left."""
    tail = histories.tail(length)
    out = np.full((len(tail), length), PAD, np.int64)
    owners = tail.owners()
    place = np.arange(len(tail.items)) - tail.offsets[owners]
    out[owners, length - tail.lengths[owners] + place] = tail.items
    return out


def sequences(
    data: Dataset, order: Order, *, max_length: int, targets: str = "each", wants: int = 0
) -> Iterator[Sequences]:
    """Training windows: the last max_length + 1 events of each user, a target at every place ("each") or one ("last").

    `order.batch_size` counts sequences. Users of like length share a batch (so that little is padded: time grows with
    the events, not with max_length); which users and in which order comes from a keyed hash of the user code.
    """
    histories = data.histories.tail(max_length + 1)
    users = np.flatnonzero(histories.lengths >= 2)
    key = keyed_hash(order.key("users"), users)
    # Lengths within an eighth of each other count as alike; inside a class the hash shuffles.
    alike = np.round(8 * np.log2(histories.lengths[users])).astype(np.int64)
    users = users[np.lexsort((key, alike))]
    starts = np.arange(0, len(users), order.batch_size)
    turn = np.argsort(keyed_hash(order.key("batches"), starts), kind="stable")
    for start in starts[turn]:
        chosen = users[start : start + order.batch_size]
        part = histories.take(chosen)
        width = int(part.lengths.max()) - 1
        owners = part.owners()
        within = np.arange(len(part.items)) - part.offsets[owners]
        column = width - (part.lengths[owners] - 1) + within  # where an event would stand as an input
        is_input = within < part.lengths[owners] - 1
        inputs = np.full((len(part), width), PAD, np.int64)
        inputs[owners[is_input], column[is_input]] = part.items[is_input]
        is_target = within > 0 if targets == "each" else within == part.lengths[owners] - 1
        rows = part.rows if part.rows is not None else np.arange(len(part.items))
        yield Sequences(
            torch.from_numpy(rows[is_target].astype(np.int64)),
            wants,
            None,
            torch.from_numpy(inputs),
            torch.from_numpy((owners * width + column - 1)[is_target]),
            torch.from_numpy(chosen[owners[is_target]].astype(np.int64)),
            torch.from_numpy(part.items[is_target].astype(np.int64)),
        )
