"""The framework of attacks: what is granted, what it costs, what changes. The framework measures, the attack proposes.

An attack sees the world through `Access` (every look is counted, what the threat does not grant is `Denied`) and returns
a `Change` as a value. The framework checks the change against the budget, applies it to a copy and measures success
itself. Targets are item ids; nothing else can be a goal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.changes import AddProfiles, Budget, Change, EditEvents
from oakum.data import Dataset, Ids, Interactions, Queries, Ragged, Ranking
from oakum.errors import BudgetExceeded, Denied, OakumError, ParameterError
from oakum.parameters import Parameters
from oakum.seeds import Rng, generator


class Threat(Flag):
    """What an adversary may see or touch."""

    LOG = auto()  # read the training log
    CATALOGUE = auto()  # read item texts and pictures
    LISTS = auto()  # ask for recommendations, see their order
    SCORES = auto()  # see the scores too
    GRADIENTS = auto()
    RETRAIN = auto()  # see the model that would result from a change
    REQUESTS = auto()
    CLIENTS = auto()
    WEIGHTS = auto()
    TOOLS = auto()


@dataclass(frozen=True, slots=True)
class Goal:
    """What the adversary wants: items to promote or demote. Codes of items, nothing else."""

    targets: tuple[int, ...]
    kind: Literal["promote", "demote"] = "promote"

    @property
    def codes(self) -> Ids:
        """The targets, int32."""
        return np.asarray(self.targets, np.int32)


class Access:
    """The adversary's window. Only training events are behind it; a test part is not reachable."""

    def __init__(
        self,
        threat: Threat,
        data: Dataset,
        *,
        victim: Any = None,
        retrain: Callable[[Change], Any] | None = None,
        queries: int = 0,
    ) -> None:
        self._threat, self._data, self._victim, self._retrain, self._allowed = (
            threat,
            data,
            victim,
            retrain,
            queries,
        )
        self.looks: dict[str, int] = {}

    def _grant(self, needed: Threat, name: str, count: int) -> None:
        if needed not in self._threat:
            granted = ", ".join(str(t.name) for t in self._threat) or "nothing"
            raise Denied(f"The attack asked for {name}, which needs {needed.name}; its threat model grants {granted}.")
        self.looks[name] = self.looks.get(name, 0) + count
        if needed is not Threat.LOG and self.spent > self._allowed:
            raise BudgetExceeded(
                f"The attack looked {self.spent} times at the victim; its budget is {self._allowed} queries."
            )

    @property
    def spent(self) -> int:
        """Looks at the victim so far (reading the log is knowledge, not a query)."""
        return sum(n for name, n in self.looks.items() if name != "log")

    def log(self) -> Dataset:
        """The training log; its columns cannot be written to."""
        self._grant(Threat.LOG, "log", 1)
        return self._data

    def lists(self, queries: Queries, k: int) -> Ranking:
        """Recommended items without scores; one query a request."""
        self._grant(Threat.LISTS, "lists", len(queries))
        ranking: Ranking = self._victim.rank(queries, k)
        return Ranking(ranking.items, np.full(ranking.items.shape, np.nan, np.float32))

    def scores(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Scores; one query a request."""
        self._grant(Threat.SCORES, "scores", len(queries))
        out: NDArray[np.float32] = self._victim.score(queries, items)
        return out

    def retrain(self, change: Change) -> Any:
        """The victim as it would be after a change; one query, and its scores may then be read."""
        self._grant(Threat.RETRAIN, "retrain", 1)
        if self._retrain is None:
            raise Denied("This victim cannot be retrained for the attack.")
        return self._retrain(change)


class Attack(Parameters):
    """A technique. `run` proposes a change under a threat, a goal and a budget; it never measures itself."""

    threat: ClassVar[Threat] = Threat.LOG

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """What it would alter."""
        raise TypeError(f"{type(self).__name__} does not say what it would change.")


class DoesNothing(Attack):
    """Changes nothing: tests that the framework then measures nothing."""

    slug = "does-nothing"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """No profile."""
        return AddProfiles(Ragged.empty(0))


@dataclass(frozen=True)
class Proposal:
    """A checked change: what it costs (profiles counted by the framework, looks as counted by `Access`)."""

    change: Change
    cost: Budget
    looks: dict[str, int]


def propose(
    attack: Attack,
    data: Dataset,
    goal: Goal,
    budget: Budget,
    *,
    seed: int = 0,
    victim: Any = None,
    retrain: Callable[[Change], Any] | None = None,
) -> Proposal:
    """Run an attack and check what comes back: the budget, the untouched input, fake accounts that are new.

    Raises `Denied` for a look that the threat does not grant, `BudgetExceeded` with the counts, `OakumError` where
    the attack edited its input in place.
    """
    for code in goal.targets:
        if not 0 <= code < data.num_items:
            raise ParameterError(f"The target {code} is not among the {data.num_items} items of '{data.name}'.")
    before = data.interactions.digest()
    access = Access(attack.threat, data, victim=victim, retrain=retrain, queries=budget.queries)
    change = attack.run(access, goal, budget, generator(seed, "attack", attack.slug))
    if data.interactions.digest() != before:
        raise OakumError(f"The attack '{attack.slug}' edited its input in place; a change must be returned as a value.")
    if isinstance(change, AddProfiles) and len(change.profiles.items):
        low, high = int(change.profiles.items.min()), int(change.profiles.items.max())
        if low < 0 or high >= data.num_items:
            raise OakumError(
                f"The attack '{attack.slug}' clicked on items that do not exist (code {low if low < 0 else high})."
            )
    counted = change.cost()
    cost = counted.replace(queries=access.spent)
    short = budget.shortfalls(cost)
    if short:
        raise BudgetExceeded(f"The attack '{attack.slug}' spent more than its budget: {'; '.join(short)}.")
    return Proposal(change, cost, dict(access.looks))


def cold_targets(data: Dataset, n: int = 5, *, seed: int = 0, popularity: tuple[float, float] = (0.0, 0.5)) -> Goal:
    """`n` random items between two percentiles of popularity (tail: below the 50th), with at least one event."""
    counts = data.item_counts
    known = np.flatnonzero(counts > 0)
    low, high = np.quantile(counts[known], popularity)
    pool = known[(counts[known] >= low) & (counts[known] <= high)]
    if len(pool) < n:
        raise ParameterError(f"Only {len(pool)} items lie between these percentiles of popularity; asked for {n}.")
    return Goal(tuple(int(i) for i in np.sort(generator(seed, "targets").choice(pool, n, replace=False))))


def budget_for(data: Dataset, share: float, *, length: int | None = None, targets: int = 5) -> Budget:
    """Fake accounts as a share of the people, each with as many events as a person has on average."""
    people = int((data.user_counts > 0).sum())
    users = max(1, round(share * people))
    mean = max(targets + 1, round(float(data.user_counts[data.user_counts > 0].mean())))
    return Budget(users=users, clicks=users * (length or mean))


def share_of(text: str, data: Dataset) -> int:
    """Fake accounts from '1%' or '20'."""
    people = int((data.user_counts > 0).sum())
    try:
        count = round(float(text[:-1]) / 100 * people) if text.endswith("%") else int(text)
    except ValueError:
        raise ParameterError(f"'{text}' is no number of accounts; write 20 or 1%.") from None
    if not 0 < count <= people:
        raise ParameterError(f"'{text}' is {count} accounts; expected between 1 and the {people} people of the log.")
    return count


def owned_by(data: Dataset, parts: Sequence[Interactions | None]) -> Any:
    """CSR [users, items]: what each person has in any part; targets they own are not counted."""
    log = data.interactions
    users, items = [log.users], [log.items]
    for part in parts:
        if part is not None:
            users.append(part.users)
            items.append(part.items)
    joined = Interactions(np.concatenate(users), np.concatenate(items))
    return joined.matrix(data.num_users, data.num_items)


__all__ = [
    "Access",
    "AddProfiles",
    "Attack",
    "Budget",
    "Change",
    "DoesNothing",
    "EditEvents",
    "Goal",
    "Proposal",
    "Threat",
    "budget_for",
    "cold_targets",
    "owned_by",
    "propose",
    "share_of",
]
