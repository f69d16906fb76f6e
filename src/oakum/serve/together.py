"""Requests that wait at the same time and want alike are answered as one: a table is read once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 64
RUNS = 2  # at the same time: a slow one does not hold up all others, and each still finds many that wait


@dataclass(eq=False)
class _Asked(Generic[T, R]):
    kind: Hashable
    what: T
    answer: asyncio.Future[R]


class Together(Generic[T, R]):
    """Gathers what is asked for on the event loop, and has a worker answer all of one kind by one call.

    answer: from a kind and what was asked of that kind to one value or exception each, in their order. Nothing is held
    back to make a batch: what comes while nothing runs is answered at once, and what comes meanwhile waits for the run
    under way; then the first in line takes all of its kind along, at most `AT_ONCE`.
    """

    def __init__(self, pool: Executor, answer: Callable[[Any, Sequence[T]], Sequence[R | Exception]]) -> None:
        self._pool, self._answer = pool, answer
        self._waiting: list[_Asked[T, R]] = []
        self._runs = 0

    async def ask(self, kind: Hashable, what: T) -> R:
        """The answer, or what was raised in its place. Call from the event loop only."""
        asked: _Asked[T, R] = _Asked(kind, what, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._go_on()
        return await asked.answer

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._runs < RUNS:
            first = self._waiting[0].kind
            taken = [a for a in self._waiting if a.kind == first][:AT_ONCE]
            self._waiting = [a for a in self._waiting if a not in taken]
            wanted = [a for a in taken if not a.answer.done()]  # nobody waits any more for what took too long
            if not wanted:
                continue
            self._runs += 1
            run = self._pool.submit(self._answer, first, [a.what for a in wanted])
            run.add_done_callback(lambda run, wanted=wanted: self._told(loop, wanted, run))  # type: ignore[misc]

    def _told(self, loop: asyncio.AbstractEventLoop, wanted: list[_Asked[T, R]], run: Future[Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._ended, wanted, run)

    def _ended(self, wanted: list[_Asked[T, R]], run: Future[Any]) -> None:
        self._runs -= 1
        failed = run.exception()
        found = [failed] * len(wanted) if failed is not None else run.result()
        for asked, value in zip(wanted, found, strict=True):
            if asked.answer.done():
                continue
            if isinstance(value, BaseException):
                asked.answer.set_exception(value)
            else:
                asked.answer.set_result(value)
        self._go_on()
