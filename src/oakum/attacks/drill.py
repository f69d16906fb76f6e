"""`attack` and `defend`: one technique against one system, measured by the framework before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from oakum.attacks.base import (
    Attack,
    Budget,
    Goal,
    Proposal,
    Threat,
    afterwards,
    budget_of,
    cold_targets,
    owned_by,
    propose,
)
from oakum.attacks.imitate import Imitation, likeness
from oakum.data import Dataset, Filter, Ids, Queries, Ragged
from oakum.defences.base import Defence, Marks, Training
from oakum.engine.federation import federated
from oakum.engine.fitted import Fitted
from oakum.engine.plan import Plan
from oakum.errors import ParameterError
from oakum.metrics import Estimate, measure
from oakum.metrics.over_seeds import pooled
from oakum.metrics.robustness import exposure, lift, reach, retention, target_hits, target_ndcg
from oakum.metrics.stability import frbo, jaccard
from oakum.metrics.statistics import estimate
from oakum.parameters import Spec
from oakum.seeds import generator
from oakum.splits.protocol import Split, Truth


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack won, measured by the framework.

    before, after: exposure of the targets (T-HR@k, T-NDCG@k) on genuine people. lift: log odds of T-HR by cut-off; reach:
    share of people newly shown a target, by cut-off. quality: NDCG@10 after over before on the test part of a split, 1 =
    nothing lost; None without a test part. budget: allowed; cost: counted by the framework; knowledge: what the technique
    had to know of the log. agreement: of untargeted attacks, which move everybody's lists: overlap of people's lists before and
    after under the same seed, and beside it (given two seeds) of two seeds before; of a copy, with the victim's lists.
    """

    attack: str
    system: str
    goal: str
    targets: tuple[Any, ...]
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    lift: dict[str, Estimate]
    reach: dict[str, Estimate]
    quality: Estimate | None
    budget: Budget
    cost: Budget
    looks: dict[str, int]
    threat: tuple[str, ...]
    knowledge: str
    seeds: tuple[int, ...]
    agreement: dict[str, Estimate] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = lambda m: {k: e.to_json() for k, e in m.items()}
        return {
            "attack": self.attack,
            "system": self.system,
            "goal": self.goal,
            "targets": list(self.targets),
            "exposure": {"before": plain(self.before), "after": plain(self.after)},
            "log_odds_lift": plain(self.lift),
            "people_newly_reached": plain(self.reach),
            "quality_retention": None if self.quality is None else self.quality.to_json(),
            "budget": self.budget.to_json(),
            "spent": self.cost.to_json(),
            "looks": self.looks,
            "threat": list(self.threat),
            "knowledge": self.knowledge,
            "seeds": list(self.seeds),
            "agreement": plain(self.agreement),
        }


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What every fit of a drill is asked, the same for clean, attacked and defended ones.

    people: codes of the genuine people measured; histories: their own events, never a poisoned log's; owned: CSR
    [people, items], all they have in any part; truth: the test part, where there is one.
    """

    people: Ids
    histories: Ragged
    owned: Any
    targets: Ids
    k: tuple[int, ...]
    truth: Truth | None = None

    @classmethod
    def of(
        cls, data: Dataset | Split, goal: Goal, k: Sequence[int] = (10, 20, 50), *, measured: int = 5000, seed: int = 0
    ) -> Yardstick:
        """At most `measured` people, drawn by the seed, and the test people among all."""
        split = data if isinstance(data, Split) else None
        train = data.train if isinstance(data, Split) else data
        people = np.flatnonzero(train.user_counts > 0)
        if len(people) > measured:
            people = np.sort(generator(seed, "measured people").choice(people, measured, replace=False))
        owned = owned_by(train, [split.valid, split.test] if split is not None else [])[people]
        truth = split.truth() if split is not None and len(split.test) else None
        if truth is not None and len(truth) > measured:
            chosen = generator(seed, "measured test people").choice(len(truth), measured, replace=False)
            truth = truth.take(np.sort(chosen))
        return cls(people.astype(np.int32), train.histories.take(people), owned, goal.codes, tuple(k), truth)

    def for_added(self, before: int, after: int) -> Yardstick:
        """The same people asked for the items that were added: codes from `before` on, which nobody has."""
        fresh = sparse.csr_matrix((self.owned.shape[0], after - self.owned.shape[1]), dtype=self.owned.dtype)
        return replace(
            self, owned=sparse.hstack([self.owned, fresh]).tocsr(), targets=np.arange(before, after, dtype=np.int32)
        )

    def measure(self, fitted: Fitted) -> dict[str, Any]:
        """Target hits [people, targets] for each cut-off, T-NDCG of the longest list, and "ndcg@10" [test people]."""
        out: dict[str, Any] = {}
        if len(self.targets):
            out = exposures(fitted, self.people, self.histories, self.targets, self.owned, self.k)
        else:
            out["lists"] = fitted.rank(Queries(self.people, self.histories), 10, where=Filter(exclude=self.histories))
        if self.truth is not None:
            ranking = fitted.rank(self.truth.queries, 10, where=self.truth.filter(), fallback=True)
            out["ndcg@10"] = measure(ranking, self.truth, ["ndcg@10"])["ndcg@10"]
        return out


def exposures(
    fitted: Fitted, users: Ids, own: Ragged | Dataset, targets: Ids, owned: Any, k: Sequence[int]
) -> dict[str, Any]:
    """Target hits by user and target for each cut-off, and T-NDCG of the longest list. own: one row of history a user
    (or the data set that has them); what is in it is not shown."""
    own = own.histories.take(users) if isinstance(own, Dataset) else own
    ranking = fitted.rank(Queries(users, own), max(k), where=Filter(exclude=own))
    out = {f"t_hr@{cut}": target_hits(ranking.items, targets, owned, cut) for cut in k}
    out[f"t_ndcg@{max(k)}"] = target_ndcg(ranking.items, targets, owned, max(k))
    return out


def fit_one(
    system: str | Spec,
    data: Dataset,
    *,
    defence: Defence | None = None,
    plan: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Any = None,
) -> Fitted:
    """One fit from scratch on a clean or a poisoned log, with a defence in place or without: plain values in, so that
    fits can run in processes of their own."""
    from oakum.api import fit

    plugins: Sequence[Spec] = ()
    if defence is not None:
        data, _ = defence.clean(data)
        plugins = defence.plugins()
        plan = {**(plan or {}), **defence.trains(plan or {})}
    fitted: Fitted = fit(system, data, plan=plan, plugins=plugins, seed=seed, progress=progress)
    return fitted if defence is None else fitted.behind(defence, data)


def judge(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], *, seed: int = 0
) -> tuple[dict[str, Any], ...]:
    """From `Yardstick.measure` of the same seeds before and after: exposure before, exposure after, lift, reach (each by
    name), with intervals over people within a seed, pooled over seeds."""
    names = [n for n in before[0] if n.startswith("t_")]
    hits = [n for n in names if n.startswith("t_hr@")]
    shown = lambda runs: {n: _share(pooled([exposure(r[n], seed=seed) for r in runs])) for n in names}
    both = list(zip(before, after, strict=True))
    lifted = {n: pooled([lift(b[n], a[n], seed=seed) for b, a in both]) for n in hits}
    reached = {n: _share(pooled([estimate(reach(b[n], a[n]), seed=seed) for b, a in both])) for n in hits}
    return shown(before), shown(after), lifted, reached


def agreement(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], *, seed: int = 0
) -> dict[str, Estimate]:
    """From `Yardstick.measure` without targets: rank-biased overlap and Jaccard of the first ten places of the same people,
    before and after under the same seeds, pooled; and, where there are two seeds, of both before, and of one before with the
    other after."""
    out: dict[str, Estimate] = {}
    for name, of in (("frbo@10", frbo), ("jaccard@10", jaccard)):
        moved = [estimate(of(b["lists"], a["lists"], 10), seed=seed) for b, a in zip(before, after, strict=True)]
        out[name] = _share(pooled(moved))
        if len(before) > 1:
            out[f"{name}, another seed"] = estimate(of(before[0]["lists"], before[1]["lists"], 10), seed=seed)
            out[f"{name}, both"] = estimate(of(before[0]["lists"], after[1]["lists"], 10), seed=seed)
    return out


def _share(e: Estimate) -> Estimate:
    """A share's interval ends at 0 and 1."""
    return replace(e, low=max(0.0, e.low), high=min(1.0, e.high))


