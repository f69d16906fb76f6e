"""Which events are edited, how, and at what price."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oakum.attacks.base import Budget, EditEvents, Goal, propose
from oakum.attacks.changes import counted
from oakum.attacks.profiles.casper import CASPER, SelfInfluence, cascades, in_time
from oakum.data import Queries
from oakum.errors import DataError
from oracles.cascade import descendants, edges
from tests.toys import log_of, random_log

GOAL = Goal((), "degrade")


@pytest.mark.parametrize("length", [0, 4])
def test_the_deleted_row_is_the_one_that_most_come_after(length: int) -> None:
    data = random_log(events=200)
    log = data.interactions
    order = in_time(data)
    graph = edges(log.users[order].tolist(), log.items[order].tolist(), length - 1 if length else 0)
    every = [descendants(graph, r) for r in range(len(log))]
    found = propose(CASPER(max_length=length), data, GOAL, Budget(edits=1))
    assert found.cost == Budget(edits=1)
    gone = np.setdiff1d(log.rows, found.poisoned.interactions.rows)
    assert len(gone) == 1
    assert every[int(np.flatnonzero(log.rows[order] == gone[0])[0])] == max(every)


def test_several_edits_go_to_the_next_largest_and_a_sketch_finds_nearly_the_same() -> None:
    data = random_log(users=60, items=50, events=1500)
    worth = cascades(data)
    rows = CASPER(max_length=0).choose(data, 3, np.random.default_rng(0))
    order = in_time(data)
    place = {int(r): i for i, r in enumerate(data.interactions.rows[order])}
    assert sorted((worth[place[int(r)]] for r in rows), reverse=True) == sorted(worth, reverse=True)[:3]
    near = CASPER(max_length=0, sketch=64).choose(data, 1, np.random.default_rng(0))
    assert worth[place[int(near[0])]] >= 0.7 * worth.max()
    many = CASPER(max_length=0).choose(data, 200, np.random.default_rng(0))  # more than rows without predecessor
    assert len(np.unique(many)) == 200


@pytest.mark.parametrize("item", ["random", "rarest"])
def test_replaced_and_inserted_rows(item: Any) -> None:
    data = random_log()
    old = data.interactions
    swapped = propose(CASPER(edit="replace", item=item), data, GOAL, Budget(edits=4))
    new = swapped.poisoned.interactions
    changed = np.flatnonzero(old.items != new.items)
    assert len(changed) == 4
    assert np.array_equal(old.rows, new.rows)
    more = propose(CASPER(edit="insert", item=item), data, GOAL, Budget(edits=4)).poisoned.interactions
    assert len(more) == len(old) + 4
    assert more.rows[-4:].min() > old.rows.max()
    flat = more.histories(data.num_users)
    for row in more.rows[-4:]:
        at = int(np.flatnonzero(flat.rows == row)[0])
        follower = int(np.flatnonzero(old.rows == flat.rows[at + 1])[0])
        assert old.users[follower] == more.users[more.rows == row][0]
        assert old.times[follower] - flat.times[at] == 1
    if item == "rarest":
        assert len(np.unique(new.items[changed])) <= 2
    assert swapped.cost == Budget(edits=4) == swapped.change.cost()


@pytest.mark.parametrize("pick", ["random", "first", "last", "degree", "popular"])
def test_comparators(pick: Any) -> None:
    data = random_log()
    log = data.interactions
    rows = CASPER(pick=pick).choose(data, 2, np.random.default_rng(0))
    assert len(np.unique(rows)) == 2
    at = int(np.flatnonzero(log.rows == rows[0])[0])
    mine = np.flatnonzero(log.users == log.users[at])
    if pick in ("first", "last"):
        assert log.times[at] == (log.times[mine].min() if pick == "first" else log.times[mine].max())
    if pick == "degree":
        worth = np.bincount(log.users)[log.users] + np.bincount(log.items)[log.items]
        assert worth[at] == worth.max()
    if pick == "popular":
        best = int(np.bincount(log.items).argmax())
        assert at == int(np.flatnonzero(log.items == best)[0])


def test_a_row_that_holds_the_only_event_of_an_item_leaves_the_codes_as_they_are() -> None:
    data = log_of([(0, 0), (0, 1), (1, 1), (1, 2), (0, 2)], 2, 3)
    after = propose(CASPER(), data, GOAL, Budget(edits=1)).poisoned
    assert after.num_items == 3
    assert after.item_counts[0] == 0
    assert after.schema == data.schema


def test_no_edits_no_change() -> None:
    assert propose(CASPER(), random_log(), GOAL, Budget()).cost == Budget()


def test_the_row_hardest_to_explain_costs_a_look_a_row() -> None:
    class Victim:
        def score(self, queries: Queries, items: Any = None) -> Any:
            scores = np.zeros((len(queries), 30), np.float32)
            scores[:, 7] = 9.0  # sure of item 7, so any other is a surprise and 7 is none
            scores[:, 8] = -9.0
            return scores

    data = random_log()
    log = data.interactions
    found = propose(SelfInfluence(), data, GOAL, Budget(edits=5, queries=10_000), victim=Victim())
    assert found.cost.edits == 5
    assert found.cost.queries == len(log) - data.num_users
    gone = ~np.isin(log.rows, found.poisoned.interactions.rows)
    assert (log.items[gone] == 8).all()
    few = propose(SelfInfluence(), data, GOAL, Budget(edits=5, queries=3), victim=Victim())
    assert few.cost.queries == 3


def test_edits_are_counted_as_they_say_and_name_rows_that_exist() -> None:
    data = random_log()
    log = data.interactions
    last = log.rows.max()
    both = EditEvents(
        remove=np.array([last, log.rows[0]]),
        replace=log.rows[5:7],
        items=((log.items[5:7] + 1) % 30).astype(np.int32),
        before=log.rows[9:10],
        added=np.array([3], np.int32),
    )
    after = both.apply(data)
    assert counted(data, after, "x") == both.cost() == Budget(edits=5)
    assert last not in after.interactions.rows  # its id is not given away again
    assert both.apply(data).digest == after.digest
    assert both.digest() != EditEvents(remove=both.remove).digest()
    with pytest.raises(DataError, match="no row 99999"):
        EditEvents(replace=np.array([99999]), items=np.array([0], np.int32)).apply(data)
    timeless = data.with_interactions(replace(log, times=None))
    with pytest.raises(DataError, match="has times"):
        EditEvents(before=log.rows[:1], added=np.array([3], np.int32)).apply(timeless)


@pytest.mark.parametrize("technique", ["casper", "self-influence"])
def test_a_drill_measures_the_agreement_of_lists(technique: str) -> None:
    pytest.importorskip("torch")
    from oakum.attacks.drill import attack
    from oakum.splits import split

    parts = split(random_log(events=900), "holdout")
    plan = {"epochs": 2, "batch_size": 64, "learning_rate": 0.05, "patience": 0}
    found = attack(technique, "bpr-mf", parts, plan=plan, seeds=(0, 1))
    assert found.cost.edits == 1
    assert found.goal == "degrade"
    assert not found.before
    kinds = ("", ", another seed", ", both")
    assert set(found.agreement) == {f"{m}{k}" for m in ("frbo@10", "jaccard@10") for k in kinds}
    assert found.agreement["frbo@10, another seed"].value < found.agreement["frbo@10"].value <= 1
    assert found.quality is not None
    assert "agreement" in found.to_json()
    still = attack("does-nothing", "bpr-mf", parts, plan=plan, goal=GOAL)
    assert still.agreement["frbo@10"].value == 1.0
