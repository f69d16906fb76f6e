"""Profiles that a small network writes over templates of real people: what AUSH and Leg-UP share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Goal, Threat
from oakum.attacks.profiles.compose import Account, Facts, compose, length_of
from oakum.data import Dataset, Ids, Schema
from oakum.defences.detect.ratings import rated
from oakum.engine.fit import fit
from oakum.engine.learner import Losses, Model, Phase, Reps
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.seeds import Rng, keyed_hash

DISCRIMINATOR, GENERATOR = "discriminator", "generator"


@dataclass(slots=True)
class Templates(Batch):
    """Rows of the rating table: ratings float32 [b, i] (0: none), kept bool [b, i] the filler places, phase whose turn it is."""

    ratings: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0))
    kept: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, 0, dtype=torch.bool))
    phase: str = GENERATOR


@dataclass(frozen=True, eq=False)
class Material:
    """What a generator learns from.

    ratings: dense rows float32 [n, i] of the template people (0: none); filler: places kept of each; levels: the ratings that
    people give, rising; selected, targets: codes; own: rows that become the accounts.
    """

    ratings: Tensor
    filler: int
    levels: Tensor
    selected: Tensor
    targets: Tensor
    own: Tensor

    def mask(self, rows: Tensor) -> Tensor:
        """Random filler places of template rows, bool [b, i]: `filler` of what they rated beside selected and target items
        (all of it where there is less), by torch's global generator."""
        free = self.ratings[rows] > 0
        free[:, torch.cat([self.selected, self.targets])] = False
        luck = torch.rand(free.shape).masked_fill(~free, -1.0)
        best = luck.topk(min(self.filler, luck.shape[1]), dim=-1)
        return torch.zeros_like(free).scatter_(1, best.indices, best.values >= 0)


