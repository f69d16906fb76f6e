"""Rows whose context and target do not go together count less."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch.nn import functional as F

from oakum import losses as terms
from oakum.engine.learner import Losses, Plugin, Reps
from oakum.engine.run import Run
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch


class Denoise(Spec):
    """Weighs every row by how well its target suits what came before it.

    The denoising baseline of Zhang et al. 2024 (LoRec): w = σ(cos(context, target))^γ of the query and positive vectors of a row,
    stopped, with mean 1 over the batch, on the ranking losses. An injected event is among people and items that have little to do
    with it, so its cosine is low; so is a person's new interest. Acts on any model that has query and positive vectors. Cost 2
    b · d products; memory b.
    """

    slug = "denoise"
    begin: Annotated[int, Range(0), "first epoch (from 0) in which it acts"] = 4
    gamma: Annotated[float, Range(0, 100, search=(0.5, 8), log=True), "exponent on the weights; 0 is no plug-in"] = 1.0

    def build(self, schema: Any) -> DenoisePlugin:
        """The plug-in."""
        return DenoisePlugin(self)


class DenoisePlugin(Plugin):
    """Multiplies the ranking losses of a batch."""

    def __init__(self, spec: Denoise) -> None:
        super().__init__()
        self.spec = spec

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """The same losses, weighted; regularisers and losses beside the ranking stay."""
        if run.epoch < self.spec.begin or self.spec.gamma == 0 or not {"query", "positive"} <= reps.keys():
            return losses
        with torch.no_grad():
            weight = torch.sigmoid(F.cosine_similarity(reps["query"], reps["positive"], dim=-1)) ** self.spec.gamma
        aside = lambda name, value: name == "l2" or name.startswith("_") or len(value) != len(weight)
        return {n: v if aside(n, v) else terms.weighted(v, weight) for n, v in losses.items()}
