"""`attack` and `defend`: one technique against one system, measured by the framework before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oakum.attacks.base import Attack, Budget, Goal, Proposal, budget_for, cold_targets, owned_by, propose
from oakum.data import Dataset, Filter, Ids, Interactions, Queries
from oakum.defences.base import Defence, Marks, Training
from oakum.engine.fitted import Fitted
from oakum.errors import ParameterError
from oakum.metrics import Estimate
from oakum.metrics.robustness import exposure, lift, reach, target_hits, target_ndcg
from oakum.parameters import Spec
from oakum.seeds import generator
from oakum.splits.protocol import Split


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack won: exposure (T-HR) by cut-off before and after, the budget counted by the framework."""

    attack: str
    system: str
    targets: tuple[Any, ...]
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    lift: float
    reach: float
    budget: Budget
    cost: Budget
    looks: dict[str, int]
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = lambda m: {k: e.to_json() for k, e in m.items()}
        return {
            "attack": self.attack,
            "system": self.system,
            "targets": list(self.targets),
            "exposure": {"before": plain(self.before), "after": plain(self.after)},
            "log_odds_lift": self.lift,
            "people_newly_reached": self.reach,
            "budget": self.budget.to_json(),
            "spent": self.cost.to_json(),
            "looks": self.looks,
            "seeds": list(self.seeds),
        }


def exposures(
    fitted: Fitted, users: Ids, histories: Dataset, targets: Ids, owned: Any, k: Sequence[int]
) -> dict[str, Any]:
    """Target hits by user and target for each cut-off, and T-NDCG of the longest list."""
    own = histories.histories.take(users)
    ranking = fitted.rank(Queries(users, own), max(k), where=Filter(exclude=own))
    out = {f"t_hr@{cut}": target_hits(ranking.items, targets, owned, cut) for cut in k}
    out[f"t_ndcg@{max(k)}"] = target_ndcg(ranking.items, targets, owned, max(k))
    return out


def attack(
    technique: str | Attack,
    system: str | Spec,
    data: Dataset | Split,
    *,
    targets: Sequence[Any] | None = None,
    goal: Goal | None = None,
    budget: Budget | None = None,
    users: float = 0.01,
    defence: Defence | None = None,
    plan: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    k: Sequence[int] = (10, 20, 50),
    seed: int = 0,
    measured: int = 5000,
    progress: Any = None,
) -> AttackResult:
    """Fit clean, attack, check the budget, fit again from scratch with the same seeds, and measure.

    targets: item ids (default: five cold items drawn by `seed`). users: fake accounts as a share of the people, each
    with as many events as a person has; or give a whole `budget`. Only genuine people without the target count.
    """
    from oakum.api import fit
    from oakum.catalogue import load_class

    attacker: Attack = load_class(technique, "attack")() if isinstance(technique, str) else technique
    train = data.train if isinstance(data, Split) else data
    parts: list[Interactions | None] = [data.valid, data.test] if isinstance(data, Split) else []
    if goal is None:
        if targets is None:
            goal = cold_targets(train, seed=seed)
        else:
            codes = train.items.encode(list(targets))
            for name, code in zip(targets, codes, strict=True):
                if code < 0:
                    raise ParameterError(f"The target item {name!r} is not in the log '{train.name}'.")
            goal = Goal(tuple(int(c) for c in codes))
    budget = budget or budget_for(train, users, targets=len(goal.targets))
    found = propose(attacker, train, goal, budget, seed=seed)
    people = np.flatnonzero(train.user_counts > 0)
    if len(people) > measured:
        people = np.sort(generator(seed, "measured people").choice(people, measured, replace=False))
    measured_people: Ids = people.astype(np.int32)
    owned = owned_by(train, parts)[measured_people]
    before: list[dict[str, Any]] = []
    after: list[dict[str, Any]] = []
    poisoned = found.change.apply(train)
    for s in seeds:
        for log, into in ((train, before), (poisoned, after)):
            plugins: Sequence[Spec] = ()
            if defence is not None:
                log, _ = defence.clean(log)
                plugins = defence.plugins()
            fitted = fit(system, log, plan=plan, plugins=plugins, seed=s, progress=progress)
            into.append(exposures(fitted, measured_people, train, goal.codes, owned, k))
    names = list(before[0])
    mean = lambda runs, n: np.mean([r[n] for r in runs], 0)
    main = f"t_hr@{min(k)}"
    return AttackResult(
        attack=attacker.slug,
        system=system if isinstance(system, str) else system.slug,
        targets=tuple(train.items.decode(goal.codes)),
        before={n: exposure(mean(before, n), seed=seed) for n in names},
        after={n: exposure(mean(after, n), seed=seed) for n in names},
        lift=lift(mean(before, main), mean(after, main), seed=seed).value,
        reach=float(np.nanmean(reach(mean(before, main), mean(after, main)))),
        budget=budget,
        cost=found.cost,
        looks=found.looks,
        seeds=tuple(seeds),
    )


def defence_of(slug: str, **settings: Any) -> Defence:
    """A defence by slug: a detector as it is, a plug-in as a defence that acts during training."""
    from oakum.catalogue import entry, load_class

    known = entry(slug)
    if known.kind not in ("defence", "plugin"):
        raise ParameterError(f"'{slug}' is a {known.kind}, not a defence; see `oakum systems`.")
    made = load_class(slug).make(**settings)
    return made if isinstance(made, Defence) else Training(plugin=made)


def defend(defence: str | Defence, system: str | Spec, data: Dataset | Split, **options: Any) -> tuple[Fitted, Marks]:
    """Fit a system with a defence in place; returns the model and what the defence marked before training.

    `options` are those of `fit`.
    """
    from dataclasses import replace

    from oakum.api import fit

    chosen = defence_of(defence) if isinstance(defence, str) else defence
    if isinstance(data, Split):
        cleaned, marks = chosen.clean(data.train)
        subject: Dataset | Split = replace(data, train=cleaned)
    else:
        subject, marks = chosen.clean(data)
    return fit(system, subject, plugins=list(chosen.plugins()), **options), marks


__all__ = ["AttackResult", "Proposal", "attack", "defence_of", "defend"]
