"""Adversarial personalised ranking: also rank right when every vector is moved against you."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from oakum.engine.learner import Losses, Plugin, Reps
from oakum.engine.run import Run
from oakum.nn.perturb import worst
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch


class APR(Spec):
    """A second ranking loss on worst-case representations.

    Paper: He et al. 2018. L = L_rank + γ L_rank(reps + Δ), Δ_v = ε g_v / |g_v| with g the gradient of the mean ranking
    loss with respect to each representation. Acts on query, positive and negative of any model that has them.
    Cost: a second backward through the head, memory 3 · batch · d. Differs from the paper in moving each sample's
    vectors (the form of VAT's code), not accumulated rows of the tables.
    """

    slug = "apr"
    eps: Annotated[
        float, Range(0, 100, search=(0.05, 1.0), log=True), "length of the move, in units of the vectors"
    ] = 0.3
    gamma: Annotated[float, Range(0, 100, search=(0.1, 10), log=True), "weight of the adversarial loss"] = 1.0
    begin: Annotated[int, Range(0), "first epoch (from 0) in which it acts"] = 4
    direction: Annotated[Literal["grad", "random"], "random is the control of equal length"] = "grad"

    def build(self, schema: Any) -> APRPlugin:
        """The plug-in."""
        return APRPlugin(self)


class APRPlugin(Plugin):
    """Adds the loss "adversarial" beside the model's own."""

    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.spec = spec

    def sizes(self, batch: Batch, reps: Reps, rank: Tensor) -> Tensor:
        """The length of the move of each row, [b]."""
        return torch.full((len(rank),), self.spec.eps, device=rank.device)

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """The model's ranking losses once more, on moved representations."""
        if run.epoch < self.spec.begin or self.spec.gamma == 0:
            return losses
        rank = torch.stack([v for k, v in losses.items() if k != "l2"]).sum(0)
        moved = worst(
            rank.mean(),
            reps,
            self.sizes(batch, reps, rank.detach()),
            direction=self.spec.direction,
            rng=run.rng("random direction") if self.spec.direction == "random" else None,
        )
        again = run.model.losses(batch, moved)
        adversarial = torch.stack([v for k, v in again.items() if k != "l2"]).sum(0)
        return {**losses, "adversarial": self.spec.gamma * adversarial}
