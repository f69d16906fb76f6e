"""Altered views of histories: what augmentation, denoising and stability checks replace."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def some_rows(eligible: Tensor, share: float) -> Tensor:
    """A random choice of floor(share · count) of the rows that are eligible, bool [b]."""
    luck = torch.rand(len(eligible), device=eligible.device).masked_fill(~eligible, -1.0)
    n = int(share * int(eligible.sum()))
    out = torch.zeros_like(eligible)
    out[luck.topk(n).indices] = True
    return out


def some_of(there: Tensor, count: Tensor) -> Tensor:
    """`count` random places of each row among those that are there. bool [b, t], int64 [b] -> bool [b, t]."""
    luck = torch.rand(there.shape, device=there.device).masked_fill(~there, 2.0)
    rank = luck.argsort(1).argsort(1)
    return there & (rank < count[:, None])


def replaced(items: Tensor, there: Tensor, rows: Tensor, n: int, draw: Callable[[Tensor], Tensor]) -> Tensor:
    """Histories with up to `n` random events of the chosen rows replaced; a row with fewer has them all replaced.

    items int64 [b, t]; there bool [b, t], false at the padding, which stays; rows bool [b]. draw: given the items that go,
    int64 [k], those that come.
    """
    luck = torch.rand(items.shape, device=items.device).masked_fill(~(there & rows[:, None]), -1.0)
    best, at = luck.topk(min(n, items.shape[1]), dim=1)
    row, k = torch.nonzero(best >= 0, as_tuple=True)
    column = at[row, k]
    out = items.clone()
    out[row, column] = draw(items[row, column])
    return out


def other_within(order: Tensor, start: Tensor, size: Tensor, group: Tensor, items: Tensor) -> Tensor:
    """Uniform draws of another item of the same group, or of any other item where a group has one member. [k] -> [k].

    order: int64 [i] items sorted by group; start, size: int64 [groups] where each group stands in it; group: int64 [i].
    """
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    own = group[items]
    first = torch.where(size[own] > 1, start[own], torch.zeros_like(own))
    count = torch.where(size[own] > 1, size[own], torch.full_like(own, len(order)))
    luck = torch.rand(len(items), dtype=torch.float64, device=items.device)
    ahead = 1 + (luck * (count - 1)).long().clamp_max((count - 2).clamp_min(0))
    return order[first + (place[items] - first + ahead) % count]
