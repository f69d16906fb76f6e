"""PoisonRec: learn from nothing but the victim's lists after retraining which items to put beside the targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oakum import losses as terms
from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Goal, Threat
from oakum.attacks.profiles.compose import Account, Facts, compose, length_of
from oakum.attacks.profiles.generated import Network
from oakum.data import Dataset, Ids, Queries
from oakum.engine.fit import fit
from oakum.engine.learner import Losses, Model, Phase, Reps
from oakum.errors import BudgetExceeded
from oakum.metrics.robustness import target_hits
from oakum.parameters import Range
from oakum.sampling.batches import Batch, Order
from oakum.seeds import Rng


@dataclass(slots=True)
class Choices(Batch):
    """What was chosen, one row a choice: branch int64 [b]; what it was worth, advantage [b]; logp [b] when it was drawn."""

    branch: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    advantage: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    logp: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True, eq=False)
class Game:
    """branches: number of choices; rounds: episodes in all; group: episodes that are compared; choices: an episode; updates:
    steps a group; play: branches chosen [choices] -> reward."""

    branches: int
    rounds: int
    group: int
    choices: int
    updates: int
    clip: float
    entropy: float
    play: Callable[[NDArray[np.int64]], float]


class Policy(Model):
    """A distribution over branches, moved by clipped policy gradients."""

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.game = game
        self.logits = nn.Parameter(torch.zeros(game.branches))

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Steps."""
        return self.game.rounds // self.game.group * self.game.updates

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """A group of episodes under the weights of the moment, then its choices once for every update."""
        game = self.game
        for _ in range(game.rounds // game.group):
            logp = torch.log_softmax(self.logits.detach(), -1)
            drawn = torch.multinomial(logp.exp(), game.group * game.choices, replacement=True)
            rewards = torch.tensor([game.play(part.numpy()) for part in drawn.view(game.group, -1)])
            worth = terms.group_advantage(rewards).repeat_interleave(game.choices)
            for _ in range(game.updates):
                yield Choices(drawn, 0, None, drawn, worth, logp[drawn])

    def represent(self, batch: Batch) -> Reps:
        """Log-probabilities of the choices under today's weights."""
        assert isinstance(batch, Choices)
        return {"_all": torch.log_softmax(self.logits, -1)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """The clipped policy loss, and less of it for an even distribution."""
        assert isinstance(batch, Choices)
        every = reps["_all"]
        spread = -(every.exp() * every).sum()
        policy = terms.policy(every[batch.branch], batch.advantage, batch.logp, self.game.clip)
        return {"policy": policy, "_entropy": -self.game.entropy * spread.expand(1)}


class PoisonRecProfiles(Attack):
    """Fake accounts learned by trial: add them, let the victim retrain, count in whose lists the targets stand.

    Paper: Song et al. 2020 (PPO over a tree of items), in a small form: the tree has one level, `branches` blocks of items in order
    of popularity; every account holds the targets and `choices` blocks' worth of random items; the reward is the number of
    targets in the lists of `people` people after retraining; clipped policy gradients, advantages within a group, γ = 1; the
    accounts of the best episode are kept. Black box: popularity, lists, retraining; each retraining and each list is a query
    of the budget: rounds · (1 + people). Memory that of the victim, time `rounds` fits of the victim. Differs in having no
    recurrent policy, and in targets that every account holds once.
    """

    slug = "poisonrec-profiles"
    threat = Threat.LOG | Threat.LISTS | Threat.RETRAIN
    goals: ClassVar[tuple[str, ...]] = ("promote",)
    knowledge: ClassVar[str] = "which items are popular; the victim's lists after every retraining"
    rounds: Annotated[int, Range(2, 10_000), "retrainings of the victim, at most"] = 30
    group: Annotated[int, Range(2, 1000), "episodes compared with each other"] = 5
    updates: Annotated[int, Range(1, 100), "steps on every group"] = 5
    branches: Annotated[int, Range(2, 10_000), "blocks of items"] = 10
    choices: Annotated[int, Range(1, 1000), "blocks chosen by each account"] = 4
    people: Annotated[int, Range(1), "people whose lists are asked for after every retraining"] = 150
    k: Annotated[int, Range(1, 1000), "places of a list"] = 50
    clip: Annotated[float, Range(above=0, below=1), "how far a probability may move on one group"] = 0.1
    entropy: Annotated[float, Range(0), "weight of an even distribution"] = 0.1
    learning_rate: Annotated[float, Range(above=0), "step size of the policy"] = 0.1
    length: Annotated[int, Range(0), "events an account; 0 takes what the budget gives"] = 0

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> AddProfiles:
        """Play as many rounds as the budget allows."""
        facts = Facts(access.log())
        if not budget.users:
            return compose([], facts, facts.top, self.knowledge, rng)
        data, accounts = facts.data, budget.users
        room = length_of(self.length, len(goal.targets), budget) - len(goal.targets)
        lacking = np.asarray(data.matrix[:, goal.codes].sum(1)).ravel() < len(goal.targets)
        pool = np.flatnonzero((data.user_counts > 0) & lacking)
        people = np.sort(rng.choice(pool, min(self.people, len(pool)), replace=False)).astype(np.int32)
        rounds = min(self.rounds, budget.queries // (1 + len(people))) // self.group * self.group
        if not rounds:
            raise BudgetExceeded(
                f"'{self.slug}' needs {self.group * (1 + len(people))} queries for one group of {self.group} retrainings with "
                f"{len(people)} lists each; the budget allows {budget.queries}."
            )
        counts = data.item_counts * facts.known
        counts[goal.codes] = 0
        ranked = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())].astype(np.int32)
        blocks = [b for b in np.array_split(ranked, min(self.branches, len(ranked))) if len(b)]
        asked, owned = Queries(people, data.histories.take(people)), data.matrix[people]
        best: tuple[float, AddProfiles] | None = None

        def play(branches: NDArray[np.int64]) -> float:
            nonlocal best
            made = [
                Account(goal.codes, cover, facts.as_everybody(cover, rng))
                for own in branches.reshape(accounts, -1)
                for cover in [filled([blocks[b] for b in own], ranked, room, rng)]
            ]
            change = compose(made, facts, facts.top, self.knowledge, rng)
            lists = access.retrain(change).lists(asked, self.k).items
            reward = float(np.nansum(target_hits(lists, goal.codes, owned, self.k)))
            if best is None or reward > best[0]:
                best = (reward, change)
            return reward

        game = Game(
            len(blocks), rounds, self.group, accounts * self.choices, self.updates, self.clip, self.entropy, play
        )
        plan = {"epochs": 1, "batch_size": 1, "learning_rate": self.learning_rate, "patience": 0}
        fit(Network(make=Policy, material=game), data, plan=plan, seed=int(rng.integers(1 << 31)))
        assert best is not None
        return best[1]


def filled(blocks: list[Ids], everything: Ids, room: int, rng: Rng) -> Ids:
    """`room` distinct items, as evenly as can be from the blocks (one that comes twice gives twice), the rest from all."""
    share = np.bincount(np.arange(room) % len(blocks), minlength=len(blocks))
    out = np.empty(0, np.int32)
    for block, want in zip(blocks, share, strict=True):
        free = np.setdiff1d(block, out)
        out = np.concatenate([out, rng.choice(free, min(int(want), len(free)), replace=False)])
    spare = np.setdiff1d(everything, out)
    more = rng.choice(spare, min(room - len(out), len(spare)), replace=False)
    return np.concatenate([out, more]).astype(np.int32)
