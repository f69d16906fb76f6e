"""Vectors for people who were not in the training data, from their history and a trained item table."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from oakum.data import Ragged


def ridge(items: Tensor, histories: Ragged, *, unobserved: float = 0.1, l2: float = 0.1) -> Tensor:
    """The user vector that an item table explains best, in closed form. [i, d], q histories -> [q, d].

    p = (a G/I + mean of q qᵀ over the history + λ tr(G/I)/d · 1)⁻¹ · mean of q over the history, with G = QᵀQ: the
    implicit least squares of Hu et al. (2008) on fixed items, scaled so that `unobserved` and `l2` do not depend on
    the catalogue or the length of the history. An empty history gives NaN. Cost |H| d² + d³ a request.
    """
    d = items.shape[1]
    mean_gram = items.T @ items / len(items)
    base = unobserved * mean_gram + l2 * mean_gram.trace() / d * torch.eye(d, dtype=items.dtype, device=items.device)
    out = torch.full((len(histories), d), torch.nan, dtype=items.dtype, device=items.device)
    lengths = torch.from_numpy(histories.lengths.copy())
    flat = torch.from_numpy(histories.items.astype("int64")).to(items.device)
    starts = torch.from_numpy(histories.offsets[:-1].copy())
    for r in torch.nonzero(lengths > 0).flatten().tolist():
        rows = items[flat[starts[r] : starts[r] + lengths[r]]]
        out[r] = torch.linalg.solve(base + rows.T @ rows / len(rows), rows.mean(0))
    return out


def descend(loss: Callable[[Tensor], Tensor], start: Tensor, *, steps: int = 60, rate: float = 0.1) -> Tensor:
    """A vector that lowers a loss while all else is frozen, by Adam's rule from `start`. [d] -> [d].

    What a new client does on its own device, where no closed form is known. Gradients are taken of the vector alone, also
    inside `torch.no_grad`; same inputs, same result. Cost `steps` evaluations forward and back.
    """
    row, mean, square = start.detach().clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            at = row.clone().requires_grad_()
            (slope,) = torch.autograd.grad(loss(at), at)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        row = row - rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)
    return row
