"""Attacks inside an audit are worked out once, kept beside the fits, and shown the right victim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from oakum.attacks import proposed as module
from oakum.attacks.base import (
    Access,
    AddItems,
    Attack,
    Budget,
    Change,
    EditEvents,
    EditText,
    Goal,
    Nothing,
    Threat,
)
from oakum.attacks.profiles.heuristic import BandwagonProfiles
from oakum.attacks.proposed import Proposed
from oakum.audits.trials import Bench, settle
from oakum.data import Queries, Ragged
from oakum.engine.progress import Silent
from oakum.errors import BudgetExceeded
from oakum.models.classic.ease import EASE
from tests.attacks.honesty import profiles
from tests.toys import random_log

BUDGET = Budget(users=2, clicks=20, queries=3)
GOAL = Goal((3, 4))
RUNS: list[str] = []


class Counted(Attack):
    """Says when it runs."""

    slug = "counted"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Change:
        RUNS.append("log")
        return profiles(goal, budget.users, 10)


class Looking(Attack):
    """Asks the victim, and the victim that would come."""

    slug = "looking"
    threat: ClassVar[Threat] = Threat.LOG | Threat.LISTS | Threat.RETRAIN

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Change:
        change = profiles(goal, budget.users, 10)
        asked = Queries(np.array([-1], np.int32), Ragged.of([[0, 1]]))
        before = access.lists(asked, 5)
        after = access.retrain(change).lists(asked, 5)
        RUNS.append(f"{len(before)} {len(after)}")
        return change


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    RUNS.clear()
    monkeypatch.setattr(module, "_WORKED", {})


def test_a_technique_runs_once_a_process_and_never_where_its_change_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = random_log(), Proposed(Counted(), GOAL, BUDGET)
    first, again = asked.apply(data), asked.apply(data)
    assert first.digest == again.digest
    assert RUNS == ["log"]
    kept = asked.settle(data, tmp_path)
    assert RUNS == ["log"]
    assert not list(tmp_path.iterdir())  # it was in memory already
    monkeypatch.setattr(module, "_WORKED", {})
    asked.settle(data, tmp_path)
    assert len(RUNS) == 2
    monkeypatch.setattr(module, "_WORKED", {})
    found = asked.settle(data, tmp_path)
    assert len(RUNS) == 2
    assert found.apply(data).digest == first.digest == kept.apply(data).digest
    assert found.cost() == kept.cost() == Budget(users=2, clicks=20)
    assert found.digest() == asked.digest()
    assert found.change.profiles.times is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [
        Nothing(),
        EditEvents(np.array([2, 5])),
        EditEvents(replace=np.array([2, 5]), items=np.array([7, 8], np.int32)),
        EditEvents(before=np.array([4]), added=np.array([9], np.int32)),
        AddItems(("a harmless marker", "zwei Wörter")),
        EditText((0,), ("even thing ak",)),  # its own text
    ],
)
def test_other_changes_come_back_as_they_were(change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(Counted):
        def run(self, access: Access, goal: Goal, budget: Budget, rng: Any) -> Change:
            return change

    data, asked = random_log(), Proposed(Fixed(), GOAL, BUDGET.replace(edits=2, items=2))
    asked.settle(data, tmp_path)
    monkeypatch.setattr(module, "_WORKED", {})
    assert asked.settle(data, tmp_path).change.digest() == change.digest()


def test_the_identity_follows_what_the_answer_depends_on() -> None:
    data = random_log()
    asked = Proposed(BandwagonProfiles(), GOAL, BUDGET)
    others = [
        replace(asked, seed=1),
        replace(asked, goal=Goal((3,))),
        replace(asked, budget=BUDGET.replace(users=1)),
        replace(asked, attack=BandwagonProfiles(popular_share=0.2)),
        replace(asked, victim=EASE()),
    ]
    assert len({p.digest() for p in [asked, *others]}) == 6
    assert asked.digest() == replace(asked).digest()
    assert asked.name(data) != asked.name(random_log(seed=1))


def test_a_technique_that_looks_is_given_the_victim_and_its_budget_holds() -> None:
    asked = Proposed(Looking(), GOAL, BUDGET, victim=EASE(l2=5.0))
    found = asked.settle(random_log())
    assert RUNS == ["1 1"]
    assert found.looks == {"lists": 2, "retrain": 1}
    assert found.spent.queries == 3
    with pytest.raises(BudgetExceeded):
        replace(asked, budget=BUDGET.replace(queries=2)).settle(random_log())


def test_a_bench_is_settled_in_workers_and_what_hangs_on_it_keeps_its_name(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from oakum.attacks.profiles.pga import PGAProfiles

    data = random_log()
    users = np.arange(5, dtype=np.int32)
    changes = {
        "by rule": ("clean", Proposed(BandwagonProfiles(), GOAL, BUDGET)),
        "optimised": ("clean", Proposed(PGAProfiles(steps=1), GOAL, BUDGET)),
        "already": ("clean", Nothing()),
    }
    bench = Bench({"clean": data}, users, users, None, changes)
    done = settle(bench, folder=tmp_path, workers=2, progress=Silent())
    assert len(list(tmp_path.glob("*.change.safetensors"))) == 2
    settled = replace(bench, changes=done)
    for key in changes:
        assert settled.digest(key) == bench.digest(key)
        assert settled.dataset(key).digest == bench.dataset(key).digest


def test_a_grid_of_techniques_that_optimise_and_that_look() -> None:
    """Each system has its own accounts where the technique looks, the same where it does not; looks are counted and said."""
    pytest.importorskip("torch")
    from oakum.audits.grid import Grid
    from oakum.audits.scorecard import audit
    from oakum.data.simulate import Market, simulate

    data = simulate(Market(users=60, items=50, events=1200), seed=0)
    grid = Grid(
        attacks=("pga-profiles", "poisonrec-profiles"), cures=("denoise",), shares=(0.05,), seeds=1, queries=330
    )
    report = audit(data, ["ials", "item-knn"], audits=[grid], workers=2)
    (found,) = report.findings
    assert len(found.evidence) == 2 * 2 * 2
    stated = [r for r in found.evidence if r["exposure after"].startswith("does not apply")]
    assert {r["defence"] for r in stated} == {"denoise"}  # closed forms take no plug-in, and the cells say so
    assert len(stated) == 2 * 2
    for system in ("ials", "item-knn"):
        assert f"'poisonrec-profiles' looked at {system}: " in found.threat
    assert "5 retrain" in found.threat
    assert found.budget["queries"] == 330
    assert "optimise" not in found.threat
