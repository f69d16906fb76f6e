"""Augmented shilling: a generator rates the selected items over templates of real people."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from oakum.attacks.base import Goal
from oakum.attacks.profiles.compose import Facts
from oakum.attacks.profiles.generated import Adversarial, Generated, Material, Templates
from oakum.engine.learner import Losses
from oakum.parameters import Range
from oakum.seeds import Rng


class AUSHNetwork(Adversarial):
    """x ⊙ f -> 128 -> ratings of the selected items, between 0 and the highest."""

    def __init__(self, material: Material, *, hidden_dim: int, zeros: float) -> None:
        super().__init__(material)
        items, chosen = material.ratings.shape[1], len(material.selected)
        self.zeros = zeros
        self.generator = nn.Sequential(
            nn.Linear(items, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, chosen), nn.Sigmoid()
        )

    def write(self, batch: Templates) -> Tensor:
        """The template's fillers as they are, the selected items as generated."""
        rows = batch.ratings * batch.kept
        found = rows.clone()
        # A rating of 0 would be none at all: the lowest rating is the least.
        found[:, self.material.selected] = self.generator(rows).clamp_min(
            float(self.material.levels[0] / self.material.levels[-1])
        )
        return found

    def real(self, batch: Templates) -> Tensor:
        """Fillers and selected items as the person rated them."""
        out = batch.ratings * batch.kept
        out[:, self.material.selected] = batch.ratings[:, self.material.selected]
        return out

    def extra(self, batch: Templates, fake: Tensor) -> Losses:
        """shilling: the selected items rated high; reconstruction: as the person rated them, and at a share of the places
        that they did not rate, 0."""
        wanted, made = batch.ratings[:, self.material.selected], fake[:, self.material.selected]
        counts = (wanted > 0) | (torch.rand_like(wanted) < self.zeros)
        return {
            "shilling": ((made - 1) ** 2).mean(-1),
            "_reconstruction": ((made - wanted) ** 2 * counts).sum(-1),
        }


class AUSHProfiles(Generated):
    """Fake accounts over templates of real people, whose ratings of best-sellers a generator writes.

    Paper: Lin et al. 2020. Each account keeps `length` − |S| − |T| of a real person's ratings; G: x ⊙ f -> 128 -> top · σ rates the
    selected items S, D (3 × 150 sigmoid) sees x ⊙ (f + S) against the account without its targets. G minimises BCE(D, real) +
    mean (G − top)² + Σ_S (G − x)² where x is rated, and at a share `zeros` of the unrated. Targets get the top (the bottom when
    demoting). Knows all ratings, never looks at a model. Memory templates (2,000 at most) · items floats, time epochs ·
    templates · items · 128. A victim without ratings sees only which items were chosen: real fillers, best-sellers and targets.
    """

    slug = "aush-profiles"
    hidden_dim: Annotated[int, Range(1, 4096), "width of the generator"] = 128
    zeros: Annotated[float, Range(0, 1), "ZR: share of the unrated selected places pulled towards 0"] = 0.2
    epochs: Annotated[int, Range(1, 10_000), "passes over the templates"] = 40

    def network(self, facts: Facts, material: Material, goal: Goal, rng: Rng) -> Any:
        """Generator and discriminator."""
        return partial(AUSHNetwork, hidden_dim=self.hidden_dim, zeros=self.zeros)

    def schedule(self, material: Material) -> dict[str, int]:
        """Batches of 64 templates."""
        return {"epochs": self.epochs, "batch_size": 64}
