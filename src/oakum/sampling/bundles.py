"""Bundles as training batches: whole sets of items, padded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oakum.data import Dataset, Ragged
from oakum.sampling.batches import Batch, Order
from oakum.sampling.sequences import alike
from oakum.seeds import keyed_hash


@dataclass(slots=True)
class Bundles(Batch):
    """users int64 [b], the bundles; members int64 [b, t], the items of each, in code order, padded with -1 on the right
    (a plug-in that takes items out leaves -1 where they stood); rows: the last log row of each bundle."""

    users: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    members: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))


def sets_of(histories: Ragged, num_items: int) -> Ragged:
    """The distinct items of each row, in code order."""
    matrix = histories.matrix(num_items)
    return Ragged(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))


def padded(sets: Ragged) -> Tensor:
    """Rows side by side, int64 [n, longest], padded with -1 on the right."""
    lengths = sets.lengths
    out = np.full((len(sets), int(lengths.max(initial=0))), -1, np.int64)
    out[sets.owners(), np.arange(len(sets.items)) - np.repeat(sets.offsets[:-1], lengths)] = sets.items
    return torch.from_numpy(out)


def bundles(data: Dataset, order: Order, *, max_size: int) -> Iterator[Bundles]:
    """Every bundle of at least two items once an epoch; bundles of like size share a batch (little is padded), and which,
    and the order of the batches, come from keyed hashes.

    Of a bundle with more than max_size items a hash chooses which are seen in this epoch.
    """
    whole = Ragged(data.matrix.indptr.astype(np.int64), data.matrix.indices)
    if (whole.lengths > max_size).any():
        owners, luck = whole.owners(), keyed_hash(order.key("items"), np.arange(len(whole.items)))
        ranks = np.empty(len(luck), np.int64)
        ranks[np.lexsort((luck, owners))] = np.arange(len(luck))
        whole = whole.keep(ranks - whole.offsets[owners] < max_size)
    log = data.interactions
    last = np.full(data.num_users, -1, np.int64)
    np.maximum.at(last, log.users, log.rows)
    able = np.flatnonzero(whole.lengths >= 2)
    for at in alike(able, whole.lengths, np.ones(len(whole), np.int64), order):
        rows = torch.from_numpy(last[at])
        yield Bundles(rows, 0, None, torch.from_numpy(at), padded(whole.take(at)))


def count_bundles(data: Dataset) -> int:
    """How many bundles an epoch has."""
    return int((data.user_counts >= 2).sum())
