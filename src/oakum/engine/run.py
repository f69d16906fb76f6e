"""The state of one training: what samplers, plug-ins and models may look at while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from scipy import sparse

from oakum.data import Dataset
from oakum.engine.plan import Plan
from oakum.sampling.samplers import Sampler
from oakum.seeds import Rng, derive, generator

if TYPE_CHECKING:
    from oakum.engine.learner import Model, Phase, Plugin


@dataclass
class Run:
    """One training run. `memo` keeps what is derived from the data of this epoch and is dropped when the data change."""

    plan: Plan
    seed: int
    data: Dataset
    model: Model
    plugins: tuple[Plugin, ...]
    device: torch.device
    phase: Phase
    epoch: int = 0
    step: int = 0
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def positives(self) -> sparse.csr_matrix:
        """What each user has in training: CSR with sorted columns; negatives avoid it."""
        return self.data.matrix

    @property
    def sampler(self) -> Sampler:
        """The plan's sampler, or else the model's own."""
        return self.plan.negatives or self.model.sampler

    def rng(self, *names: object) -> Rng:
        """A NumPy generator for a purpose within this very step."""
        return generator(self.seed, self.phase.name, self.epoch, self.step, *names)

    def seed_step(self) -> None:
        """Seed torch's global state from (seed, phase, epoch, step): layers and initialisers that draw from it
        (dropout, GRU) then repeat exactly, also after a resume."""
        seed = derive(self.seed, "step", self.phase.name, self.epoch, self.step)
        # `torch.manual_seed` asks devices that are not there, too, and keeps the call and its stack for the day they come.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.manual_seed(seed)

    def use(self, data: Dataset) -> None:
        """Switch to the data of this epoch."""
        if data is not self.data:
            self.data = data
            self.memo.clear()
