"""Training on items replaced by worst-case mixtures of their neighbours."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from oakum.engine.learner import Losses, Plugin, Reps, ranking_loss
from oakum.engine.run import Run
from oakum.nn.perturb import unit
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch

BANK = 1024  # rows of a batch among which neighbours are sought


class RAdv(Spec):
    """A second ranking loss in which targets are replaced by mixtures of similar items, mixed as badly as possible.

    Paper: Yue et al. 2022. Each positive vector has `neighbours` nearest vectors and itself; their mixture starts even; the weights
    move by ε along the gradient of the loss (of length 1), are cut at 0 and sum to 1 again; with probability `probability` the
    mixture takes the positive's place; L = L_clean + γ L_replaced. Unlike a ball around a vector, mixtures stay where items are.
    Acts on any model that has positive vectors. Cost a second backward through the head and b · 1,024 · d for neighbours; memory b ·
    (1,024 + neighbours · d). Differs in neighbours among the positives of the batch (the paper: of the whole table), and in
    replacing targets, not the events read (which no representation names).
    """

    slug = "radv"
    eps: Annotated[float, Range(0, 100, search=(0.05, 1.0), log=True), "length of the move of the mixing weights"] = 0.1
    gamma: Annotated[float, Range(0, 100, search=(0.1, 10), log=True), "weight of the replaced loss"] = 1.0
    begin: Annotated[int, Range(0), "first epoch (from 0) in which it acts"] = 4
    neighbours: Annotated[int, Range(1, 1000), "vectors mixed with the positive"] = 5
    probability: Annotated[float, Range(0, 1), "how often a target is replaced"] = 0.5

    def build(self, schema: Any) -> RAdvPlugin:
        """The plug-in."""
        return RAdvPlugin(self)


def near(vectors: Tensor, bank: Tensor, k: int) -> Tensor:
    """Each vector and its `k` nearest in the bank by cosine that are another item's, [b, k + 1, d]; a vector that the bank holds
    is not its own neighbour."""
    likeness = F.normalize(vectors, dim=-1) @ F.normalize(bank, dim=-1).T
    likeness = likeness.masked_fill(likeness > 1 - 1e-5, -2.0)
    found = likeness.topk(min(k, len(bank)), dim=-1)
    others = torch.where((found.values > -2)[..., None], bank[found.indices], vectors[:, None])
    return torch.cat([vectors[:, None], others], 1)


class RAdvPlugin(Plugin):
    """Adds the loss "replaced" beside the model's own."""

    def __init__(self, spec: RAdv) -> None:
        super().__init__()
        self.spec = spec

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """The model's ranking losses once more, on mixtures."""
        spec, positive = self.spec, reps.get("positive")
        if run.epoch < spec.begin or spec.gamma == 0 or positive is None or positive.dim() != 2:
            return losses
        with torch.no_grad():
            draws = torch.randperm(len(positive), device=positive.device)[:BANK]
            hood = near(positive.detach(), positive.detach()[draws], spec.neighbours)
            even = torch.full(hood.shape[:2], 1 / hood.shape[1], device=positive.device)
            swapped = torch.rand(len(positive), 1, device=positive.device) < spec.probability
        with torch.enable_grad():
            weights = even.requires_grad_(True)
            mixed = {**reps, "positive": (weights[:, :, None] * hood).sum(1)}
            asked = ranking_loss(run.model.losses(batch, mixed)).mean()
            (slope,) = torch.autograd.grad(asked, weights, retain_graph=True, allow_unused=True)
        if slope is None:
            return losses
        with torch.no_grad():
            moved = (even + spec.eps * unit(slope)).clamp_min(0)
            moved = moved / moved.sum(1, keepdim=True).clamp_min(1e-12)
            # A shift of the positive itself, so that its gradient still reaches the item.
            shift = ((moved[:, :, None] * hood).sum(1) - positive) * swapped
        again = run.model.losses(batch, {**reps, "positive": positive + shift})
        return {**losses, "replaced": spec.gamma * ranking_loss(again)}
