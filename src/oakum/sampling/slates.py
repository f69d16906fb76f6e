"""Logs of what was shown: choices among the items of a slate, and batches of them.

A slate is the rows of a user that share the field `slate`; value 1 is what was taken, 0 what was shown beside it, and
a slate without a 1 was left alone. A log without that field holds takes only (rows of value above 0, or all of them).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oakum.data import Dataset, Ids
from oakum.kernels.shuffle import shuffled
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import PAD

Among = Literal["shown", "drawn"]


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Choices in the order of users and time; a slate of which m items were taken makes m choices, each among the
    items that were not taken and its own.

    users, items: [c], items -1 where nothing was taken. chosen: [c], 0 for nothing, else place + 1. rows: [c] log row of
    what was taken, of the first item shown otherwise. offsets: [users + 1], the choices of each user.
    """

    users: Ids
    items: Ids
    chosen: NDArray[np.int64]
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    flat: Ids
    taken: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users)

    def shown(self, index: NDArray[np.integer]) -> NDArray[np.int64]:
        """What was shown at these choices, int64 [n, places], -1 where there was nothing (or another taken item)."""
        width = int(self.lengths[index].max(initial=1))
        at = np.arange(width)[None]
        place = np.minimum(self.starts[index][:, None] + at, max(0, len(self.flat) - 1))
        other = self.taken[place] & (at + 1 != self.chosen[index][:, None])
        out = self.flat[place].astype(np.int64)
        out[(at >= self.lengths[index][:, None]) | other] = PAD
        return out


@lru_cache(maxsize=2)
def choices(data: Dataset, *, slates: bool = True) -> Choices:
    """The choices of a log. slates=False: only what was taken, each shown alone, as if no slates were known."""
    log = data.interactions
    taken = np.ones(len(log), bool) if log.values is None else log.values > 0
    slate = log.fields.get("slate")
    if slate is None or not slates:
        log, taken = log.take(taken), taken[taken]
        slate = np.arange(len(log))
    place = log.fields.get("position", log.rows)
    order = np.lexsort((log.rows, place, slate, log.users))
    users, flat, rows, taken, slate = log.users[order], log.items[order], log.rows[order], taken[order], slate[order]
    new = np.ones(len(order), bool)
    new[1:] = (users[1:] != users[:-1]) | (slate[1:] != slate[:-1])
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, len(order)))
    group = np.cumsum(new) - 1
    first = np.minimum.reduceat(rows, starts) if len(starts) else rows
    when = first if log.times is None or not len(starts) else np.minimum.reduceat(log.times[order], starts)
    hit = np.flatnonzero(taken)
    left = np.setdiff1d(np.arange(len(starts)), group[hit])
    of = np.concatenate([group[hit], left])
    at = np.concatenate([hit, np.full(len(left), -1)])
    sort = np.lexsort((at, first[of], when[of], users[starts[of]]))
    of, at = of[sort], at[sort]
    owner = users[starts[of]]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=data.num_users))])
    none = at < 0
    return Choices(
        owner,
        np.where(none, PAD, flat[at] if len(flat) else PAD).astype(np.int32),
        np.where(none, 0, at - starts[of] + 1),
        np.where(none, rows[starts[of]], rows[at] if len(rows) else 0),
        offsets,
        starts[of],
        lengths[of],
        flat,
        taken,
    )


@dataclass(slots=True)
class Slates(Batch):
    """Choices in the windows of their users; a row of the batch is a choice.

    inputs: int64 [s, t] what was taken at each step of a window, oldest first, -1 for nothing and for padding (on the
    left). place: int64 [b] the flat position in [s · t] of each choice: it was made after the steps before it. users,
    items: int64 [b] who chose what (-1: nothing). shown: int64 [b, places], -1 pads. chosen: int64 [b], 0 for nothing,
    else place + 1.
    """

    inputs: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    place: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    items: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    shown: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))
    chosen: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))


def slates(data: Dataset, order: Order, *, max_length: int, among: Among = "shown", wants: int = 0) -> Iterator[Slates]:
    """The last `max_length` choices of every user, users shuffled by a keyed hash; the batch size counts users.

    among="drawn" leaves out what was shown and not taken, for likelihoods over `wants` negatives instead.
    """
    found = choices(data, slates=among == "shown")
    users = np.flatnonzero(np.diff(found.offsets))
    users = users[shuffled(order.key("users"), users)]
    for start in range(0, len(users), order.batch_size):
        chosen = users[start : start + order.batch_size]
        lengths = np.minimum(np.diff(found.offsets)[chosen], max_length)
        width = int(lengths.max())
        owners = np.repeat(np.arange(len(chosen)), lengths)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        index = (found.offsets[chosen + 1] - lengths)[owners] + within
        column = width - lengths[owners] + within
        inputs = np.full((len(chosen), width), PAD, np.int64)
        inputs[owners, column] = found.items[index]
        yield Slates(
            torch.from_numpy(found.rows[index]),
            wants,
            None,
            torch.from_numpy(inputs),
            torch.from_numpy(owners * width + column),
            torch.from_numpy(found.users[index].astype(np.int64)),
            torch.from_numpy(found.items[index].astype(np.int64)),
            torch.from_numpy(found.shown(index)),
            torch.from_numpy(found.chosen[index]),
        )


def count_slates(data: Dataset, *, max_length: int, among: Among = "shown") -> tuple[int, int]:
    """How many users have a choice, and how many choices the windows of an epoch hold."""
    per_user = np.diff(choices(data, slates=among == "shown").offsets)
    return int((per_user > 0).sum()), int(np.minimum(per_user, max_length).sum())
