"""How many threads a piece of work gets, and that every row is done once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from oakum.kernels import spread


def test_small_work_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "cores", lambda: 64)
    assert spread.even(1000, spread.WORTH) == [(0, 1000)]
    assert spread.even(1, 1e15) == [(0, 1)]
    assert spread.even(0, 0) == [(0, 0)]
    threads: set[int] = set()
    spread.spread(lambda low, high: threads.add(threading.get_ident()), spread.even(1000, 1.0))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("n", [2, 7, 24, 1001])
def test_every_row_is_done_once(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "cores", lambda: 3)
    done = [0] * n
    stretches = spread.even(n, 1e15)
    assert len(stretches) > 1

    def run(low: int, high: int) -> None:
        for at in range(low, high):
            done[at] += 1

    spread.spread(run, stretches)
    assert done == [1] * n


def test_a_thread_may_be_told_to_stay_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "cores", lambda: 8)
    with spread.by_itself():
        with spread.by_itself():
            assert spread.most() == 1
        assert spread.most() == 1
        with ThreadPoolExecutor(1) as other:
            assert other.submit(spread.most).result() == 8
    assert spread.most() == 8
