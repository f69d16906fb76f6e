"""What every attack of the catalogue must do: within its budget as counted, pure, seeded, honest about what it knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oakum.attacks.base import Budget, Goal, propose
from oakum.catalogue import entries, load_class
from oakum.data import Dataset
from oakum.engine.plan import Plan
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
    return Goal((3, 4), "demote" if "values" in entries()[slug].needs else "promote")


@pytest.mark.parametrize("slug", ATTACKS)
def test_settings_round_trip(slug: str) -> None:
    cls = load_class(slug)
    assert cls.from_json(cls().to_json()) == cls()


@pytest.mark.parametrize("slug", ATTACKS)
@pytest.mark.parametrize("users", [1, 4])
def test_stays_within_the_budget_and_what_it_says_is_what_is_counted(slug: str, users: int) -> None:
    budget = Budget(users=users, clicks=users * 9, rounds=5)
    found = propose(load_class(slug)(), data_for(slug), kind_for(slug), budget)
    assert budget.covers(found.cost)
    assert found.change.cost() == found.cost
    assert found.cost.queries == 0 or "LISTS" in str(load_class(slug).threat)


@pytest.mark.parametrize("slug", ATTACKS)
def test_is_pure_and_seeded(slug: str) -> None:
    data, budget = data_for(slug), Budget(users=3, clicks=30, rounds=5)
    before = data.digest
    a, b = (propose(load_class(slug)(), data, kind_for(slug), budget, seed=7) for _ in range(2))
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
    found = propose(load_class(slug)(), data, kind_for(slug), Budget(users=3, clicks=30, rounds=5))
    log = found.poisoned.interactions
    back = log.take(log.users < data.num_users)
    assert back.digest() == data.interactions.digest()


@pytest.mark.parametrize("slug", ATTACKS)
def test_says_what_it_must_know(slug: str) -> None:
    cls = load_class(slug)
    assert cls.threat
    assert isinstance(cls.knowledge, str)
    assert cls.knowledge
