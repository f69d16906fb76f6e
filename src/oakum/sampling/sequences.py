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

from oakum.data import Dataset, Queries, Ragged
from oakum.sampling.batches import Batch, Order
from oakum.seeds import keyed_hash

PAD = -1


@dataclass(slots=True)
class Sequences(Batch):
    """Windows of histories and what came next.

    inputs: int64 [s, t] item codes, oldest first, padded with -1 on the left. place: int64 [b] the flat position in
    [s · t] after which each target came. users, items: int64 [b] owner and item of each target; rows: its log row.
    times: int64 [s, t] microseconds of the inputs, values: float32 [s, t], both 0 at the pads and None where the log has
    none; target_times: int64 [b], target_values: float32 [b]. A row of the batch is a target, so that plug-ins and
    samplers treat it as any other pair.
    """

    inputs: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    place: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    times: Tensor | None = None
    values: Tensor | None = None
    target_times: Tensor | None = None
    target_values: Tensor | None = None


def pad_left(histories: Ragged, length: int, column: Literal["items", "times", "values"] = "items") -> NDArray[Any]:
    """The last `length` events of each row, [n, length]: int64 items padded with -1 on the left, or their int64 times or
    float32 values padded with 0."""
    tail = histories.tail(length)
    found: NDArray[Any] = getattr(tail, column)
    items = column == "items"
    out = np.full((len(tail), length), PAD if items else 0, np.int64 if items else found.dtype)
    owners = tail.owners()
    place = np.arange(len(tail.items)) - tail.offsets[owners]
    out[owners, length - tail.lengths[owners] + place] = found
    return out


def shortened(histories: Ragged, key: int, length: int, alpha: float) -> Ragged:
    """Stochastic length (Zhai et al. 2024): a row of n events with n > m = length^(alpha / 2) stays whole with
    probability length^alpha / n², else m of its events stay, in order. Which, comes from hashes of user and row ids."""
    most = max(2, int(length ** (alpha / 2)))
    n = histories.lengths
    luck = keyed_hash(key, np.arange(len(n))) / 2.0**64
    cut = (n > most) & (luck * np.maximum(n, 1.0) ** 2 >= length**alpha)
    rows = histories.rows if histories.rows is not None else np.arange(len(histories.items))
    owners = histories.owners()
    order = np.lexsort((keyed_hash(key ^ 1, rows), owners))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - histories.offsets[owners]
    keep = (rank < most) | ~cut[owners]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners[keep], minlength=len(n)))]).astype(np.int64)
    pick = lambda column: None if column is None else column[keep]
    return Ragged(offsets, histories.items[keep], pick(histories.times), pick(histories.values), rows[keep])


