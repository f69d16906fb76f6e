"""Leg-UP: an auto-encoder writes whole profiles in discrete ratings, against a discriminator and through a surrogate."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from oakum.attacks.base import Goal
from oakum.attacks.profiles.compose import Facts
from oakum.attacks.profiles.generated import GENERATOR, Adversarial, Generated, Material, Templates
from oakum.attacks.profiles.surrogate import Factors, Surrogate
from oakum.data import Dataset
from oakum.engine.learner import Losses, Phase
from oakum.models.classic.ials import IALS
from oakum.parameters import Range
from oakum.sampling.batches import Batch, Order
from oakum.seeds import Rng

if TYPE_CHECKING:
    from oakum.engine.run import Run


def stepped(x: Tensor, slope: float = 2.0) -> Tensor:
    """1 where x > 0 else 0, with the slope of ½ (1 + tanh(slope · x)) on the way back."""
    soft = 0.5 * (1 + torch.tanh(slope * x))
    return (x > 0).to(x.dtype) + soft - soft.detach()


def overtaking(scores: Tensor, targets: Tensor) -> Tensor:
    """−log of the target's share among the items scored at least as high, mean over targets: [b, i], [t] -> [b]. Items below a
    target do not count, so the loss is 0 exactly where the target comes first."""
    out = []
    for t in targets.tolist():
        own = scores[:, t : t + 1]
        above = scores.masked_fill(scores < own, -torch.inf)
        out.append(torch.logsumexp(above, -1) - own[:, 0])
    return torch.stack(out).mean(0)


class LegUPNetwork(Adversarial):
    """m -> 125 -> m, cut into ratings by boundaries of each item's own."""

    def __init__(self, material: Material, surrogate: Surrogate, *, hidden_dim: int, attack_weight: float) -> None:
        super().__init__(material)
        items, levels = material.ratings.shape[1], len(material.levels)
        self.surrogate, self.attack_weight = surrogate, attack_weight
        self.generator = nn.ModuleDict({"encode": nn.Linear(items, hidden_dim), "decode": nn.Linear(hidden_dim, items)})
        spread = torch.linspace(-1, 1, max(2, levels))[: levels - 1]
        self.generator_bounds = nn.Parameter(spread.repeat(items, 1))
        self.places = material.mask(material.own)
        self.factors: Factors | None = None

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Any templates for the discriminator; the generator always writes the accounts of the attack."""
        if phase.name != GENERATOR:
            yield from super().batches(data, phase, order)
            return
        while True:
            yield self.batch_of(self.material.own, GENERATOR)

    def batch_of(self, rows: Tensor, phase: str) -> Templates:
        """The accounts keep their places for life."""
        batch = super().batch_of(rows, phase)
        if phase == GENERATOR:
            batch.kept = self.places
        return batch

    def write(self, batch: Templates) -> Tensor:
        """Ratings of the kept places, in shares of the highest."""
        z = self.generator["decode"](torch.tanh(self.generator["encode"](batch.ratings * batch.kept)))
        levels = self.material.levels / self.material.levels[-1]
        passed = stepped(z[:, :, None] - self.generator_bounds.sort(-1).values)
        places = batch.kept.clone()
        places[:, self.material.selected] = True
        return (levels[0] + (passed * levels.diff()).sum(-1)) * places

    def real(self, batch: Templates) -> Tensor:
        """Fillers and selected items as the person rated them."""
        out = batch.ratings * batch.kept
        out[:, self.material.selected] = batch.ratings[:, self.material.selected]
        return out

    def accounts(self, fake: Tensor) -> Tensor:
        """Whole accounts [f, i]: the targets at the top."""
        out = fake.clone()
        out[:, self.material.targets] = 1.0
        return out

    def epoch(self, run: Run) -> None:
        """The surrogate is trained on the log and on the accounts of today."""
        with torch.no_grad():
            fake = self.write(self.batch_of(self.material.own, GENERATOR))
        self.factors = self.surrogate.fit((self.accounts(fake) > 0).float())

    def extra(self, batch: Templates, fake: Tensor) -> Losses:
        """reconstruction of the kept ratings, and what people lack for the targets to come first after one more sweep."""
        assert self.factors is not None
        missing = ((fake - batch.ratings) ** 2 * batch.kept).sum(-1)
        people, items = self.surrogate.sweep(self.factors, self.accounts(fake))
        wins = overtaking(people @ items.T, self.material.targets)
        return {"_reconstruction": missing, "_attack": self.attack_weight * wins}


class LegUPProfiles(Generated):
    """Fake accounts written rating by rating by an auto-encoder that learns through a surrogate's training.

    Paper: Lin et al. 2022. G: x ⊙ f -> 125 -> items, cut into the ratings people give by learned boundaries of each item (hard steps
    forward, tanh slope backward); D as in AUSH. G minimises BCE(D, real) + reconstruction + weight · the cross entropy of each
    target among the items scored at least as high, for people who lack it, after one closed sweep of iALS in which a rating is the
    weight of its entry. Grey box: reads the log, trains its own model. Memory (templates + accounts) · items + items · d² floats,
    time steps · (items · 125 · accounts + a sweep). Differs in iALS for weighted MF, and in templates that stay the attack's own.
    """

    slug = "legup-profiles"
    goals = ("promote",)
    knowledge = "all ratings; a surrogate model of its own"
    hidden_dim: Annotated[int, Range(1, 4096), "width of the auto-encoder"] = 125
    attack_weight: Annotated[float, Range(0), "weight of the attack in the generator's loss"] = 10.0
    steps: Annotated[int, Range(1, 100_000), "turns of each network, at least"] = 120
    embedding_dim: Annotated[int, Range(1, 512), "width of the surrogate"] = 32
    people: Annotated[int, Range(1), "people whose lists are meant, drawn at random, at most"] = 500

    def network(self, facts: Facts, material: Material, goal: Goal, rng: Rng) -> Any:
        """Generator, discriminator and surrogate."""
        data = facts.data
        lacking = np.asarray(data.matrix[:, goal.codes].sum(1)).ravel() < len(goal.targets)
        pool = np.flatnonzero((data.user_counts > 0) & lacking)
        pool = pool if len(pool) else np.flatnonzero(data.user_counts > 0)
        people = np.sort(rng.choice(pool, min(self.people, len(pool)), replace=False)).astype(np.int32)
        spec = IALS(embedding_dim=min(self.embedding_dim, data.num_items), epochs=6)
        surrogate = Surrogate(data, people, spec, int(rng.integers(1 << 31)))
        return partial(LegUPNetwork, surrogate=surrogate, hidden_dim=self.hidden_dim, attack_weight=self.attack_weight)

    def schedule(self, material: Material) -> dict[str, int]:
        """As many turns as asked, in ten epochs at most (the surrogate is trained once an epoch)."""
        size = max(4, -(-len(material.ratings) * 10 // self.steps))
        per = -(-len(material.ratings) // size)
        return {"epochs": max(1, -(-self.steps // per)), "batch_size": size}
