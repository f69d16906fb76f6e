"""The framework of attacks. The framework measures, the attack proposes.

An attack sees the world through `Access` (every look is counted, what the threat does not grant is `Denied`) and returns
a `Change` as a value. The framework checks the change against the budget, applies it to a copy and measures success
itself. Targets are item ids; nothing else can be a goal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from oakum.attacks.access import Access, Goal, Threat
from oakum.attacks.changes import (
    AddItems,
    AddProfiles,
    Budget,
    Change,
    EditEvents,
    EditText,
    HostileClients,
    Nothing,
    counted,
    counted_plan,
)
from oakum.data import Dataset, Interactions
from oakum.engine.plan import Plan
from oakum.errors import BudgetExceeded, OakumError, ParameterError, nearest
from oakum.needs import check
from oakum.parameters import Parameters
from oakum.seeds import Rng, generator


class Attack(Parameters):
    """A technique. `run` proposes a change under a threat, a goal and a budget; it never measures itself.

    threat: what it may see; knowledge: what it must know, in words; goals: what it can want; writes: whether it puts words
    into the catalogue, so that its budget is of items, edits and likeness, not of accounts.
    """

    goals: ClassVar[tuple[str, ...]] = ("promote", "demote", "degrade")
    threat: ClassVar[Threat] = Threat.LOG
    knowledge: ClassVar[str] = "none"
    writes: ClassVar[bool] = False

    @property
    def untargeted(self) -> bool:
        """Whether it reads no targets: it edits rows of the log, and everybody's lists move, or it copies the victim."""
        return not {"promote", "demote"} & set(self.goals)

    @property
    def looks(self) -> bool:
        """Whether it looks at the victim, beyond reading the log and the catalogue, or what a server sends its clients."""
        return bool(self.threat & ~(Threat.LOG | Threat.CATALOGUE | Threat.CLIENTS))

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """What it would alter."""
        raise TypeError(f"{type(self).__name__} does not say what it would change.")


@dataclass(frozen=True, eq=False)
class Proposal:
    """A checked change. cost: as the framework counted it on the changed log; looks: as counted by `Access`;
    poisoned: the log that the change gave when it was counted; plan: the plan that it gave, where it alters plans."""

    change: Change
    cost: Budget
    looks: dict[str, int]
    poisoned: Dataset
    plan: Plan | None = None


def propose(
    attack: Attack,
    data: Dataset,
    goal: Goal,
    budget: Budget,
    *,
    seed: int = 0,
    victim: Any = None,
    retrain: Callable[[Change], Any] | None = None,
    plan: Plan | None = None,
    judge: str = "minilm",
) -> Proposal:
    """Run an attack and check what comes back. plan: of the victim's training, for changes that alter it (default: a
    federation of all people).

    The change is applied to a copy and its cost is counted there: what the change says of itself is not read. judge: the
    encoder that says how far a rewritten text has moved (1 − cosine, against the budget's `norm`). Raises
    `Denied` for a look that the threat does not grant, `BudgetExceeded` with the counts, `OakumError` where the attack
    edited its input in place or the change breaks the log (old ids moved, events of people or items that do not exist).
    """
    check(attack, data)
    if goal.kind not in attack.goals:
        raise ParameterError(f"'{attack.slug}' can {' or '.join(attack.goals)}; it cannot {goal.kind}.")
    for code in goal.targets:
        if not 0 <= code < data.num_items:
            raise ParameterError(f"The target {code} is not among the {data.num_items} items of '{data.name}'.")
    before = replace(data).digest
    access = Access(attack.threat, data, victim=victim, retrain=retrain, queries=budget.queries)
    change = attack.run(access, goal, budget, generator(seed, "attack", attack.slug))
    if getattr(change, "alters", "log") == "plan":
        plan = plan or Plan()
        poisoned, altered = data, change.apply(plan)
        cost = counted_plan(plan, altered, attack.slug)
    else:
        poisoned, altered = change.apply(data), None
        cost = counted(data, poisoned, attack.slug)
    if replace(data).digest != before:
        raise OakumError(f"The attack '{attack.slug}' edited its input in place; a change must be returned as a value.")
    cost = cost.replace(queries=access.spent)
    if poisoned.tables.get("items") is not data.tables.get("items"):
        from oakum.attacks.text.plausible import implausibility

        cost = implausibility(data, poisoned, judge, limited=budget.perplexity > 0) + cost
    short = budget.shortfalls(cost)
    if short:
        raise BudgetExceeded(f"The attack '{attack.slug}' spent more than its budget: {'; '.join(short)}.")
    return Proposal(change, cost, dict(access.looks), poisoned, altered)


