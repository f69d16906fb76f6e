"""The framework is honest even where an attack is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oakum.attacks.base import (
    Access,
    AddProfiles,
    Attack,
    Budget,
    Goal,
    Threat,
    budget_for,
    cold_targets,
    owned_by,
    propose,
)
from oakum.attacks.drill import attack
from oakum.attacks.profiles.heuristic import BandwagonProfiles, RandomProfiles
from oakum.attacks.testing import DoesNothing
from oakum.catalogue import entries, load_class
from oakum.data import Interactions, Queries, Ragged
from oakum.data.simulate import Market, simulate
from oakum.errors import BudgetExceeded, Denied, OakumError, ParameterError
from oakum.splits import split

ATTACKS = [s for s, e in entries().items() if e.kind == "attack" and "self-test" not in e.task]


@pytest.fixture(scope="module")
def data() -> Any:
    return simulate(Market(users=200, items=120, events=5000), seed=3)


class OverBudget(Attack):
    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        return AddProfiles(Ragged.of([[1, 2]] * (budget.users + 1)))


class EditsInPlace(Attack):
    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        items = access.log().interactions.items
        items.flags.writeable = True
        items[0] = 0
        return AddProfiles(Ragged.empty(0))


class WritesColumns(Attack):
    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        access.log().interactions.items[0] = 0
        return AddProfiles(Ragged.empty(0))


class LooksWithoutLeave(Attack):
    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        access.scores(Queries(np.array([0], np.int32), Ragged.of([[1]])))
        return AddProfiles(Ragged.empty(0))


class LooksTooOften(Attack):
    threat = Threat.LOG | Threat.RETRAIN

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        for _ in range(budget.queries + 1):
            access.retrain(AddProfiles(Ragged.empty(0)))
        return AddProfiles(Ragged.empty(0))


class ClicksOnNothing(Attack):
    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        return AddProfiles(Ragged.of([[999_999]]))


class AlwaysSucceeds(Attack):
    """Claims success that it does not have."""

    slug = "always-succeeds"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
        change = AddProfiles(Ragged.empty(0))
        object.__setattr__(change, "exposure", 1.0)
        return change


BUDGET = Budget(users=5, clicks=100, queries=2)


@pytest.mark.parametrize(
    ("cheat", "error"),
    [
        (OverBudget(), BudgetExceeded),
        (WritesColumns(), ValueError),
        (LooksWithoutLeave(), Denied),
        (ClicksOnNothing(), OakumError),
    ],
)
def test_cheats_are_caught(data: Any, cheat: Attack, error: type[Exception]) -> None:
    with pytest.raises(error):
        propose(cheat, data, Goal((1,)), BUDGET)


def test_editing_the_input_in_place_is_caught() -> None:
    own = simulate(Market(users=50, items=40, events=800), seed=9)
    with pytest.raises((OakumError, ValueError), match=r"edited its input|WRITEABLE|writeable"):
        propose(EditsInPlace(), own, Goal((1,)), BUDGET)


def test_looks_are_counted(data: Any) -> None:
    with pytest.raises(BudgetExceeded, match="2 queries"):
        propose(LooksTooOften(), data, Goal((1,)), BUDGET, retrain=lambda change: None)


def test_targets_must_exist(data: Any) -> None:
    with pytest.raises(ParameterError, match="target"):
        propose(RandomProfiles(), data, Goal((10_000,)), BUDGET)


def test_test_events_are_out_of_reach(data: Any) -> None:
    parts = split(data)
    seen = []

    class Looks(Attack):
        def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
            seen.append(access.log())
            return AddProfiles(Ragged.empty(0))

    propose(Looks(), parts.train, Goal((1,)), BUDGET)
    assert not np.isin(seen[0].interactions.rows, parts.test.rows).any()
    assert not [n for n in dir(Access) if "test" in n]


def test_claimed_success_is_ignored_and_nothing_changes_nothing(data: Any) -> None:
    for technique in (AlwaysSucceeds(), DoesNothing()):
        found = attack(technique, "item-knn", data, users=0.02)
        assert found.before == found.after
        assert found.lift
        assert all(e.value == pytest.approx(0.0) for e in found.lift.values())
        assert found.cost == Budget()


def test_an_attack_wins_something_and_the_accounts_are_not_counted(data: Any) -> None:
    found = attack(BandwagonProfiles(), "item-knn", data, users=0.1)
    assert found.after["t_hr@50"].value > found.before["t_hr@50"].value
    people = int((data.user_counts > 0).sum())
    assert found.after["t_hr@50"].n <= people
    assert found.cost.users == round(0.1 * people)


@pytest.mark.parametrize("slug", ATTACKS)
def test_profiles_are_as_promised(data: Any, slug: str) -> None:
    goal, budget = cold_targets(data, 4, seed=1), budget_for(data, 0.05, targets=4)
    before = data.digest
    a, b, other = (propose(load_class(slug)(), data, goal, budget, seed=s) for s in (1, 1, 2))
    change: Any = a.change
    rows = [change.profiles.row(r) for r in range(len(change.profiles))]
    assert len(rows) == budget.users
    assert all(len(r) == len(np.unique(r)) == budget.clicks // budget.users for r in rows)
    assert all(np.isin(goal.codes, r).all() for r in rows)
    assert change.digest() == b.change.digest() != other.change.digest()
    poisoned = change.apply(data)
    assert data.digest == before
    assert len(poisoned) == len(data) + a.cost.clicks
    assert poisoned.num_users == data.num_users + budget.users
    assert poisoned.interactions.rows[len(data) :].min() > data.interactions.rows.max()
    np.testing.assert_array_equal(poisoned.interactions.items[: len(data)], data.interactions.items)
    times = poisoned.interactions.times
    assert times is not None
    assert times[len(data) :].max() <= data.interactions.times.max()  # type: ignore[union-attr]


def test_ratings_follow_the_technique(data: Any) -> None:
    goal, budget = cold_targets(data, 2, seed=1), Budget(users=60, clicks=60 * 40)
    log = data.interactions
    mean = np.bincount(log.items, log.values) / np.maximum(np.bincount(log.items), 1)
    for slug, near in (("random-profiles", False), ("average-profiles", True)):
        change: Any = propose(load_class(slug)(), data, goal, budget).change
        p = change.profiles
        filler = ~np.isin(p.items, goal.codes)
        gap = np.corrcoef(p.values[filler], mean[p.items[filler]])[0, 1]
        assert (gap > 0.2) == near, slug
        assert (p.values[~filler] == log.values.max()).all()


def test_owned_items_are_of_every_part(data: Any) -> None:
    part = Interactions(np.array([0], np.int32), np.array([7], np.int32))
    assert owned_by(data, [part, None])[0, 7] == 1