def like_lengths(lengths: NDArray[np.int64], pairs: int = 1 << 25) -> Iterator[NDArray[np.int64]]:
    """Positions of the rows with events, in blocks of like lengths with at most `pairs` pairs of events (or one row)."""
    known = np.flatnonzero(lengths > 0)
    known = known[np.argsort(-lengths[known], kind="stable")]
    start = 0
    while start < len(known):
        size = min(512, max(1, pairs // int(lengths[known[start]]) ** 2))
        yield known[start : start + size]
        start += size


def typical_gap(data: Dataset) -> Tensor:
    """The median time between two events of a history, microseconds, float64 []; 0 without times."""
    histories = data.histories
    if histories.times is None or len(histories.items) < 2:
        return torch.zeros((), dtype=torch.float64)
    owners = histories.owners()
    steps = np.diff(histories.times)[owners[1:] == owners[:-1]]
    return torch.tensor(float(np.median(steps)) if len(steps) else 0.0, dtype=torch.float64)


def times_of(queries: Queries, width: int, gap: float) -> tuple[Tensor, Tensor]:
    """Times of the latest `width` events int64 [q, width], and of the request [q]: the last event's where not given.

    Histories without times get events one `gap` apart, the last of them at the request.
    """
    histories = queries.histories
    if histories.times is not None:
        times = torch.from_numpy(pad_left(histories, width, "times"))
        asked = times[:, -1] if queries.at is None else torch.from_numpy(queries.at)
        return times, asked
    asked = torch.zeros(len(queries), dtype=torch.long) if queries.at is None else torch.from_numpy(queries.at)
    back = torch.arange(width - 1, -1, -1) * int(gap)
    return asked[:, None] - back, asked


def sequences(
    data: Dataset,
    order: Order,
    *,
    max_length: int,
    targets: Literal["each", "last"] = "each",
    wants: int = 0,
    alpha: float = 2.0,
) -> Iterator[Sequences]:
    """Training windows: the last max_length + 1 events of each user, a target at every place ("each") or one ("last").

    `order.batch_size` counts sequences, on average: every batch holds about as many targets as that many users of this
    log have, so that no target weighs more for standing in a short history. Users of like length share a batch (little
    is padded: time grows with the events, not with max_length); which users, and the order of the batches, come from a
    keyed hash of the user code. Users with one event have nothing to predict and are left out. alpha below 2 shortens long histories (`shortened`).
    """
    histories = data.histories.tail(max_length + 1)
    if alpha < 2:
        histories = shortened(histories, order.key("length"), max_length, alpha)
    users = np.flatnonzero(histories.lengths >= 2)
    per_user = histories.lengths - 1 if targets == "each" else np.ones(len(histories), np.int64)
    for chosen in alike(users, histories.lengths, per_user, order):
        yield windows(histories.take(chosen), chosen, targets, wants)


def alike(
    users: NDArray[np.int64],
    lengths: NDArray[np.int64],
    targets: NDArray[np.int64],
    order: Order,
    *,
    names: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """The users of each batch: of like length, about `order.batch_size` times the mean number of targets in each.

    users: those to batch; lengths, targets: int64 of everybody, by user code; names: what is hashed to order them, where
    it is not the code (row ids of events).
    """
    if not len(users):
        return
    # Lengths within an eighth of an octave of each other count as alike; inside a class the hash shuffles.
    classes = np.round(8 * np.log2(lengths[users])).astype(np.int64)
    users = users[np.lexsort((keyed_hash(order.key("users"), users if names is None else names[users]), classes))]
    per_user = targets[users]
    before = np.cumsum(per_user) - per_user
    number = before // max(1, round(order.batch_size * per_user.mean()))  # the batch that each user goes to
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    ends = np.append(starts[1:], len(users))
    for b in np.argsort(keyed_hash(order.key("batches"), np.arange(len(starts))), kind="stable"):
        yield users[starts[b] : ends[b]]


def prefixes(
    data: Dataset, order: Order, *, max_length: int, wants: int = 0, around: bool = False
) -> Iterator[Sequences]:
    """Every event with what came before it, one row of inputs a target: the latest `max_length` events, oldest first.

    around: the events after the target, too (the latest of all others; the target itself is left out). Events of like
    past share a batch of about `order.batch_size` targets. Events with no other are left out. For models that read a past
    as a whole, where one pass over a history would show a place what comes later.
    """
    histories = data.histories
    owners, there = histories.owners(), np.arange(len(histories.items))
    past = np.minimum(_others(histories, owners, around), max_length)
    rows = histories.rows if histories.rows is not None else there
    targets = np.flatnonzero(past)
    for at in alike(targets, past, np.ones(len(past), np.int64), order, names=rows):
        width = int(past[at].max())
        back = np.arange(width, 0, -1)  # how far from the target, or from the end of the history
        stop = histories.offsets[owners[at] + 1] if around else at
        source = stop[:, None] - back
        if around:
            source -= source <= at[:, None]
        known = back <= past[at][:, None]
        source = np.where(known, source, 0)
        laid = lambda column, fill: torch.from_numpy(np.where(known, column[source], fill))  # noqa: B023
        values, times = histories.values, histories.times
        yield Sequences(
            torch.from_numpy(rows[at].astype(np.int64)),
            wants,
            None,
            laid(histories.items.astype(np.int64), PAD),
            torch.arange(1, len(at) + 1) * width - 1,
            torch.from_numpy(owners[at]),
            torch.from_numpy(histories.items[at].astype(np.int64)),
            None if times is None else laid(times, 0),
            None if values is None else laid(values, np.float32(0)),
            None if times is None else torch.from_numpy(times[at]),
            None if values is None else torch.from_numpy(values[at]),
        )


def count_prefixes(data: Dataset, *, around: bool = False) -> int:
    """How many targets `prefixes` has."""
    histories = data.histories
    return int((_others(histories, histories.owners(), around) > 0).sum())


def _others(histories: Ragged, owners: NDArray[np.int64], around: bool) -> NDArray[np.int64]:
    """How many events each event is read with: all others of its history, or those before it."""
    if around:
        return histories.lengths[owners] - 1
    return np.arange(len(owners)) - histories.offsets[owners]


def count_sequences(data: Dataset) -> int:
    """How many sequences an epoch has: the users with at least two events."""
    return int((data.histories.lengths >= 2).sum())


def windows(part: Ragged, users: NDArray[np.int64], targets: str, wants: int) -> Sequences:
    """Histories of these users as one batch: all events but the last as inputs, a target at every place ("each") or at the
    last one ("last")."""
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
        None if part.values is None else torch.from_numpy(part.values[as_target]),
    )