#: Rounds that hostile clients get where nobody says: as many as a training has.
ROUNDS = 10_000

#: Looks of a technique that edits or copies or writes, where nobody says.
EDIT_QUERIES = 5000

#: Classes of items by percentile of popularity among the items that people have.
POPULARITY = {"tail": (0.0, 0.5), "lower-torso": (0.5, 0.75), "upper-torso": (0.75, 0.95), "head": (0.95, 1.0)}


def cold_targets(data: Dataset, n: int = 5, *, seed: int = 0, popularity: str | tuple[float, float] = "tail") -> Goal:
    """`n` random items of a class of popularity, or between two percentiles of it, each with at least one event."""
    if isinstance(popularity, str):
        if popularity not in POPULARITY:
            raise ParameterError(f"There is no class of popularity '{popularity}'.{nearest(popularity, POPULARITY)}")
        popularity = POPULARITY[popularity]
    counts = data.item_counts
    known = np.flatnonzero(counts > 0)
    low, high = np.quantile(counts[known], popularity) if len(known) else (0.0, 0.0)
    pool = known[(counts[known] >= low) & (counts[known] <= high)]
    if len(pool) < n:
        raise ParameterError(f"Only {len(pool)} items lie between these percentiles of popularity; asked for {n}.")
    return Goal(tuple(int(i) for i in np.sort(generator(seed, "targets").choice(pool, n, replace=False))))


def budget_for(data: Dataset, share: float, *, length: int | None = None, targets: int = 5, rounds: int = 0) -> Budget:
    """Fake accounts as a share of the people, each with as many events as a person has on average; as clients of a
    federation, in at most so many rounds."""
    people = int((data.user_counts > 0).sum())
    users = max(1, round(share * people))
    mean = max(targets + 1, round(float(data.user_counts[data.user_counts > 0].mean())))
    return Budget(users=users, clicks=users * (length or mean), rounds=rounds)


def written_budget(
    edits: int = 1, *, items: int = 1, norm: float = 0.3, perplexity: float = 0.0, queries: int = 0
) -> Budget:
    """What a technique that writes may spend: reworded items, added items, how far a reworded text may move."""
    return Budget(edits=edits, items=items, norm=norm, perplexity=perplexity, queries=queries)


def budget_of(
    attack: Attack,
    data: Dataset,
    *,
    users: float = 0.01,
    targets: int = 5,
    edits: int = 1,
    items: int = 1,
    norm: float = 0.3,
    perplexity: float = 0.0,
    queries: int = 0,
) -> Budget:
    """What a technique may spend, in what it works with: words, edited rows, looks, or accounts (as clients of a
    federation for all its rounds). users: a share of the people."""
    if attack.looks and (attack.writes or attack.untargeted):
        queries = queries or EDIT_QUERIES
    if attack.writes:
        return written_budget(edits, items=items, norm=norm, perplexity=perplexity, queries=queries)
    if attack.untargeted:
        return Budget(edits=0 if "copy" in attack.goals else edits, queries=queries)
    rounds = ROUNDS if Threat.CLIENTS in attack.threat else 0
    return budget_for(data, users, targets=targets, rounds=rounds).replace(queries=queries)


def afterwards(victim: Any, data: Dataset, train: Callable[[Dataset], Any]) -> Callable[[Change], Any]:
    """The victim as a change leaves it: trained again, or, where only words of items changed, reading them anew."""

    def again(change: Change) -> Any:
        changed = change.apply(data)
        if isinstance(change, EditText) and changed.interactions is data.interactions:
            return victim.refresh(changed)
        return train(changed)

    return again


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
    "EDIT_QUERIES",
    "POPULARITY",
    "ROUNDS",
    "Access",
    "AddItems",
    "AddProfiles",
    "Attack",
    "Budget",
    "Change",
    "EditEvents",
    "EditText",
    "Goal",
    "HostileClients",
    "Nothing",
    "Proposal",
    "Threat",
    "afterwards",
    "budget_for",
    "budget_of",
    "cold_targets",
    "owned_by",
    "propose",
    "share_of",
    "written_budget",
]
