"""Adversarial personalised ranking: also rank right when every vector is moved against you."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from oakum.engine.learner import Losses, Plugin, Reps, ranking_loss
from oakum.engine.run import Run
from oakum.errors import ParameterError
from oakum.nn.perturb import worst
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch


class APR(Spec):
    """A second ranking loss on worst-case representations.

    Paper: He et al. 2018. L = L_rank + γ L_rank(reps + Δ), Δ_v = ε g_v / |g_v| with g the gradient of the mean ranking
    loss with respect to each representation. Acts on query, positive and negative of any model that has them.
    Cost: a second backward through the head, memory 3 · batch · d. With `scope="sample"` each sample's vectors move on
    their own (the form of VAT's code); `scope="row"` adds up the gradients of a row of the tables first, as the paper does.
    """

    slug = "apr"
    eps: Annotated[
        float, Range(0, 100, search=(0.05, 1.0), log=True), "length of the move, in units of the vectors"
    ] = 0.3
    gamma: Annotated[float, Range(0, 100, search=(0.1, 10), log=True), "weight of the adversarial loss"] = 1.0
    begin: Annotated[int, Range(0), "first epoch (from 0) in which it acts"] = 4
    direction: Annotated[Literal["grad", "random"], "random is the control of equal length"] = "grad"
    scope: Annotated[Literal["sample", "row"], "gradients of each sample, or added up over the rows of the tables"] = (
        "sample"
    )

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
        """The model's ranking losses once more, on moved representations; a phase that ranks nothing (it has no query)
        is left alone."""
        if run.epoch < self.spec.begin or self.spec.gamma == 0 or "query" not in reps:
            return losses
        rank = ranking_loss(losses)
        moved = worst(
            rank.mean(),
            reps,
            self.sizes(batch, reps, rank.detach()),
            direction=self.spec.direction,
            rng=run.rng("random direction") if self.spec.direction == "random" else None,
            rows=table_rows(batch) if self.spec.scope == "row" else None,
        )
        again = run.model.losses(batch, moved)
        return {**losses, "adversarial": self.spec.gamma * ranking_loss(again)}


def table_rows(batch: Any) -> dict[str, tuple[str, Tensor]]:
    """Where the vectors of a batch of pairs were read: the table and the row of query, positive and negative."""
    if getattr(batch, "users", None) is None or getattr(batch, "items", None) is None or batch.negatives is None:
        raise ParameterError("scope='row' needs batches of users and items with negatives; use scope='sample' here.")
    return {
        "query": ("users", batch.users),
        "positive": ("items", batch.items),
        "negative": ("items", batch.negatives.items),
    }
