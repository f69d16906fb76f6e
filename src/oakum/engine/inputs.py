"""What needs gradients and is no training: an input that is moved, and training steps that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from oakum.errors import OakumError

Direction = Literal["plain", "unit", "sign", "tanh"]

_DIRECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda g: g,
    "unit": lambda g: g / g.norm(dim=-1, keepdim=True).clamp_min(1e-12),
    "sign": torch.sign,
    "tanh": torch.tanh,
}


def slope(objective: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """∂ objective / ∂ input at a point, in its shape; the objective may have any shape and is summed. Nothing moves."""
    leaf = at.detach().requires_grad_(True)
    with torch.enable_grad():
        (grad,) = torch.autograd.grad(objective(leaf).sum(), leaf)
    return grad.detach()


def ascend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    project: Callable[[Tensor], Tensor] | None = None,
    steps: int = 10,
    rate: float = 0.1,
    *,
    direction: Direction | Callable[[Tensor], Tensor] = "plain",
    momentum: float = 0.0,
    judge: Callable[[Tensor], float] | None = None,
) -> Tensor:
    """Move an input uphill: x ← project(x + rate · v), v ← momentum · v + direction(∂ objective / ∂ x).

    objective: any shape, summed, so rows that do not touch each other move each by its own gradient. direction: the
    gradient as it is, of length 1 along the last axis, its signs, its tanh, or any function of it. project: back into what is allowed; the start
    is projected too. judge: a figure of merit; given, the best point met is returned (the start counts) in place of the last.
    Nothing but the input moves. Raises `OakumError` where a gradient is not finite.
    """
    allowed = project if project is not None else lambda x: x
    with torch.no_grad():
        here = allowed(start.detach().clone())
    turn = direction if callable(direction) else _DIRECTIONS[direction]
    speed = torch.zeros_like(here)
    best, best_value = here, judge(here) if judge is not None else 0.0
    for step in range(steps):
        grad = slope(objective, here)
        if not torch.isfinite(grad).all():
            raise OakumError(f"The gradient of the input is not finite in step {step}; lower the rate (now {rate:g}).")
        with torch.no_grad():
            speed = momentum * speed + turn(grad)
            here = allowed(here + rate * speed)
        if judge is not None and (value := judge(here)) > best_value:
            best, best_value = here, value
    return best if judge is not None else here


def unroll(
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    start: Mapping[str, Tensor],
    steps: int,
    rate: float,
    *,
    update: Literal["sgd", "adam"] = "sgd",
    beta1: float = 0.9,
    beta2: float = 0.999,
) -> dict[str, Tensor]:
    """Parameters after `steps` training steps on `loss`, differentiable in `start` and in whatever else the loss reads.

    loss: parameters by name -> scalar. Memory grows with the steps: every one keeps its graph. Adam starts without moments
    and takes √(v̂ + ε²), ε = 1e-8, for the root, which can be differentiated at 0.
    """
    here = {n: v if v.requires_grad else v.detach().requires_grad_(True) for n, v in start.items()}
    first = {n: torch.zeros_like(v) for n, v in start.items()}
    second = {n: torch.zeros_like(v) for n, v in start.items()}
    for step in range(1, steps + 1):
        with torch.enable_grad():
            found = torch.autograd.grad(loss(here), list(here.values()), create_graph=True, allow_unused=True)
            grads = {n: torch.zeros_like(here[n]) if g is None else g for n, g in zip(here, found, strict=True)}
            if update == "adam":
                first = {n: beta1 * first[n] + (1 - beta1) * g for n, g in grads.items()}
                second = {n: beta2 * second[n] + (1 - beta2) * g * g for n, g in grads.items()}
                share, square = 1 - beta1**step, 1 - beta2**step
                grads = {n: (first[n] / share) / (second[n] / square + 1e-16).sqrt() for n in grads}
            here = {n: v - rate * grads[n] for n, v in here.items()}
    return here
