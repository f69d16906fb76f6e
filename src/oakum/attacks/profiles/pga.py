"""Projected gradient ascent on fake rows of a factorisation."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from oakum import losses
from oakum.attacks.profiles.relaxed import Relaxed


class PGAProfiles(Relaxed):
    """Fake accounts that pull the targets above the last place of people's lists, entry by entry.

    Paper: Li et al. 2016, in the form of ARLib: down the mean over people and targets of s(u, last of the top k) − s(u, t), by
    X ← X − rate · tanh(gradient), clipped to [0, 1]; then the highest entries of each row and the targets. The gradient goes
    through the closed last sweep of iALS, and is divided by the largest of its row before tanh (its size depends on the data,
    and entries that all reach 1 would be kept by their code). Grey box: reads the log, trains its own model. Memory accounts ·
    items + items · d² floats, time steps · (a fit of iALS + accounts · items · d²). Differs from the paper, whose victim rates
    and whose attacker knows it.
    """

    slug = "pga-profiles"
    knowledge: ClassVar[str] = "the log; a surrogate model of its own"
    direction: ClassVar[Any] = staticmethod(lambda g: torch.tanh(g / g.abs().amax(-1, keepdim=True).clamp_min(1e-12)))

    def gain(self, people: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """How far the targets stand above the last place, mean over people."""
        return -losses.list_margin(people @ items.T, targets, self.k).mean()
