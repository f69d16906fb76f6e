"""Requests that wait at the same time and wish alike, answered as one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")

from oakum.data import Queries, Ragged
from oakum.errors import ParameterError
from oakum.serve.answers import Answer, Person, Wish, recommend, recommend_all
from oakum.serve.items import ItemTable
from oakum.serve.models import Served
from oakum.serve.together import AT_ONCE, RUNS, Together


class Slow:
    """A worker that goes on when it is told to, and remembers what it was asked. 7 is its undoing, "all" everybody's."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, list[int]]] = []
        self.gate = threading.Event()

    def __call__(self, kind: Any, what: Sequence[int]) -> list[str | Exception]:
        self.asked.append((kind, list(what)))
        assert self.gate.wait(10)
        if kind == "all":
            raise ParameterError("nobody")
        return [ParameterError("seven") if w == 7 else f"{kind}{w}" for w in what]


def meanwhile(asks: list[tuple[Any, int]], seconds: float = 10) -> tuple[Slow, list[Any]]:
    """All are asked for at once; the gate opens when they wait."""
    slow = Slow()

    async def run() -> list[Any]:
        with ThreadPoolExecutor(4) as pool:
            together: Together[int, str] = Together(pool, slow)
            tasks = [asyncio.create_task(asyncio.wait_for(together.ask(*ask), seconds)) for ask in asks]
            await asyncio.sleep(0.05)
            slow.gate.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert await together.ask("z", 1) == "z1"  # nothing stays taken
            slow.asked.pop()
            return list(found)

    return slow, asyncio.run(run())


def test_those_that_wait_are_one_and_each_gets_its_own() -> None:
    slow, found = meanwhile([("a", n) for n in range(6)])
    assert slow.asked == [("a", [0]), ("a", [1]), ("a", [2, 3, 4, 5])]
    assert found == [f"a{n}" for n in range(6)]
    assert RUNS == 2


def test_other_kinds_wait_for_their_turn_and_are_not_mixed() -> None:
    slow, found = meanwhile([("a", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5), ("c", 6)])
    assert slow.asked[2:] == [("b", [3, 5]), ("a", [4]), ("c", [6])]
    assert found == ["a1", "a2", "b3", "a4", "b5", "c6"]


def test_no_run_is_larger_than_the_bound() -> None:
    slow, found = meanwhile([("a", n + 10) for n in range(AT_ONCE + 8)])
    assert [len(what) for _, what in slow.asked] == [1, 1, AT_ONCE, 6]
    assert found == [f"a{n + 10}" for n in range(AT_ONCE + 8)]


def test_an_error_stays_with_its_cause() -> None:
    _, found = meanwhile([("a", 1), ("a", 2), ("a", 7), ("a", 8), ("all", 1), ("all", 2)])
    assert found[:2] == ["a1", "a2"]
    assert found[3] == "a8"
    assert [str(found[at]) for at in (2, 4, 5)] == ["seven", "nobody", "nobody"]


def test_who_gave_up_is_not_answered() -> None:
    slow, found = meanwhile([("a", 1), ("a", 2), ("a", 3)], seconds=0.01)
    assert all(isinstance(f, TimeoutError) for f in found)
    assert slow.asked == [("a", [1]), ("a", [2])]


# --- what is answered ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wish", [Wish(k=4), Wish(k=500), Wish(k=3, filter="price < 20"), Wish(k=4, exclude_seen=False), Wish(k=4, seed=3)]
)
def test_together_is_each_alone(saved: Path, wish: Wish) -> None:
    served = Served.load(saved)
    table = ItemTable(served, {})
    users, items = list(served.users), list(served.items)
    people = [
        Person(user_id=users[0]), Person(history=items[2:5]), Person(user_id="nobody"),
        Person(user_id=users[1], text="red"), Person(), Person(user_id=users[7], history=["nothing"]),
    ]  # fmt: skip
    found = recommend_all(served, table, people, wish)
    for person, answer in zip(people, found, strict=True):
        if person.text is not None:
            assert isinstance(answer, ParameterError)  # and the others have their lists
            continue
        alone = recommend(served, table, person, wish)
        assert isinstance(answer, Answer)
        assert [i for i, _ in answer.items] == [i for i, _ in alone.items]
        np.testing.assert_allclose(
            [s for _, s in answer.items if s is not None], [s for _, s in alone.items if s is not None], rtol=1e-5
        )
        assert (answer.fallback, answer.ignored, answer.matching) == (alone.fallback, alone.ignored, alone.matching)


# --- what is joined ------------------------------------------------------------------------------------------------
def test_rows_joined_are_the_rows() -> None:
    timed = Ragged(np.array([0, 2, 2]), np.array([4, 5], np.int32), np.array([1, 2]))
    plain = Ragged.of([[6], [], [7, 8]])
    both = Ragged.join([timed, plain])
    assert [both.row(r).tolist() for r in range(5)] == [[4, 5], [], [6], [], [7, 8]]
    assert both.times is None
    twice = Ragged.join([timed, timed])
    assert twice.times is not None
    assert twice.times.tolist() == [1, 2, 1, 2]
    moments = Queries(np.zeros(2, np.int32), timed, at=np.array([3, 4]), text=["a", "b"])
    joined = Queries.join([moments, moments])
    assert joined.at is not None
    assert joined.at.tolist() == [3, 4, 3, 4]
    assert joined.text == ["a", "b", "a", "b"]
