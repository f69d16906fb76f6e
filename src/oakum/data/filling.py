"""Columns that are filled batch by batch while a table is read, so that the table itself is never in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.coding import as_ids, codes_of, vocabulary_of
from oakum.data.interactions import MANY
from oakum.data.ragged import Ids

_WIDE = 2**31 - 2  # differences that int32 holds
_SPAN = 1 << 23  # a bit for each of so many numbers is cheaper than hashing, even for few rows
_SPARSE = 16  # bits a row up to which it stays so
_BLOCK = 1 << 15


class Buffer:
    """An array that grows at its end. `room` is a guess of its length: pages that are never written take no memory."""

    def __init__(self, kind: Any, room: int) -> None:
        self._data = np.empty(max(room, 1024), kind)
        self.size = 0

    def more(self, n: int) -> NDArray[Any]:
        """The next `n` places, to be written."""
        if self.size + n > len(self._data):
            wider = np.empty(max(self.size + n, len(self._data) * 5 // 4), self._data.dtype)
            wider[: self.size] = self.array
            self._data = wider
        self.size += n
        return self._data[self.size - n : self.size]

    def adopt(self, array: NDArray[Any]) -> None:
        """Take this array for what was written."""
        self._data, self.size = array, len(array)

    @property
    def array(self) -> NDArray[Any]:
        """What was written."""
        return self._data[: self.size]


def blocks(part: pl.Series) -> Iterator[NDArray[Any]]:
    """The numbers of a column without nulls, as they lie in memory."""
    for chunk in part.get_chunks() if part.n_chunks() > 1 else (part,):
        yield chunk.to_numpy()


def count_up(out: NDArray[np.int64], start: int) -> None:
    """Write start, start + 1, ... without a second array of that size."""
    for low in range(0, len(out), _BLOCK):
        block = out[low : low + _BLOCK]
        block[:] = np.arange(start + low, start + low + len(block))


class IdColumn:
    """Ids as int32 codes of their own ascending order, -1 where there is none.

    Whole numbers are kept as differences from the first of them, which become codes at the end by a bit for each number
    between them; numbers that lie further apart, and text, are looked up in a hash table as they come. Other kinds, and few
    rows, are held as they are and coded by `coding`.
    """

    def __init__(self, room: int) -> None:
        self.rows = 0
        self._room = room
        self._held: list[pl.Series] = []
        self._way: _Numbers | _Words | None = None

    def add(self, part: pl.Series) -> None:
        """The next rows."""
        self.rows += len(part)
        if self._way is not None:
            self._way.add(part)
            return
        self._held.append(part)
        kind = part.dtype
        plain = (kind.is_integer() and kind not in (pl.UInt64, pl.Int128, pl.UInt128)) or kind == pl.String
        if plain and self.rows >= MANY:
            self._way = _Words(self._room) if kind == pl.String else _Numbers(self._room)
            for held in self._held:
                self._way.add(held)
            self._held = []

    def finish(self, left_out: NDArray[np.integer]) -> tuple[Ids, pl.Series]:
        """Codes, and the ids in code order. Ids of rows that are left out alone do not count."""
        if self._way is not None:
            codes, ids = self._way.finish()
            if not len(left_out):
                return codes, ids
            codes[left_out] = -1
            there = np.zeros(len(ids) + 1, bool)
            there[codes] = True
            place = np.where(there[:-1], np.cumsum(there[:-1]) - 1, -1).astype(np.int32)
            return replaced(codes, place), ids.filter(pl.Series(there[:-1], dtype=pl.Boolean))
        column = as_ids(whole(self._held))
        if len(left_out):
            out = np.zeros(len(column), bool)
            out[left_out] = True
            column = column.set(pl.Series(out), None)
        vocabulary = vocabulary_of([column])
        return codes_of(column, vocabulary), vocabulary.ids


def whole(held: list[pl.Series]) -> pl.Series:
    """Batches as one column."""
    return pl.concat(held) if len(held) > 1 else held[0]


def replaced(codes: Ids, place: NDArray[np.int32]) -> Ids:
    """`codes` through a table, in place; -1 stays -1."""
    table = np.append(place, np.int32(-1)).astype(np.int32)
    for start in range(0, len(codes), _BLOCK):
        block = codes[start : start + _BLOCK]
        block[:] = table[block.astype(np.intp)]
    return codes


class _Numbers:
    """Whole numbers, as int32 differences from the first while those suffice."""

    def __init__(self, room: int) -> None:
        self.base: int | None = None
        self.low, self.high = 0, 0
        self.buffer = Buffer(np.int32, room)
        self.words: Any = None  # a hash table, once differences are too wide
        self.gaps: list[NDArray[np.int64]] = []

    def add(self, part: pl.Series) -> None:
        if part.null_count():
            self.gaps.append(np.flatnonzero(part.is_null().to_numpy()) + self.buffer.size)
            filled = part.drop_nulls()
            if not len(filled):
                self.buffer.more(len(part))[:] = 0
                return
            part = part.fill_null(filled[0])
        for block in blocks(part):
            if len(block):
                self._block(block.astype(np.int64, copy=False))

    def _block(self, block: NDArray[np.int64]) -> None:
        if self.words is None:
            low, high = int(block.min()), int(block.max())
            if self.base is None:
                self.base = self.low = self.high = low
            low, high = min(low, self.low), max(high, self.high)
            if high - low <= _WIDE // 2:
                self.low, self.high = low, high
                np.subtract(block, self.base, out=self.buffer.more(len(block)), casting="unsafe")
                return
            self._widen()
        self.words.code(block, self.buffer.more(len(block)))

    def _widen(self) -> None:
        """From differences to a hash table: what was written is coded anew."""
        from oakum.data.hashing import Numbers

        self.words = Numbers()
        base, data = self.base or 0, self.buffer.array
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK]
            self.words.code(block.astype(np.int64) + base, block)

    def finish(self) -> tuple[Ids, pl.Series]:
        from oakum.data import marks

        codes = self.buffer.array
        if self.base is None:
            codes[:] = -1
            return codes, pl.Series("id", [], dtype=pl.Int64)
        span = self.high - self.low + 1
        if self.words is None and span > max(_SPAN, _SPARSE * len(codes)):
            self._widen()
        if self.words is None:
            ids = marks.places(codes, self.low - self.base, self.high - self.base) + self.base
        else:
            order = np.argsort(self.words.known, kind="stable")
            ids, place = self.words.known[order], np.empty(len(order), np.int32)
            place[order] = np.arange(len(order), dtype=np.int32)
            replaced(codes, place)
        for gaps in self.gaps:  # until here they held a number that is there anyway
            codes[gaps] = -1
        return codes, pl.Series("id", ids, dtype=pl.Int64)


class _Words:
    """Text through a hash table of what was seen; whole numbers written as text become numbers at the end."""

    def __init__(self, room: int) -> None:
        from oakum.data.hashing import Words

        self.buffer = Buffer(np.int32, room)
        self.words: Any = Words()

    def add(self, part: pl.Series) -> None:
        for start in range(0, len(part), _BLOCK):
            block = part.slice(start, _BLOCK)
            out = self.buffer.more(len(block))
            if block.null_count():
                own = np.empty(len(block) - block.null_count(), np.int32)
                self.words.code(block.drop_nulls(), own)
                out[:] = -1
                out[block.is_not_null().to_numpy()] = own
            else:
                self.words.code(block, out)

    def finish(self) -> tuple[Ids, pl.Series]:
        ids = as_ids(self.words.texts()).rename("id")
        self.words = None
        order = ids.arg_sort().to_numpy()
        place = np.empty(len(ids), np.int32)
        place[order] = np.arange(len(ids), dtype=np.int32)
        return replaced(self.buffer.array, place), ids.gather(order)


def merged(columns: list[tuple[Ids, pl.Series]]) -> tuple[list[Ids], pl.Series]:
    """Codes of several tables over one vocabulary: whole numbers if all of them are, else text."""
    if len(columns) == 1:
        return [columns[0][0]], columns[0][1]
    vocabularies = [ids for _, ids in columns]
    if any(ids.dtype != pl.Int64 for ids in vocabularies):
        vocabularies = [ids.cast(pl.String) for ids in vocabularies]
    known = vocabulary_of(vocabularies)
    return [
        replaced(codes, codes_of(ids, known)) for (codes, _), ids in zip(columns, vocabularies, strict=True)
    ], known.ids
