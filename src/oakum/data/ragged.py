"""Rows of different lengths as one flat array: the histories of many users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Histories in order of time: row r holds `items[offsets[r]:offsets[r + 1]]`, oldest first.

    offsets: int64 [n + 1], starting at 0, never falling. items: int32 [e] item codes. times: int64 [e] microseconds,
    values: float32 [e], rows: int64 [e] the row ids of the log; each of the three may be absent.
    """

    offsets: NDArray[np.int64]
    items: Ids
    times: NDArray[np.int64] | None = None
    values: NDArray[np.float32] | None = None
    rows: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> Ragged:
        """From plain lists of item codes."""
        kept = [np.asarray(x, dtype=np.int32) for x in lists]
        offsets = np.zeros(len(kept) + 1, dtype=np.int64)
        np.cumsum([len(x) for x in kept], out=offsets[1:])
        return cls(offsets, np.concatenate(kept) if kept else np.empty(0, np.int32))

    @classmethod
    def empty(cls, n: int) -> Ragged:
        """`n` rows without events."""
        return cls(np.zeros(n + 1, np.int64), np.empty(0, np.int32))

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of several, one after the other; times, values and rows stay where every part has them."""
        sizes = np.cumsum([0, *(len(p.items) for p in parts)])
        offsets = [p.offsets[1:] + before for p, before in zip(parts, sizes, strict=False)]

        def field(name: str) -> Any:
            columns = [getattr(p, name) for p in parts]
            return None if any(c is None for c in columns) else np.concatenate(columns)

        return cls(
            np.concatenate([np.zeros(1, np.int64), *offsets]),
            field("items"),
            field("times"),
            field("values"),
            field("rows"),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events per row, int64 [n]."""
        return np.diff(self.offsets)

    def row(self, r: int) -> Ids:
        """The items of one row, oldest first."""
        return self.items[self.offsets[r] : self.offsets[r + 1]]

    def take(self, which: NDArray[np.integer]) -> Ragged:
        """The named rows, in the order asked; -1 gives an empty row."""
        which = np.asarray(which, dtype=np.int64)
        known = which >= 0
        safe = np.where(known, which, 0)
        if len(self) == 0:
            return Ragged.empty(len(which))
        lengths = np.where(known, self.lengths[safe], 0)
        return self.slices(np.where(known, self.offsets[safe], 0), lengths)

    def span(self, start: int, stop: int) -> Ragged:
        """The rows start … stop - 1, as views: nothing is copied but the offsets."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        pick = lambda a: None if a is None else a[low:high]
        return Ragged(
            self.offsets[start : stop + 1] - low,
            self.items[low:high],
            pick(self.times),
            pick(self.values),
            pick(self.rows),
        )

    def tail(self, n: int) -> Ragged:
        """The last `n` events of every row."""
        keep = np.minimum(self.lengths, n)
        return self.slices(self.offsets[1:] - keep, keep)

    def keep(self, mask: NDArray[np.bool_]) -> Ragged:
        """The events where the mask [e] is true, every row in its order."""
        if mask.all():
            return self
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(mask)])
        pick = lambda a: None if a is None else a[mask]
        return Ragged(before[self.offsets], self.items[mask], pick(self.times), pick(self.values), pick(self.rows))

    def only(self, items: NDArray[np.bool_]) -> Ragged:
        """The rows without the events of other items than these, bool [items]."""
        return self.keep(items[self.items])

    def slices(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Ragged:
        """Any stretches of the flat array as rows of their own, by where they start and how long they are."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        index = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        pick = lambda a: None if a is None else a[index]
        return Ragged(offsets, self.items[index], pick(self.times), pick(self.values), pick(self.rows))

    def owners(self) -> NDArray[np.int64]:
        """The row that each event belongs to, int64 [e]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def age(self) -> NDArray[np.int64]:
        """Steps from each event to the end of its row, int64 [e]; 0 for the last."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.items))

    def matrix(self, num_items: int, *, counts: bool = False) -> sparse.csr_matrix:
        """CSR [n, num_items] of ones (or of counts); duplicates merged, columns sorted."""
        from scipy import sparse  # where a matrix is made, not before: a third of what importing would cost

        ones = np.ones(len(self.items), np.float32)
        out = sparse.csr_matrix((ones, (self.owners(), self.items)), shape=(len(self), num_items), dtype=np.float32)
        if not counts:
            out.data[:] = 1.0
        out.sort_indices()
        return out
