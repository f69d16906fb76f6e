"""Profiles by gradient: entries as numbers that climb what a surrogate model would recommend, then the highest are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Goal, Threat
from oakum.attacks.profiles.compose import Account, Facts, compose, length_of
from oakum.attacks.profiles.surrogate import Factors, Surrogate
from oakum.data import Ids
from oakum.engine.inputs import ascend
from oakum.errors import ParameterError
from oakum.metrics.robustness import target_hits
from oakum.models.classic.ials import IALS
from oakum.parameters import Range
from oakum.seeds import Rng


@dataclass(eq=False)
class Search:
    """One search: the surrogate, what is wanted, and the model fitted on the profiles of the moment.

    allowed: bool [i], items that may be cover; length: events an account.
    """

    surrogate: Surrogate
    targets: Ids
    allowed: Tensor
    length: int
    last: tuple[bytes, Factors] | None = None

    def profiles(self, entries: Tensor) -> Tensor:
        """The profiles that entries stand for, 0 and 1 [f, i]: the targets and the highest other entries, `length` in all."""
        free = entries.masked_fill(~self.allowed, -torch.inf)
        kept = free.topk(min(self.length - len(self.targets), int(self.allowed.sum())), dim=-1).indices
        rows = torch.zeros_like(entries).scatter_(1, kept, 1.0)
        rows[:, self.targets] = 1.0
        return rows

    def fit(self, rows: Tensor) -> Factors:
        """The surrogate trained on profiles of 0 and 1; the last one is remembered."""
        key = rows.to(torch.uint8).numpy().tobytes()
        if self.last is None or self.last[0] != key:
            self.last = (key, self.surrogate.fit(rows))
        return self.last[1]

    def hits(self, entries: Tensor, k: int) -> float:
        """T-HR@k of the surrogate trained on the profiles, on the people asked: what the attacker believes, no more."""
        found, people = self.fit(self.profiles(entries)), self.surrogate.people
        scores = found.users[people] @ found.items.T
        seen = self.surrogate.data.matrix[people]
        owners = np.repeat(np.arange(len(people)), np.diff(seen.indptr))
        scores[torch.from_numpy(owners), torch.from_numpy(seen.indices.astype(np.int64))] = -torch.inf
        lists = scores.topk(min(k, scores.shape[1]), dim=-1).indices.numpy()
        return float(np.nanmean(target_hits(lists, self.targets, seen, min(k, lists.shape[1]))))


class Relaxed(Attack):
    """A base: settings, start, search and composition. What is climbed, `gain`, is the technique's own."""

    threat = Threat.LOG
    goals: ClassVar[tuple[str, ...]] = ("promote",)
    direction: ClassVar[Any] = "unit"
    momentum: ClassVar[float] = 0.0
    steps: Annotated[int, Range(1, 1000), "times that the surrogate is trained and the profiles are moved"] = 20
    rate: Annotated[float, Range(above=0), "length of a move"] = 0.2
    head_start: Annotated[float, Range(0, 1), "first entry of what the template account has; 0 elsewhere"] = 0.05
    embedding_dim: Annotated[int, Range(1, 512), "width of the surrogate"] = 32
    epochs: Annotated[int, Range(1, 1000), "sweeps of the surrogate, each time"] = 6
    people: Annotated[int, Range(1), "people whose lists are meant, drawn at random, at most"] = 500
    k: Annotated[int, Range(1, 1000), "places of a list: the profiles best by the surrogate's own T-HR@k are kept"] = 50
    length: Annotated[int, Range(0), "events an account; 0 takes what the budget gives"] = 0

    def gain(self, people: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """What rises when the targets reach the lists: [b, d], [i, d], [t] -> scalar."""
        raise TypeError(f"{type(self).__name__} does not say what it climbs.")

    def outcome(self, search: Search, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The surrogate as it would be after training on these rows, differentiable in them: people [b, d], items [i, d]."""
        return search.surrogate.sweep(search.fit(rows.detach()), rows)

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> AddProfiles:
        """Search within the budget; the best profiles met, by the surrogate's own lists."""
        facts = Facts(access.log())
        if not budget.users:
            return compose([], facts, facts.top, self.knowledge, rng)
        length = length_of(self.length, len(goal.targets), budget)
        search = self.search(facts, goal, length, rng)
        targets = torch.from_numpy(goal.codes.astype(np.int64))

        def objective(entries: Tensor) -> Tensor:
            rows = search.profiles(entries.detach()) + entries - entries.detach()  # straight through
            return self.gain(*self.outcome(search, rows), targets)

        found = ascend(
            objective, templates(facts, search, budget.users, rng) * self.head_start, lambda x: x.clamp(0, 1), self.steps,
            self.rate, direction=self.direction, momentum=self.momentum, judge=lambda x: search.hits(x, self.k),
        )  # fmt: skip
        accounts = []
        for row in search.profiles(found).numpy():
            cover = np.setdiff1d(np.flatnonzero(row), goal.codes).astype(np.int32)
            accounts.append(Account(goal.codes, cover, facts.as_everybody(cover, rng)))
        return compose(accounts, facts, facts.top, self.knowledge, rng)

    def search(self, facts: Facts, goal: Goal, length: int, rng: Rng) -> Search:
        """A surrogate over the people who lack a target."""
        data = facts.data
        lacking = np.asarray(data.matrix[:, goal.codes].sum(1)).ravel() < len(goal.targets)
        pool = np.flatnonzero((data.user_counts > 0) & lacking)
        if not len(pool):
            raise ParameterError(f"Everybody in '{data.name}' has all the targets, so nobody is left to show them to.")
        people = np.sort(rng.choice(pool, min(self.people, len(pool)), replace=False)).astype(np.int32)
        allowed = facts.known.copy()
        allowed[goal.codes] = False
        spec = IALS(embedding_dim=min(self.embedding_dim, data.num_items), epochs=self.epochs)
        surrogate = Surrogate(data, people, spec, int(rng.integers(1 << 31)))
        return Search(surrogate, goal.codes, torch.from_numpy(allowed), length)


def templates(facts: Facts, search: Search, accounts: int, rng: Rng, *, longest: int = 100) -> Tensor:
    """What real people with at most `longest` items have, 0 and 1 [f, i], other places a little above 0 by popularity, so
    that no tie is broken by the code of an item."""
    data = facts.data
    pool = np.flatnonzero((data.user_counts > 0) & (data.user_counts <= max(longest, data.user_counts.min())))
    pool = pool if len(pool) else np.flatnonzero(data.user_counts > 0)
    chosen = rng.choice(pool, accounts, replace=len(pool) < accounts)
    rows = data.matrix[chosen].toarray().astype(np.float32)
    jitter = rng.random(rows.shape) * (data.item_counts / max(1, data.item_counts.max()))
    return torch.from_numpy((0.9 * rows + 0.1 * jitter).astype(np.float32))
