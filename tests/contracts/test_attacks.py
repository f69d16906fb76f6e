"""What every attack of the catalogue must do: within its budget as counted, pure, seeded, honest about what it knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oakum.attacks.base import Budget, Goal, Proposal, propose
from oakum.catalogue import entries, load_class
from oakum.data import Dataset
from oakum.engine.fit import fit
from oakum.engine.plan import Plan
from oakum.errors import BudgetExceeded, Denied
from oakum.models.classic.ials import IALS
from tests.toys import random_log

ATTACKS = [s for s, e in entries().items() if e.kind == "attack"]


def data_for(slug: str) -> Dataset:
    """A log that has what the attack needs."""
    data = random_log()
    if "values" in entries()[slug].needs:
        values = (np.arange(len(data)) % 5 + 1).astype(np.float32)
        data = data.with_interactions(replace(data.interactions, values=values))
    return data


def kind_for(slug: str) -> Goal:
    if load_class(slug)().untargeted:
        return Goal((), load_class(slug).goals[0])
    demotes = "values" in entries()[slug].needs and "demote" in load_class(slug).goals
    return Goal((3, 4), "demote" if demotes else "promote")


def found_by(slug: str, budget: Budget, *, seed: int = 0, data: Dataset | None = None) -> Proposal:
    """What an attack proposes; one that looks at a victim is given one, and queries."""
    data, attack = data_for(slug) if data is None else data, load_class(slug)()
    if not attack.looks:
        return propose(attack, data, kind_for(slug), budget, seed=seed)
    again = lambda change: fit(IALS(embedding_dim=4, epochs=2), change.apply(data))
    allowed = budget.replace(queries=2000)
    return propose(attack, data, kind_for(slug), allowed, seed=seed, victim=fit(IALS(), data), retrain=again)


@pytest.mark.parametrize("slug", ATTACKS)
def test_settings_round_trip(slug: str) -> None:
    cls = load_class(slug)
    assert cls.from_json(cls().to_json()) == cls()


@pytest.mark.parametrize("slug", ATTACKS)
@pytest.mark.parametrize("users", [1, 4])
def test_stays_within_the_budget_and_what_it_says_is_what_is_counted(slug: str, users: int) -> None:
    budget = Budget(users=users, clicks=users * 9, edits=users, rounds=5)
    found = found_by(slug, budget)
    assert budget.covers(found.cost.replace(queries=0))
    assert found.change.cost() == found.cost.replace(queries=0)
    assert (found.cost.queries > 0) == load_class(slug)().looks


@pytest.mark.parametrize("slug", ATTACKS)
def test_what_is_looked_at_is_declared_and_counted(slug: str) -> None:
    attack = load_class(slug)()
    names = {"log": "LOG", "lists": "LISTS", "scores": "SCORES", "gradient": "GRADIENTS", "retrain": "RETRAIN"}
    granted = {str(t.name) for t in attack.threat}
    found = found_by(slug, Budget(users=3, clicks=30, rounds=5))
    assert {names[n] for n in found.looks} <= granted
    if attack.looks:
        with pytest.raises((BudgetExceeded, Denied)):
            propose(attack, data_for(slug), kind_for(slug), Budget(users=3, clicks=30, rounds=5))


@pytest.mark.parametrize("slug", ATTACKS)
def test_is_pure_and_seeded(slug: str) -> None:
    data, budget = data_for(slug), Budget(users=3, clicks=30, edits=2, rounds=5)
    before = data.digest
    a, b = (found_by(slug, budget, seed=7, data=data) for _ in range(2))
    assert replace(data).digest == before
    assert a.change.digest() == b.change.digest()
    assert a.poisoned.digest == b.poisoned.digest
    if a.plan is None:
        assert a.change.apply(data).digest == a.poisoned.digest
    else:  # clients of a federation: the log is not touched
        assert a.poisoned.digest == data.digest
        assert a.change.apply(Plan()) == a.plan == b.plan != Plan()


@pytest.mark.parametrize("slug", ATTACKS)
def test_undoing_is_dropping_the_result(slug: str) -> None:
    data = data_for(slug)
    found = found_by(slug, Budget(users=3, clicks=30, rounds=5), data=data)
    log = found.poisoned.interactions
    back = log.take(log.users < data.num_users)
    assert back.digest() == data.interactions.digest()


@pytest.mark.parametrize("slug", ATTACKS)
def test_says_what_it_must_know(slug: str) -> None:
    cls = load_class(slug)
    assert cls.threat
    assert isinstance(cls.knowledge, str)
    assert cls.knowledge
