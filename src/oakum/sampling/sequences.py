"""Histories as training sequences: windows, next-item targets, batches of like lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
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
    times: int64 [s, t] microseconds of the inputs, values: float32 [s, t], both 0 at the pads and None where the log has
    none; target_times: int64 [b]. A row of the batch is a target, so that plug-ins and samplers treat it as any other pair.
    """

    inputs: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    place: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    times: Tensor | None = None
    values: Tensor | None = None
    target_times: Tensor | None = None


def pad_left(histories: Ragged, length: int) -> NDArray[np.int64]:
    """The last `length` events of each row, int64 [n, length], padded with -1 on the left."""
    tail = histories.tail(length)
    out = np.full((len(tail), length), PAD, np.int64)
    owners = tail.owners()
    place = np.arange(len(tail.items)) - tail.offsets[owners]
    out[owners, length - tail.lengths[owners] + place] = tail.items
    return out


def sequences(
    data: Dataset, order: Order, *, max_length: int, targets: Literal["each", "last"] = "each", wants: int = 0
) -> Iterator[Sequences]:
    """Training windows: the last max_length + 1 events of each user, a target at every place ("each") or one ("last").

    `order.batch_size` counts sequences, on average: every batch holds about as many targets as that many users of this
    log have, so that no target weighs more for standing in a short history. Users of like length share a batch (little
    is padded: time grows with the events, not with max_length); which users, and the order of the batches, come from a
    keyed hash of the user code. Users with one event have nothing to predict and are left out.
    """
    histories = data.histories.tail(max_length + 1)
    users = np.flatnonzero(histories.lengths >= 2)
    if not len(users):
        return
    # Lengths within an eighth of an octave of each other count as alike; inside a class the hash shuffles.
    alike = np.round(8 * np.log2(histories.lengths[users])).astype(np.int64)
    users = users[np.lexsort((keyed_hash(order.key("users"), users), alike))]
    per_user = histories.lengths[users] - 1 if targets == "each" else np.ones(len(users), np.int64)
    before = np.cumsum(per_user) - per_user
    number = before // max(1, round(order.batch_size * per_user.mean()))  # the batch that each user goes to
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    ends = np.append(starts[1:], len(users))
    for b in np.argsort(keyed_hash(order.key("batches"), np.arange(len(starts))), kind="stable"):
        chosen = users[starts[b] : ends[b]]
        yield _windows(histories.take(chosen), chosen, targets, wants)


def count_sequences(data: Dataset) -> int:
    """How many sequences an epoch has: the users with at least two events."""
    return int((data.histories.lengths >= 2).sum())


def _windows(part: Ragged, users: NDArray[np.int64], targets: str, wants: int) -> Sequences:
    width = int(part.lengths.max()) - 1
    owners = part.owners()
    within = np.arange(len(part.items)) - part.offsets[owners]
    last = part.lengths[owners] - 1
    column = width - last + within  # where an event stands as an input
    as_input = within < last
    as_target = within > 0 if targets == "each" else within == last

    def laid(values: NDArray[Any], fill: int) -> Tensor:
        out = np.full((len(part), width), fill, values.dtype)
        out[owners[as_input], column[as_input]] = values[as_input]
        return torch.from_numpy(out)

    rows = part.rows if part.rows is not None else np.arange(len(part.items))
    return Sequences(
        torch.from_numpy(rows[as_target].astype(np.int64)),
        wants,
        None,
        laid(part.items.astype(np.int64), PAD),
        torch.from_numpy((owners * width + column - 1)[as_target]),
        torch.from_numpy(users[owners[as_target]].astype(np.int64)),
        torch.from_numpy(part.items[as_target].astype(np.int64)),
        None if part.times is None else laid(part.times, 0),
        None if part.values is None else laid(part.values, 0),
        None if part.times is None else torch.from_numpy(part.times[as_target]),
    )
