"""How a batch becomes a change of the weights. The only backward pass of the package is here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oakum.engine.learner import Losses, owner_of
from oakum.engine.optimisers import SGD, Adagrad, Adam, Update
from oakum.engine.plan import Plan
from oakum.engine.run import Run
from oakum.errors import OakumError
from oakum.nn.drawn import whole
from oakum.sampling.batches import Batch


def optimiser(plan: Plan, parameters: Sequence[nn.Parameter], learning_rate: float | None) -> Update:
    """The plan's update rule over these parameters."""
    rate, decay = plan.learning_rate if learning_rate is None else learning_rate, plan.weight_decay
    if plan.optimiser == "sgd":
        return SGD(parameters, rate, weight_decay=decay)
    if plan.optimiser == "adagrad":
        return Adagrad(parameters, rate, weight_decay=decay)
    return Adam(parameters, rate, weight_decay=decay, beta2=plan.beta2, decoupled=plan.optimiser == "adamw")


def rate_at(plan: Plan, step: int, total: int) -> float:
    """The factor on the learning rate at a step: warm-up, then constant, cosine or linear down to 0."""
    if plan.warmup and step < plan.warmup:
        return (step + 1) / plan.warmup
    done = min(1.0, (step - plan.warmup) / max(1, total - plan.warmup))
    if plan.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0 - done if plan.schedule == "linear" else 1.0


def losses_of(run: Run, batch: Batch) -> Losses:
    """Batch → representations → named losses, every plug-in's three hooks in order; in a plug-in's own phase its own
    representations and losses alone."""
    owner = owner_of(run.phase, run.model, run.plugins)
    if owner is not run.model:
        return owner.losses(batch, owner.represent(batch))
    for plugin in run.plugins:
        batch = plugin.batch(run, batch)
    reps = run.model.represent(batch)
    if run.plugins:
        reps = whole(reps)
    for plugin in run.plugins:
        reps = plugin.reps(run, batch, reps)
    losses = run.model.losses(batch, reps)
    for plugin in run.plugins:
        losses = plugin.loss(run, batch, reps, losses)
    return losses


def total_of(losses: Losses, weights: Tensor | None = None) -> Tensor:
    """The sum of the means of all named losses; with weights [b], the sum of their weighted rows."""
    if weights is None:
        return torch.stack([value.mean() for value in losses.values()]).sum()
    return torch.stack([(weights * value).sum() for value in losses.values()]).sum()


def gradients(run: Run, batch: Batch, moving: Sequence[nn.Parameter], weights: Tensor | None = None) -> Losses:
    """Put the gradients of a batch into `grad` of the moving parameters and return its losses, one value a row.

    The parameters themselves stay as they are; only those of the phase receive gradients.
    """
    half = run.plan.precision == "bfloat16"
    cast = torch.autocast(run.device.type, dtype=torch.bfloat16) if half else contextlib.nullcontext()
    with cast:
        losses = losses_of(run, batch)
        total = total_of(losses, weights)
    if not torch.isfinite(total):
        parts = ", ".join(f"{k} = {float(v.mean()):.4g}" for k, v in losses.items())
        raise OakumError(
            f"The loss is not finite in phase '{run.phase.name}', epoch {run.epoch}, step {run.step} ({parts}). "
            f"Lower learning_rate (now {run.plan.learning_rate:g}) or set clip_norm."
        )
    for parameter in moving:
        parameter.grad = None
    total.backward(inputs=list(moving))
    return {name: value.detach() for name, value in losses.items()}


def apply(run: Run, moving: Sequence[nn.Parameter], update: Update) -> None:
    """Move the parameters by what stands in their `grad`, clipped as the plan says."""
    if run.plan.clip_norm:
        nn.utils.clip_grad_norm_(moving, run.plan.clip_norm)
    update.step()


def central(run: Run, batch: Batch, moving: Sequence[nn.Parameter], update: Update) -> dict[str, float]:
    """One ordinary step on one machine; only the parameters of the phase receive gradients."""
    losses = gradients(run, batch, moving)
    apply(run, moving, update)
    return {name: float(value.mean()) for name, value in losses.items()}
