"""Requests and answers: what is asked of a recommender, what may be shown, what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.ragged import Ids, Ragged


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """A batch of requests.

    users: int32 [q]; a code means "the user the model was trained on", -1 means a newcomer who is known by the
    history alone. histories: one row a request, oldest first; always present when a `Fitted` asks.
    at: int64 [q] microseconds, the moment of the request. text, fields: for systems that read them.
    """

    users: Ids
    histories: Ragged
    at: NDArray[np.int64] | None = None
    text: Sequence[str] | None = None
    fields: Mapping[str, NDArray[Any]] | None = None

    @classmethod
    def join(cls, parts: Sequence[Queries]) -> Queries:
        """The requests of several batches as one; moments and words stay where every part has them. Those that carry
        `fields` are not joined."""
        moments = [p.at for p in parts if p.at is not None]
        words = [w for p in parts if p.text is not None for w in p.text]
        users = np.concatenate([p.users for p in parts])
        return cls(
            users,
            Ragged.join([p.histories for p in parts]),
            np.concatenate(moments) if len(moments) == len(parts) else None,
            words if len(words) == len(users) else None,
        )

    def __len__(self) -> int:
        return len(self.users)

    def take(self, index: NDArray[np.integer]) -> Queries:
        """The requests at these positions."""
        return Queries(
            self.users[index],
            self.histories.take(index),
            None if self.at is None else self.at[index],
            None if self.text is None else [self.text[int(i)] for i in index],
            None if self.fields is None else {k: v[index] for k, v in self.fields.items()},
        )

    def span(self, start: int, stop: int) -> Queries:
        """The requests start … stop - 1, as views."""
        at = slice(start, stop)
        return Queries(
            self.users[at],
            self.histories.span(start, stop),
            None if self.at is None else self.at[at],
            None if self.text is None else list(self.text[at]),
            None if self.fields is None else {k: v[at] for k, v in self.fields.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """What may be shown: `allow` (only these items), `deny` (never these), both int32 codes for all requests;
    `exclude`: one row of items a request (what the user has already had)."""

    allow: Ids | None = None
    deny: Ids | None = None
    exclude: Ragged | None = None

    def take(self, index: NDArray[np.integer]) -> Filter:
        """The same rules for the requests at these positions."""
        return Filter(self.allow, self.deny, None if self.exclude is None else self.exclude.take(index))

    def span(self, start: int, stop: int) -> Filter:
        """The same rules for the requests start … stop - 1, as views."""
        return Filter(self.allow, self.deny, None if self.exclude is None else self.exclude.span(start, stop))

    def closed(self, num_items: int) -> NDArray[np.bool_] | None:
        """Which items nobody may be shown, bool [items]; None where all may be."""
        if self.allow is None and self.deny is None:
            return None
        out = np.full(num_items, self.allow is not None)
        if self.allow is not None:
            out[self.allow] = False
        if self.deny is not None:
            out[self.deny] = True
        return out

    def closed_rows(self, num_items: int, rows: int) -> NDArray[np.bool_]:
        """Which items each of `rows` requests may not be shown, bool [rows, items]."""
        shut = self.closed(num_items)
        out = np.zeros((rows, num_items), bool)
        if shut is not None:
            out |= shut
        if self.exclude is not None:
            out[self.exclude.owners(), self.exclude.items] = True
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ordered answers: items int32 [q, k] with -1 where the list ends early; scores float32 [q, k], NaN there.

    fallback: bool [q], true where the model could not say anything and popularity answered.
    """

    items: Ids
    scores: NDArray[np.float32]
    fallback: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def k(self) -> int:
        """Length of the lists."""
        return self.items.shape[1]

    def span(self, start: int, stop: int) -> Ranking:
        """The answers start … stop - 1, as views."""
        flags = None if self.fallback is None else self.fallback[start:stop]
        return Ranking(self.items[start:stop], self.scores[start:stop], flags)

    def top(self, k: int) -> Ranking:
        """The first `k` places."""
        return Ranking(self.items[:, :k], self.scores[:, :k], self.fallback)
