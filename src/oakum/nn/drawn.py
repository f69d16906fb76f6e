"""Drawn items that rows are compared with: scored where they stand in their table, copied only for whoever asks.

What is compiled is loaded by whoever scores drawn items, not by all who train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oakum.losses import against


class _Dots(torch.autograd.Function):
    """query[r] · table[codes[r, c]]; on the way back, too, no row of the table is copied."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, table: Tensor, codes: Tensor) -> Tensor:
        from oakum.kernels.spmm import dots

        ctx.save_for_backward(query, table, codes)
        arrays = (t.detach().contiguous().numpy() for t in (query, table, codes))
        return torch.from_numpy(dots(*arrays, threads=torch.get_num_threads()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        query, table, codes = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody will differentiate again
            to_query = torch.einsum("bn,bnd->bd", grads[0], table[codes])
            outer = (grads[0].unsqueeze(-1) * query.unsqueeze(1)).flatten(0, 1)
            return to_query, torch.zeros_like(table).index_add(0, codes.flatten(), outer), None
        from oakum.kernels.spmm import push, times

        b, n = codes.shape
        # The gradient is a sparse matrix with n entries a row.
        ends = np.arange(b + 1, dtype=np.int64) * n
        x, rows, weights = (t.detach().contiguous().numpy() for t in (query, codes.flatten(), grads[0].flatten()))
        whole = table.detach().contiguous().numpy()
        found = times(ends, rows, weights, whole, threads=torch.get_num_threads())
        into = np.zeros_like(whole)
        push(ends, rows, weights, np.arange(b), x, into)
        return torch.from_numpy(found), torch.from_numpy(into), None


def scores_at(query: Tensor, table: Tensor, codes: Tensor) -> Tensor:
    """query[r] · table[codes[r, c]]: [b, d], [items, d], int64 [b, n] or [1, n] (shared) -> [b, n]. Derivatives of any order."""
    alike = query.dtype == table.dtype and query.dtype in (torch.float32, torch.float64)
    if query.device.type != "cpu" or not alike or len(codes) != len(query):
        return against(query, table[codes])
    out: Tensor = _Dots.apply(query, table, codes)
    return out


class Drawn(dict[str, Tensor]):
    """Representations whose "negative" [b, n, d], the rows `codes` [b, n] of `table`, is made when somebody first asks for it.

    At 64 numbers an item the copy costs ten times the scores. `scores` is what a loss reads; `whole` what plug-ins get.
    """

    def __init__(self, reps: Mapping[str, Tensor], table: Tensor, codes: Tensor) -> None:
        super().__init__(reps)
        self.table, self.codes = table, codes

    def __missing__(self, name: str) -> Tensor:
        if name != "negative":
            raise KeyError(name)
        self[name] = self.table.index_select(0, self.codes.flatten()).view(*self.codes.shape, -1)
        return self[name]


def whole(reps: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with all of them made, for whoever may move any."""
    return {**reps, "negative": reps["negative"]} if isinstance(reps, Drawn) else reps


def drawn_scores(query: Tensor, reps: Mapping[str, Tensor]) -> Tensor:
    """Scores of the drawn items [b, n]: from "negative" where somebody has asked for it, else from the table.

    Both ways give the same numbers and the same gradients of the table to the last bit.
    """
    if isinstance(reps, Drawn) and "negative" not in reps:
        return scores_at(query, reps.table, reps.codes)
    negative = reps["negative"]
    if len(negative) != len(query):
        return against(query, negative)
    places = torch.arange(negative[..., 0].numel(), device=negative.device).view(negative.shape[:2])
    return scores_at(query, negative.flatten(0, 1), places)
