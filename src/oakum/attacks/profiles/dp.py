"""One fake account after the other, each what a poisoned copy of the model would like to see."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch

from oakum import losses as terms
from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Goal, Threat
from oakum.attacks.profiles.compose import Account, Facts, compose, length_of
from oakum.data import Dataset, Ids, Ragged, Schema
from oakum.engine.fit import fit
from oakum.engine.learner import Losses, Plugin, Reps
from oakum.engine.run import Run
from oakum.models.classic.bpr_mf import BPRMF
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch
from oakum.seeds import Rng


class Towards(Spec):
    """A training term that lifts targets into people's lists: the poison of the attacker's copy, no plug-in for others."""

    targets: Annotated[tuple[int, ...], "codes of the targets"]
    genuine: Annotated[int, Range(1), "users below this code are people"]
    weight: Annotated[float, Range(0), "λ"] = 1.0
    kappa: Annotated[float, Range(0), "how far above the last place is far enough"] = 0.5
    k: Annotated[int, Range(1), "places of a list"] = 50
    people: Annotated[int, Range(1), "people of a batch whose lists are looked at, at most"] = 128

    def build(self, schema: Schema) -> TowardsPlugin:
        """The plug-in."""
        return TowardsPlugin(self)


class TowardsPlugin(Plugin):
    """Adds λ times the distance of the targets to the last place of the lists of people in the batch."""

    def __init__(self, spec: Towards) -> None:
        super().__init__()
        self.spec = spec

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """The term "_targets", one value a person."""
        spec = self.spec
        asked = torch.unique(batch.users)  # type: ignore[attr-defined]
        asked = asked[asked < spec.genuine]
        if not len(asked):
            return losses
        if len(asked) > spec.people:
            asked = asked[torch.randperm(len(asked))[: spec.people]]
        users, items = run.model.tables()  # type: ignore[operator]
        scores = users[asked] @ items.T
        targets = torch.tensor(spec.targets)
        return {**losses, "_targets": spec.weight * terms.list_margin(scores, targets, spec.k, kappa=spec.kappa)}


class DPProfiles(Attack):
    """Fake accounts that hold what a model which already shows the targets would recommend to them.

    Paper: Huang et al. 2021. A copy of the model is trained on L_rec + λ mean_{u,t} max(s(u, last of the top k) − s(u, t), −κ); the
    next account gets the targets and the items of highest σ(s) · p, then p falls by `decay` for what it used (p starts at 1, and
    again when all have fallen), so that accounts differ. The accounts to come hold the targets alone meanwhile. Grey box:
    reads the log, trains a copy of its own (BPR-MF), never looks at the victim. Memory that of the copy, time (start + rounds ·
    epochs) passes over the log. Differs in BPR-MF for the victim's NeuMF, and in training anew once a group of accounts where
    there are more accounts than `rounds`.
    """

    slug = "dp-profiles"
    threat = Threat.LOG
    goals: ClassVar[tuple[str, ...]] = ("promote",)
    knowledge: ClassVar[str] = "the log; a copy of the model, trained by itself"
    rounds: Annotated[int, Range(1, 1000), "times that the copy is trained on what is there so far"] = 10
    start: Annotated[int, Range(1, 1000), "epochs of the copy before the first account"] = 20
    epochs: Annotated[int, Range(1, 1000), "epochs before each further group of accounts"] = 3
    weight: Annotated[float, Range(0), "λ: weight of the targets in the copy's training"] = 1.0
    kappa: Annotated[float, Range(0), "how far above the last place is far enough"] = 0.5
    k: Annotated[int, Range(1, 1000), "places of a list"] = 50
    decay: Annotated[float, Range(0, 1), "factor on the chance of an item that an account used"] = 0.8
    embedding_dim: Annotated[int, Range(1, 512), "width of the copy"] = 32
    length: Annotated[int, Range(0), "events an account; 0 takes what the budget gives"] = 0

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> AddProfiles:
        """Accounts, group by group."""
        facts = Facts(access.log())
        data, accounts = facts.data, budget.users
        if not accounts:
            return compose([], facts, facts.top, self.knowledge, rng)
        room = length_of(self.length, len(goal.targets), budget) - len(goal.targets)
        spec, seed = BPRMF(embedding_dim=self.embedding_dim, l2=1e-4), int(rng.integers(1 << 31))
        plan = {
            "learning_rate": 5e-3,
            "batch_size": int(np.clip(len(data) // 50, 64, 2048)),
            "patience": 0,
            "step": None,
        }
        towards = Towards(targets=goal.targets, genuine=data.num_users, weight=self.weight, kappa=self.kappa, k=self.k)
        free = facts.known.copy()
        free[goal.codes] = False
        covers: list[Ids] = []
        chance = np.ones(data.num_items)
        fitted = fit(spec, self._so_far(data, goal, covers, accounts), plan={**plan, "epochs": self.start}, seed=seed)
        for group in np.array_split(np.arange(accounts), min(self.rounds, accounts)):
            poisoned = self._so_far(data, goal, covers, accounts)
            fitted = fit(
                spec, poisoned, plan={**plan, "epochs": self.epochs}, plugins=[towards], init=fitted, seed=seed + len(covers)
            )  # fmt: skip
            scores = fitted.score(fitted.queries((data.num_users + group).astype(np.int32)))
            for own in scores.astype(np.float64):
                worth = np.where(free, chance / (1 + np.exp(-np.nan_to_num(own, nan=-np.inf))), -1.0)
                cover = np.argsort(-worth, kind="stable")[: min(room, int(free.sum()))].astype(np.int32)
                covers.append(cover)
                chance[cover] *= self.decay
                if (chance[free] < 1).all():
                    chance[:] = 1.0
        made = [Account(goal.codes, c, facts.as_everybody(c, rng)) for c in covers]
        return compose(made, facts, facts.top, self.knowledge, rng)

    def _so_far(self, data: Dataset, goal: Goal, covers: list[Ids], accounts: int) -> Dataset:
        """The log with the accounts made, and with the targets alone in those to come."""
        rows = [np.concatenate([goal.codes, c]) for c in covers] + [goal.codes] * (accounts - len(covers))
        return AddProfiles(Ragged.of(rows)).apply(data)  # type: ignore[arg-type]
