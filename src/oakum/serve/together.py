"""Requests that wait at the same time are searched as one: a table is read once for all of them, not once for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from oakum.data import Filter, Queries, Ragged, Ranking

AT_ONCE = 64
Find = Callable[[Queries, int, Filter], Ranking]


@dataclass(eq=False)
class _Asked:
    """One request and what became of it. turn: its thread may go on, with what was found or as the one that searches."""

    queries: Queries
    k: int
    where: Filter
    ranking: Ranking | None = None
    error: Exception | None = None
    turn: threading.Event = field(default_factory=threading.Event)

    def fits(self, other: _Asked) -> bool:
        """Whether both can be one search: of one length, under one filter, told alike."""
        own, its = self.queries, other.queries
        given = lambda q, w: (
            q.text is None, q.at is None, q.histories.times is None, q.histories.values is None, w.exclude is None
        )  # fmt: skip
        return (
            self.k == other.k
            and self.where.allow is other.where.allow
            and self.where.deny is other.where.deny
            and own.fields is None
            and its.fields is None
            and given(own, self.where) == given(its, other.where)
        )


class Together:
    """`find` for many threads over one search.

    A request that meets none under way is searched at once. Those that come meanwhile wait; then the first of them
    searches for all that fit with it, at most `AT_ONCE`. So nothing is held back to make a batch, and nobody waits for
    more than the search under way and those of other filters that came before. Where a joint search fails, each request
    is searched alone: the error of one stays its own.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        self._busy = False

    def find(self, queries: Queries, k: int, where: Filter) -> Ranking:
        """The best `k` items of each request, as `find` alone would answer."""
        own = _Asked(queries, k, where)
        with self._lock:
            leads = not self._busy
            self._busy = True
            if not leads:
                self._waiting.append(own)
        if not leads:
            own.turn.wait()
        if own.ranking is None and own.error is None:
            self._lead(own)
        if own.error is not None:
            raise own.error
        assert own.ranking is not None
        return own.ranking

    def _lead(self, own: _Asked) -> None:
        with self._lock:
            others = [a for a in self._waiting if own.fits(a)][: AT_ONCE - 1]
            self._waiting = [a for a in self._waiting if a not in others]
        try:
            self._answer([own, *others])
        finally:  # whatever happens here, the next may go on
            with self._lock:
                after = self._waiting.pop(0) if self._waiting else None
                self._busy = after is not None
            for asked in (*others, *([after] if after is not None else [])):
                asked.turn.set()

    def _answer(self, together: Sequence[_Asked]) -> None:
        if len(together) > 1:
            try:
                found = self._find(*_joined(together))
            except Exception:  # whose fault it was shows below
                found = None
            if found is not None:
                ends = np.cumsum([0, *(len(a.queries) for a in together)]).tolist()
                for asked, (start, stop) in zip(together, pairwise(ends), strict=True):
                    asked.ranking = found.span(start, stop)
                return
        for asked in together:
            try:
                asked.ranking = self._find(asked.queries, asked.k, asked.where)
            except Exception as error:
                asked.error = error


def _joined(together: Sequence[_Asked]) -> tuple[Queries, int, Filter]:
    first = together[0]
    rows = [a.where.exclude for a in together if a.where.exclude is not None]
    where = Filter(first.where.allow, first.where.deny, Ragged.join(rows) if rows else None)
    return Queries.join([a.queries for a in together]), first.k, where
