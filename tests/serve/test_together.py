"""Searches of requests that wait at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from oakum.data import Filter, Queries, Ragged, Ranking
from oakum.errors import ParameterError
from oakum.serve.together import AT_ONCE, Together

CLOSED = np.array([3], np.int32)


class Slow:
    """A search that ends when it is told to, and remembers what it was asked. Item 7 in a history is its undoing."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()

    def __call__(self, queries: Queries, k: int, where: Filter) -> Ranking:
        self.asked.append((len(queries), k))
        self.begun.release()
        assert self.gate.wait(10)
        if (queries.histories.items == 7).any():
            raise ParameterError("seven")
        last = queries.histories.items[queries.histories.offsets[1:] - 1]
        excluded = np.zeros(len(queries), np.int32) if where.exclude is None else where.exclude.lengths
        return Ranking((last[:, None] + np.arange(k)).astype(np.int32), np.float32(excluded)[:, None].repeat(k, 1))


def _ask(*items: int) -> Queries:
    return Queries(np.array([-1], np.int32), Ragged.of([items]))


def _meanwhile(slow: Slow, asks: list[tuple[Queries, int, Filter]]) -> tuple[Together, list[Callable[[], Ranking]]]:
    """One search is begun, then all others are asked for; the gate is opened when they wait."""
    together = Together(slow)
    pool = ThreadPoolExecutor(len(asks))
    found = [pool.submit(together.find, *asks[0])]
    assert slow.begun.acquire(timeout=10)
    for number, ask in enumerate(asks[1:], 1):  # one after the other, so that their order is known
        found.append(pool.submit(together.find, *ask))
        while len(together._waiting) < number:
            threading.Event().wait(0.001)
    slow.gate.set()
    pool.shutdown(wait=True)
    return together, [f.result for f in found]


def test_those_that_wait_are_searched_as_one_and_each_gets_its_own() -> None:
    slow = Slow()
    queries = [_ask(1), _ask(5, 20), _ask(30), _ask(2, 3, 40)]
    _, found = _meanwhile(slow, [(q, 3, Filter(exclude=q.histories)) for q in queries])
    assert slow.asked == [(1, 3), (3, 3)]
    assert [f().items[0, 0] for f in found] == [1, 20, 30, 40]
    assert [f().scores[0, 0] for f in found] == [1, 2, 1, 3]
    assert all(len(f()) == 1 for f in found)


def test_other_lengths_and_other_filters_are_other_searches() -> None:
    slow = Slow()
    allow, same = np.array([1, 2], np.int32), np.array([1, 2], np.int32)
    asks = [
        (_ask(9), 3, Filter()),
        (_ask(1), 3, Filter(allow)),
        (_ask(2), 2, Filter(allow)),
        (_ask(3), 3, Filter(allow)),
        (_ask(4), 3, Filter(same)),
        (_ask(5), 3, Filter(allow, CLOSED)),
        (replace(_ask(6), text=["red"]), 3, Filter(allow)),
        (Queries(np.array([-1], np.int32), Ragged.of([[8]]), fields={"age": np.array([3])}), 3, Filter(allow)),
    ]
    _, found = _meanwhile(slow, asks)
    assert sorted(slow.asked[1:]) == [(1, 2), (1, 3), (1, 3), (1, 3), (1, 3), (2, 3)]
    assert [f().items[0, 0] for f in found] == [9, 1, 2, 3, 4, 5, 6, 8]


def test_the_error_of_one_stays_its_own() -> None:
    slow = Slow()
    together, found = _meanwhile(slow, [(q, 2, Filter()) for q in (_ask(1), _ask(2), _ask(7), _ask(4))])
    assert [f().items[0, 0] for f in (found[0], found[1], found[3])] == [1, 2, 4]
    with pytest.raises(ParameterError, match="seven"):
        found[2]()
    assert together.find(_ask(5), 1, Filter()).items[0, 0] == 5  # nobody holds the search for ever


def test_no_search_is_larger_than_the_bound() -> None:
    slow = Slow()
    _, found = _meanwhile(slow, [(_ask(i + 10), 1, Filter()) for i in range(AT_ONCE + 6)])
    assert slow.asked == [(1, 1), (AT_ONCE, 1), (5, 1)]
    assert [f().items[0, 0] for f in found] == list(range(10, AT_ONCE + 16))


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