def discriminator(items: int, width: int = 150) -> nn.Sequential:
    """AUSH's judge: three sigmoid layers of 150 and a logit."""
    layers: list[nn.Module] = []
    for before in (items, width, width):
        layers += [nn.Linear(before, width), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


class Adversarial(Model):
    """A generator against a discriminator, turn by turn. Ratings are in shares of the highest one."""

    def __init__(self, material: Material) -> None:
        super().__init__()
        self.material = material
        self.discriminator = discriminator(material.ratings.shape[1])

    def phases(self) -> Sequence[Phase | tuple[Phase, ...]]:
        """The discriminator's step, then the generator's."""
        return [
            (
                Phase(name=DISCRIMINATOR, moves=(DISCRIMINATOR,), steps=1),
                Phase(name=GENERATOR, moves=(GENERATOR,), steps=1),
            )
        ]

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The templates."""
        return len(self.material.ratings)

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Template rows in the order of a keyed hash, with their filler places."""
        everyone = np.arange(len(self.material.ratings))
        mixed = everyone[np.argsort(keyed_hash(order.key("templates"), everyone), kind="stable")]
        for start in range(0, len(mixed), order.batch_size):
            yield self.batch_of(torch.from_numpy(mixed[start : start + order.batch_size]), phase.name)

    def batch_of(self, rows: Tensor, phase: str) -> Templates:
        """Some template rows as a batch."""
        material = self.material
        return Templates(rows, 0, None, material.ratings[rows] / material.levels[-1], material.mask(rows), phase)

    def write(self, batch: Templates) -> Tensor:
        """Fake rows without the targets [b, i], in shares of the highest rating."""
        raise TypeError(f"{type(self).__name__} does not say how it writes.")

    def real(self, batch: Templates) -> Tensor:
        """The real rows at the same places."""
        return batch.ratings * batch.kept

    def extra(self, batch: Templates, fake: Tensor) -> Losses:
        """What the generator minimises beside being taken for real."""
        return {}

    def represent(self, batch: Batch) -> Reps:
        """The fake rows; no gradient in the discriminator's turn."""
        assert isinstance(batch, Templates)
        with torch.set_grad_enabled(batch.phase == GENERATOR):
            return {"_fake": self.write(batch)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """Tell real from fake, or be taken for real."""
        assert isinstance(batch, Templates)
        fake = self.discriminator(reps["_fake"])[:, 0]
        if batch.phase == DISCRIMINATOR:
            return {"real": F.softplus(-self.discriminator(self.real(batch))[:, 0]), "fake": F.softplus(fake)}
        return {"taken": F.softplus(-fake), **self.extra(batch, reps["_fake"])}


class Network(Spec):
    """A network around its material; built where it is used and never saved."""

    make: Annotated[Any, "what builds the network from the material"]
    material: Annotated[Any, "what it learns from"]

    def plan(self) -> Any:
        """Whoever fits it says how."""
        from oakum.engine.plan import Plan

        return Plan()

    def build(self, schema: Schema) -> Any:
        """The network."""
        return self.make(self.material)

    def to_json(self) -> dict[str, Any]:
        """Its name: the material is data."""
        return {"network": getattr(self.make, "__name__", type(self.make).__name__)}


class Generated(Attack):
    """A base: templates, the network's training, and composition; the network is the technique's own."""

    threat = Threat.LOG
    goals: ClassVar[tuple[str, ...]] = ("promote", "demote")
    knowledge: ClassVar[str] = "all ratings"
    num_selected: Annotated[int, Range(0, 1000), "popular items that every account rates"] = 3
    learning_rate: Annotated[float, Range(above=0), "step size of both networks"] = 3e-3
    length: Annotated[int, Range(0), "events an account; 0 takes what the budget gives"] = 0

    def network(self, facts: Facts, material: Material, goal: Goal, rng: Rng) -> Any:
        """What builds the network from the material."""
        raise TypeError(f"{type(self).__name__} does not say what writes.")

    def schedule(self, material: Material) -> dict[str, int]:
        """Epochs and batch size."""
        return {"epochs": 30, "batch_size": 64}

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> AddProfiles:
        """Train the network on the log and let it write the accounts."""
        facts = Facts(access.log())
        demote = goal.kind == "demote"
        value = facts.bottom if demote else facts.top
        if not budget.users:
            return compose([], facts, value, self.knowledge, rng)
        length = length_of(self.length, len(goal.targets), budget)
        material = self.material(facts, goal, budget.users, length, rng)
        plan = {**self.schedule(material), "learning_rate": self.learning_rate, "patience": 0}
        spec = Network(make=self.network(facts, material, goal, rng), material=material)
        model: Adversarial = fit(spec, facts.data, plan=plan, seed=int(rng.integers(1 << 31))).model
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(1 << 31)))
            written = (model.write(model.batch_of(material.own, GENERATOR)) * material.levels[-1]).numpy()
        accounts = []
        for row in written:
            cover = np.flatnonzero(row > 0).astype(np.int32)
            spare = facts.known.copy()
            spare[cover] = False
            spare[goal.codes] = False
            # Templates shorter than the account are filled up with what people have.
            missing, counts = length - len(goal.targets) - len(cover), facts.data.item_counts * spare
            missing = min(missing, int(spare.sum()))
            more = rng.choice(len(counts), max(0, missing), replace=False, p=counts / max(1, counts.sum())).astype(
                np.int32
            )
            ratings = np.concatenate([row[cover], facts.as_everybody(more, rng)])
            accounts.append(Account(goal.codes, np.concatenate([cover, more]).astype(np.int32), ratings))
        return compose(accounts, facts, value, self.knowledge, rng)

    def material(self, facts: Facts, goal: Goal, accounts: int, length: int, rng: Rng) -> Material:
        """Templates: people with at least as many items as an account has fillers, or else those with most."""
        data, table = facts.data, rated(facts.data)
        counts = data.item_counts.copy()
        counts[goal.codes] = 0
        most = min(self.num_selected, length - len(goal.targets), int((counts > 0).sum()))
        selected: Ids = np.argsort(-counts, kind="stable")[:most].astype(np.int32)
        filler = length - len(goal.targets) - most
        apart = np.ones(data.num_items, bool)
        apart[goal.codes] = apart[selected] = False
        own = np.asarray((table > 0) @ apart.astype(np.float64)).ravel()
        pool = np.flatnonzero(own >= filler)
        if len(pool) < min(accounts, 16):
            pool = np.argsort(-own, kind="stable")[: min(max(accounts, 16), int((own > 0).sum()))]
        pool = np.sort(pool if len(pool) <= 2000 else rng.choice(pool, 2000, replace=False))
        levels = facts.steps if len(facts.steps) <= 20 else np.quantile(facts.steps, np.linspace(0, 1, 5))
        of = lambda codes: torch.from_numpy(np.asarray(codes, np.int64))
        return Material(
            torch.from_numpy(table[pool].toarray().astype(np.float32)), filler, torch.from_numpy(levels.astype(np.float32)),
            of(selected), of(goal.codes), of(rng.choice(len(pool), accounts, replace=len(pool) < accounts)),
        )  # fmt: skip
