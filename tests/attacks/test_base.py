"""The framework against attacks that cheat, and the price of a change as the framework counts it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.attacks.base import (
    Access,
    AddProfiles,
    Budget,
    EditEvents,
    Goal,
    Nothing,
    Threat,
    budget_for,
    cold_targets,
    propose,
)
from oakum.attacks.changes import counted
from oakum.data import Queries, Ragged, Ranking
from oakum.errors import BudgetExceeded, Denied, OakumError, ParameterError
from tests.attacks import honesty
from tests.toys import log_of, random_log

GOAL = Goal((3, 4))
BUDGET = Budget(users=2, clicks=40)


class Victim:
    """Ranks items by code, and counts how often it is really asked."""

    def __init__(self) -> None:
        self.asked = 0

    def rank(self, queries: Queries, k: int) -> Ranking:
        self.asked += len(queries)
        items = np.tile(np.arange(k, dtype=np.int32), (len(queries), 1))
        return Ranking(items, np.ones(items.shape, np.float32))

    def score(self, queries: Queries, items: Any = None) -> Any:
        self.asked += len(queries)
        return np.zeros((len(queries), 30), np.float32)


@pytest.mark.parametrize(
    ("cheat", "error", "words"),
    [
        (honesty.OverBudget(), BudgetExceeded, "users: 3 of 2"),
        (honesty.Underpriced(), BudgetExceeded, "users: 20 of 2"),
        (honesty.EditsQuietly(), BudgetExceeded, "edits: 3 of 0"),
        (honesty.PutsWordsInMouths(), BudgetExceeded, "edits: 1 of 0"),
        (honesty.RenamesPeople(), OakumError, "moves user ids"),
        (honesty.InventsItems(), OakumError, "item that does not exist"),
        (honesty.Mutates(), ValueError, "read-only"),
        (honesty.BreaksIn(), OakumError, "edited its input in place"),
        (honesty.Peeks(what="lists"), Denied, "needs LISTS; its threat model grants LOG"),
        (honesty.Peeks(what="scores"), Denied, "needs SCORES"),
        (honesty.Peeks(what="gradient"), Denied, "needs GRADIENTS"),
        (honesty.Peeks(what="retrain"), Denied, "needs RETRAIN"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, honesty.Attack) else None,
)
def test_a_cheat_is_caught(cheat: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        propose(cheat, random_log(), GOAL, BUDGET, victim=Victim(), retrain=lambda change: Victim())


def test_spoiling_what_is_cached_reaches_nobody() -> None:
    data = random_log()
    before = data.matrix.copy(), data.item_counts.copy(), data.histories.items.copy()
    propose(honesty.SpoilsTheCache(), data, GOAL, BUDGET)
    assert (data.matrix != before[0]).nnz == 0
    np.testing.assert_array_equal(data.item_counts, before[1])
    np.testing.assert_array_equal(data.histories.items, before[2])


@pytest.mark.parametrize("cheat", [honesty.LooksTooOften(), honesty.LooksThroughTheBackWindow()])
def test_every_look_is_counted_also_behind_a_retraining(cheat: Any) -> None:
    victim = Victim()
    with pytest.raises(BudgetExceeded, match="looked 6 times at the victim; its budget is 5"):
        propose(cheat, random_log(), GOAL, BUDGET.replace(queries=5), victim=victim, retrain=lambda change: victim)
    assert victim.asked <= 5


def test_counted_looks_come_back() -> None:
    class Modest(honesty.LooksTooOften):
        def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Any:
            found = access.lists(Queries(np.zeros(3, np.int32), Ragged.of([[0]] * 3)), 5)
            assert np.isnan(found.scores).all()  # lists grant the order, not the scores
            access.log()
            return Nothing()

    found = propose(Modest(), random_log(), GOAL, BUDGET.replace(queries=5), victim=Victim())
    assert found.looks == {"lists": 3, "log": 1}
    assert found.cost == Budget(queries=3)


def test_the_window_shows_the_log_and_hides_the_rest() -> None:
    data = random_log()
    tables = {"users": pl.DataFrame({"age": range(40)}), "items": pl.DataFrame({"title": ["x"] * 30})}
    data = replace(data, tables=tables, truth={"planted": [1]})
    seen = Access(Threat.LOG, data).log()
    assert dict(seen.tables) == {}
    assert dict(seen.truth) == {}
    assert seen.interactions is data.interactions
    assert set(Access(Threat.LOG | Threat.CATALOGUE, data).log().tables) == {"items"}


def test_there_is_no_way_to_the_test_part() -> None:
    public = {n for n in dir(Access) if not n.startswith("_")}
    assert public == {"gradient", "lists", "log", "retrain", "scores", "spent"}


@given(st.integers(1, 4), st.integers(1, 6), st.booleans())
@settings(max_examples=20, deadline=None)
def test_added_accounts_cost_what_they_add_and_leave_the_old_log_as_it_was(n: int, length: int, numbers: bool) -> None:
    data = random_log(users=8, items=10, events=30)
    if numbers:
        ids = pl.Series("id", range(100, 100 + data.num_users))
        data = replace(data, users=type(data.users)(ids))
    change = AddProfiles(Ragged.of([list(range(length))] * n))
    after = change.apply(data)
    assert counted(data, after, "x") == change.cost() == Budget(users=n, clicks=n * length)
    old = len(data)
    assert after.interactions.take(slice(0, old)).digest() == data.interactions.digest()
    assert after.interactions.rows[old:].min() > data.interactions.rows.max()
    assert after.users.ids.n_unique() == data.num_users + n
    assert after.users.ids.head(data.num_users).equals(data.users.ids)
    assert change.apply(data).digest == after.digest  # pure: the same each time


def test_ids_of_added_accounts_do_not_collide() -> None:
    data = log_of([(0, 0), (1, 1)], 2, 3)
    taken = replace(data, users=type(data.users)(pl.Series("id", ["added-1", "added-3"])))
    after = AddProfiles(Ragged.of([[0], [1]])).apply(taken)
    assert after.users.ids.to_list() == ["added-1", "added-3", "added-2", "added-4"]


def test_removed_and_altered_rows_are_edits() -> None:
    data = random_log(users=8, items=10, events=30)
    log = data.interactions
    assert counted(data, EditEvents(log.rows[2:5]).apply(data), "x") == Budget(edits=3)
    items = log.items.copy()
    items[0] = (items[0] + 1) % 10
    altered = data.with_interactions(replace(log, items=items))
    assert counted(data, altered, "x") == Budget(edits=1)
    shuffled = data.with_interactions(log.take(np.random.default_rng(0).permutation(len(log))))
    assert counted(data, shuffled, "x") == Budget()  # the order of rows carries nothing
    assert counted(data, data, "x") == Budget()
    assert counted(data, data.with_interactions(log.with_times(None)), "x").edits == len(log)


def test_a_row_id_used_twice_is_refused() -> None:
    data = random_log(users=8, items=10, events=30)
    twice = data.with_interactions(data.interactions.take(np.array([0, 0, 1])))
    with pytest.raises(OakumError, match="row id twice"):
        counted(data, twice, "x")


def test_budgets_cover_and_add_up() -> None:
    a, b = Budget(users=2, clicks=10, norm=0.5), Budget(users=1, queries=3, norm=0.2)
    assert a + b == Budget(users=3, clicks=10, queries=3, norm=0.5)
    assert a.covers(Budget(users=2, clicks=10))
    assert not a.covers(b)
    assert (a + b).covers(a)


@pytest.mark.parametrize(
    ("targets", "kind", "words"),
    [((), "promote", "at least one target"), ((1,), "degrade", "has no targets"), ((1, 1), "promote", "twice")],
)
def test_a_goal_is_items_and_nothing_else(targets: Any, kind: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        Goal(targets, kind)


def test_targets_are_cold_where_they_should_be() -> None:
    data = random_log(users=80, items=60, events=2000, seed=2)
    tail, head = (cold_targets(data, 3, seed=1, popularity=p).codes for p in ("tail", "head"))
    known = np.sort(data.item_counts[data.item_counts > 0])
    assert data.item_counts[tail].max() <= np.median(known)
    assert data.item_counts[head].min() >= np.quantile(known, 0.95)
    assert (data.item_counts[tail] > 0).all()
    assert cold_targets(data, 3, seed=1) == cold_targets(data, 3, seed=1, popularity="tail")
    with pytest.raises(ParameterError, match="Did you mean 'tail'"):
        cold_targets(data, popularity="tial")
    with pytest.raises(ParameterError, match="Only"):
        cold_targets(data, 1000)


def test_a_target_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ParameterError, match="target 30 is not among the 30 items"):
        propose(honesty.OverBudget(), random_log(), Goal((30,)), BUDGET)


def test_a_share_becomes_accounts_as_long_as_peoples() -> None:
    data = random_log()
    found = budget_for(data, 0.05)
    assert found.users == 2
    assert found.clicks == 2 * round(float(data.user_counts.mean()))