def attack(
    technique: str | Attack,
    system: str | Spec,
    data: Dataset | Split,
    *,
    targets: Sequence[Any] | None = None,
    goal: Goal | None = None,
    budget: Budget | None = None,
    users: float = 0.01,
    queries: int = 0,
    defence: Defence | None = None,
    plan: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    k: Sequence[int] = (10, 20, 50),
    seed: int = 0,
    measured: int = 5000,
    progress: Any = None,
) -> AttackResult:
    """Fit clean, attack, check the budget, fit again from scratch with the same seeds, and measure.

    A technique that looks at the victim sees the clean fit of the first seed, and retrains of it. One that works through
    clients meets the federation of the plan's `step`, or one of all people where the plan has none.

    targets: item ids (default: five cold items drawn by `seed`). users: fake accounts as a share of the people, each
    with as many events as a person has; queries: looks at the victim; or give a whole `budget`. Only genuine people without the target count.
    A technique that writes rewords the targets, or adds items beside them, whose own exposure then counts.
    An untargeted technique has no targets; it edits one row by default (or copies the victim by its looks) and is measured by
    the agreement of people's lists.
    """
    from oakum.catalogue import load_class

    attacker: Attack = load_class(technique, "attack")() if isinstance(technique, str) else technique
    train = data.train if isinstance(data, Split) else data
    if attacker.untargeted:
        goal = Goal((), attacker.goals[0])  # type: ignore[arg-type]
    if goal is None:
        if targets is None:
            goal = cold_targets(train, seed=seed)
        else:
            codes = train.items.encode(list(targets))
            for name, code in zip(targets, codes, strict=True):
                if code < 0:
                    raise ParameterError(f"The target item {name!r} is not in the log '{train.name}'.")
            goal = Goal(tuple(int(c) for c in codes))
    if budget is None:
        count = len(goal.targets)
        budget = budget_of(attacker, train, users=users, targets=count, edits=max(1, count), queries=queries)
    stick = Yardstick.of(data, goal, k, measured=measured, seed=seed)
    if Threat.CLIENTS in attacker.threat:
        plan = {**(plan or {}), "step": federated((plan or {}).get("step"))}
    one = lambda log, s, p=plan: fit_one(system, log, defence=defence, plan=p, seed=s, progress=progress)
    looks = attacker.looks  # else nothing is fitted before the budget holds
    clean = [one(train, s) for s in seeds] if looks else []
    retrain = lambda change: one(change.apply(train), seeds[0])
    if looks and defence is None:
        retrain = afterwards(clean[0], train, lambda log: one(log, seeds[0]))
    found = propose(
        attacker, train, goal, budget, seed=seed, victim=clean[0] if looks else None,
        retrain=retrain if looks else None, plan=Plan(**(plan or {})),
    )  # fmt: skip
    then = plan if found.plan is None else {**(plan or {}), "step": found.plan.step}
    clean = clean or [one(train, s) for s in seeds]
    if found.poisoned.num_items > train.num_items:
        stick = stick.for_added(train.num_items, found.poisoned.num_items)
    before = [stick.measure(f) for f in clean]
    copy = found.change if isinstance(found.change, Imitation) else None
    after = before if copy else [stick.measure(one(found.poisoned, s, then)) for s in seeds]
    shown, moved, lifted, reached = judge(before, after, seed=seed)
    quality = None
    if stick.truth is not None:
        quality = pooled([retention(b["ndcg@10"], a["ndcg@10"], seed=seed) for b, a in zip(before, after, strict=True)])
    alike = agreement(before, after, seed=seed) if not goal.targets and copy is None else {}
    if copy is not None:
        found_by = likeness(clean[0], copy.fitted, Queries(stick.people, stick.histories))
        alike = {n: _share(estimate(v[np.isfinite(v)], seed=seed)) for n, v in found_by.items()}
    return AttackResult(
        attack=attacker.slug,
        system=system if isinstance(system, str) else system.slug,
        goal=goal.kind,
        targets=tuple(train.items.decode(goal.codes)),
        before=shown,
        after=moved,
        lift=lifted,
        reach=reached,
        quality=quality,
        budget=budget,
        cost=found.cost,
        looks=found.looks,
        threat=tuple(str(t.name) for t in attacker.threat),
        knowledge=attacker.knowledge,
        seeds=tuple(seeds),
        agreement=alike,
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
    from oakum.api import fit

    chosen = defence_of(defence) if isinstance(defence, str) else defence
    if isinstance(data, Split):
        cleaned, marks = chosen.clean(data.train)
        subject: Dataset | Split = replace(data, train=cleaned)
    else:
        subject, marks = chosen.clean(data)
    values = chosen.trains(options.get("plan") or {})
    if values:
        options["plan"] = {**(options.get("plan") or {}), **values}
    fitted: Fitted = fit(system, subject, plugins=list(chosen.plugins()), **options)
    return fitted.behind(chosen, subject), marks


__all__ = ["AttackResult", "Proposal", "Yardstick", "attack", "defence_of", "defend", "exposures", "fit_one", "judge"]
