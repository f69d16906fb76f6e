"""One-step worst-case moves of named representations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from oakum.seeds import Rng

TINY = 1e-12


def unit(x: Tensor) -> Tensor:
    """Vectors of length 1 along the last axis; zero stays zero."""
    return x / x.norm(dim=-1, keepdim=True).clamp_min(TINY)


def worst(
    loss: Tensor,
    reps: dict[str, Tensor],
    size: Tensor | float,
    *,
    names: Sequence[str] = ("query", "positive", "negative"),
    direction: str = "grad",
    rng: Rng | None = None,
    rows: Mapping[str, tuple[str, Tensor]] | None = None,
) -> dict[str, Tensor]:
    """Representations moved by `size` along the gradient of a loss, vector by vector, as constants.

    loss: scalar. size: a number or [b], the length of every move of a row. Δ_v = size · g_v / |g_v|; no gradient flows
    through Δ. direction="random" draws it from a normal instead (the control of equal length). Names that are absent
    from `reps`, or that the loss does not depend on, stay as they are.

    rows: for each name the table it was read from and its row there, [b] or [b, n]; given, the gradients of a row are
    added up over the whole batch before they get their length (the form of 2018), else every sample moves on its own.
    """
    moving = [n for n in names if n in reps and reps[n].requires_grad]
    grads = torch.autograd.grad(loss, [reps[n] for n in moving], retain_graph=True, allow_unused=True)
    found = {n: g.detach() for n, g in zip(moving, grads, strict=True) if g is not None}
    if direction == "random":
        assert rng is not None
        found = {
            n: torch.from_numpy(rng.standard_normal(tuple(g.shape)).astype("float32")).to(g) for n, g in found.items()
        }
    out = dict(reps)
    for name, grad in (found if rows is None else _by_row(found, rows)).items():
        step = unit(grad)
        scale = size.reshape(-1, *([1] * (step.dim() - 1))) if isinstance(size, Tensor) else size
        out[name] = reps[name] + scale * step
    return out


def _by_row(grads: dict[str, Tensor], rows: Mapping[str, tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Each gradient replaced by the sum over all places, of all names, that read the same row of the same table."""
    out = dict(grads)
    for table in {rows[n][0] for n in grads}:
        names = [n for n in grads if rows[n][0] == table]
        flat = torch.cat([grads[n].reshape(-1, grads[n].shape[-1]) for n in names])
        _, code = torch.unique(torch.cat([rows[n][1].reshape(-1) for n in names]), return_inverse=True)
        total = flat.new_zeros(int(code.max()) + 1, flat.shape[-1]).index_add_(0, code, flat)[code]
        at = 0
        for n in names:
            count = rows[n][1].numel()
            out[n] = total[at : at + count].reshape(grads[n].shape)
            at += count
    return out
