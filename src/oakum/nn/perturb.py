"""One-step worst-case moves of named representations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oakum.seeds import Rng

TINY = 1e-12


def unit(x: Tensor) -> Tensor:
    """Vectors of length 1 along the last axis; zero stays zero."""
    return x / (x.norm(dim=-1, keepdim=True) + TINY)


def worst(
    loss: Tensor,
    reps: dict[str, Tensor],
    size: Tensor | float,
    *,
    names: Sequence[str] = ("query", "positive", "negative"),
    direction: str = "grad",
    rng: Rng | None = None,
) -> dict[str, Tensor]:
    """Representations moved by `size` along the gradient of a loss, vector by vector, as constants.

    loss: scalar. size: a number or [b], the length of every move of a row. Δ_v = size · g_v / |g_v|; no gradient flows
    through Δ. direction="random" draws it from a normal instead (the control of equal length). Names that are absent
    from `reps`, or that the loss does not depend on, stay as they are.
    """
    moving = [n for n in names if n in reps and reps[n].requires_grad]
    grads = torch.autograd.grad(loss, [reps[n] for n in moving], retain_graph=True, allow_unused=True)
    out = dict(reps)
    for name, grad in zip(moving, grads, strict=True):
        if grad is None:
            continue
        if direction == "random":
            assert rng is not None
            grad = torch.from_numpy(rng.standard_normal(tuple(grad.shape)).astype("float32")).to(grad)
        step = unit(grad.detach())
        scale = size
        if isinstance(size, Tensor):
            scale = size.reshape(-1, *([1] * (step.dim() - 1)))
        out[name] = reps[name] + scale * step
    return out
