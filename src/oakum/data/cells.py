"""Columns of a log, filled batch by batch: every cell judged, every column an array at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.filling import Buffer, IdColumn, blocks, whole
from oakum.data.issues import Issue, Judge, brief
from oakum.data.ragged import Ids
from oakum.data.readers.table import Table
from oakum.data.times import EXPECTED, dated, microseconds, parsed, scaled

DISTINCT = 1000  # a text column with fewer distinct values is a category
_FIELD_BYTES = 1 << 29


@dataclass
class Flaw:
    """Cells with one fault: what is said of the first, and the places of all."""

    found: str
    cell: str = ""
    rows: list[NDArray[np.int64]] = field(default_factory=list)


class Column:
    """What all columns share: the number of rows so far, and what is wrong with which of them."""

    cure = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.flaws: dict[str, Flaw] = {}

    def mark(self, found: str, part: pl.Series, bad: pl.Series) -> None:
        """Remember cells of a batch; `found` may use {cell}."""
        at = np.flatnonzero(bad.to_numpy())
        if len(at):
            flaw = self.flaws.setdefault(found, Flaw(found, brief(part[int(at[0])])))
            flaw.rows.append(at + self.rows)

    def settle(self) -> None:
        """Judge what could not be judged batch by batch."""

    def judged(self, table: Table, judge: Judge) -> None:
        """Hand over the faults: all of them where rows are left out, else the first kind."""
        for flaw in self.flaws.values():
            rows = np.concatenate(flaw.rows)
            at = int(rows[0]) + 1
            line = None if judge.drops else table.line(at)
            found = flaw.found.format(cell=flaw.cell)
            judge.rows(Issue(table.where, found, self.cure, row=at, line=line, column=self.name, count=len(rows)), rows)
            if not judge.drops:
                return


class IdCells(Column):
    """Ids of users or items; every event needs one."""

    cure = "Every event needs one: fill these rows, or leave them out with on_bad='drop' (--on-bad drop)."

    def __init__(self, name: str, role: str, room: int) -> None:
        super().__init__(name)
        self.role = role
        self._ids = IdColumn(room)

    def add(self, part: pl.Series) -> None:
        """The next rows."""
        if part.dtype == pl.Binary:
            part = part.cast(pl.String, strict=False)
        if part.null_count():
            self.mark(f"the {self.role} id is missing", part, part.is_null())
        self._ids.add(part)
        self.rows += len(part)

    def finish(self, left_out: NDArray[np.int64]) -> tuple[Ids, pl.Series]:
        """Codes, and the ids in code order."""
        return self._ids.finish(left_out)


class NumberCells(Column):
    """Finite float32 values."""

    cure = (
        "Correct the cell, leave such rows out with on_bad='drop', or name another value column, or none with value=''."
    )

    def __init__(self, name: str, room: int) -> None:
        super().__init__(name)
        self._out = Buffer(np.float32, room)

    def add(self, part: pl.Series) -> None:
        """The next rows."""
        kind = part.dtype
        exact = part.str.strip_chars().cast(pl.Float64, strict=False) if kind == pl.String else part
        if exact.null_count():
            missing = exact.is_null()
            wrong = missing & part.is_not_null()
            self.mark("found {cell}, expected a number", part, wrong)
            self.mark("found nothing, expected a number", part, missing & ~wrong)
        out = exact.cast(pl.Float32)
        finite = True
        for block in blocks(out.fill_null(0) if out.null_count() else out):
            self._out.more(len(block))[:] = block
            finite = finite and bool(np.isfinite(block).all())
        if not finite:
            self.mark("found {cell}, which is no finite number", part, ~out.is_finite().fill_null(True))
        self.rows += len(part)

    def finish(self) -> NDArray[np.float32]:
        """The values; 0 in faulty rows."""
        out: NDArray[np.float32] = self._out.array
        return out


class TimeCells(Column):
    """Moments as int64 microseconds since 1970. Numbers are scaled at the end, when the largest of them is known."""

    cure = f"{EXPECTED}; correct the row, leave such rows out with on_bad='drop', or leave the column out with time=''."

    def __init__(self, name: str, room: int) -> None:
        super().__init__(name)
        self._room = room
        self._out: Buffer | None = None
        self._held: list[pl.Series] = []
        self._low, self._high = np.inf, -np.inf
        self._note = ""

    def add(self, part: pl.Series) -> None:
        """The next rows."""
        kind = part.dtype
        said = f"Read '{self.name}' as dates."
        if kind in (pl.Date, pl.Datetime) or (kind == pl.String and not self._held and (self._note or dated(part))):
            self._note = said
            self._keep(part, microseconds(part)[0] if kind != pl.String else parsed(part))
        elif kind.is_integer():
            self._keep(part, part.cast(pl.Int64, strict=False))
        elif kind.is_float():
            exact = part.cast(pl.Float64)
            self._keep(part, exact.set(~exact.is_finite().fill_null(True), None))
        else:
            self._held.append(part)
        self.rows += len(part)

    def _keep(self, part: pl.Series, out: pl.Series) -> None:
        self._judge(part, out)
        if out.null_count() < len(out):
            low, high = float(out.min()), float(out.max())  # type: ignore[arg-type]
            self._low, self._high = min(self._low, low), max(self._high, high)
        if self._out is None:
            self._out = Buffer(np.float64 if out.dtype.is_float() else np.int64, self._room)
        for block in blocks(out.fill_null(0) if out.null_count() else out):
            self._out.more(len(block))[:] = block

    def _judge(self, part: pl.Series, out: pl.Series, *, again: bool = False) -> None:
        if out.null_count():
            wrong = out.is_null() & part.is_not_null()
            self.mark("{cell} is no time", part, wrong)
            if not again:
                self.mark("the time is missing", part, out.is_null() & ~wrong)

    def settle(self) -> None:
        """Judge what could not be judged batch by batch, and scale numbers by the largest of them."""
        column = None
        if self._held:
            column, self._held = whole(self._held), []
        elif self._out is not None and not self._note and self._low <= self._high:
            found = scaled(self.name, self._out.array, self._low, self._high)
            if found is None:
                gaps = np.zeros(self.rows, bool)
                gaps[self._bad()] = True
                column = pl.Series(self.name, self._out.array).set(pl.Series(gaps), None)
            else:
                self._note = found[1]
                self._out.adopt(found[0])
        if column is not None:
            self.rows = 0
            out, self._note = microseconds(column)
            self._judge(column, out, again=self._out is not None)
            self._out = Buffer(np.int64, len(out))
            self._out.more(len(out))[:] = out.fill_null(0).to_numpy()

    def _bad(self) -> NDArray[np.int64]:
        rows = [r for flaw in self.flaws.values() for r in flaw.rows]
        return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)

    def finish(self, notes: list[str]) -> NDArray[np.int64] | None:
        """The moments; a faulty row has that of the row before it, the first ones that after. None where all are faulty."""
        bad = self._bad()
        if self._out is None or len(bad) == len(self._out.array):
            return None
        if self._note:
            notes.append(self._note)
        out: NDArray[np.int64] = self._out.array
        if len(bad):
            place = np.arange(len(out))
            place[bad] = -1
            place = np.maximum.accumulate(place)
            out = out[np.where(place < 0, int(np.argmax(place >= 0)), place)]
        return out


class Held:
    """A column that is held as it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: list[pl.Series] = []

    def add(self, part: pl.Series) -> None:
        """The next rows."""
        self.held.append(part)


class ContextCells(Held):
    """A further column: numbers (missing: NaN), moments as microseconds, categories as text (missing: '')."""

    def __init__(self, name: str, distinct: int | None) -> None:
        super().__init__(name)
        self._distinct = distinct
        self._names: dict[str, int] | None = {}
        self._codes: list[NDArray[np.int32]] = []

    def add(self, part: pl.Series) -> None:
        """The next rows; text of too many values is let go of as soon as that shows."""
        if part.dtype in (pl.String, pl.Categorical, pl.Enum):
            self._text(part.cast(pl.String).fill_null(""))
        else:
            self.held.append(part)

    def _text(self, part: pl.Series) -> None:
        if self._names is None:
            return
        own = part.unique()
        for name in own.to_list():
            self._names.setdefault(name, len(self._names))
        if self._distinct is not None and len(self._names) >= self._distinct:
            self._names, self._codes = None, []
            return
        codes = pl.Series([self._names[name] for name in own.to_list()], dtype=pl.Int32)
        table = pl.DataFrame({"name": own, "code": codes})
        found = pl.DataFrame({"name": part}).join(table, on="name", how="left", maintain_order="left")["code"]
        self._codes.append(found.to_numpy())

    def finish(self) -> NDArray[Any] | None:
        """The field; None for a text column of too many values (or of too much text) to be a category."""
        if self.held:
            return numbers_of(whole(self.held))
        if self._names is None or not self._codes:
            return None
        names = np.array(list(self._names), dtype=np.str_)
        if names.dtype.itemsize * sum(map(len, self._codes)) > _FIELD_BYTES:
            return None
        out: NDArray[Any] = names[np.concatenate(self._codes)]
        return out


def fit_for_field(kind: pl.DataType) -> bool:
    """Whether a column of this type can become a context field."""
    if kind.is_nested() or kind in (pl.Object, pl.Binary, pl.Null):
        return False
    return kind.is_numeric() or kind.is_temporal() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def numbers_of(column: pl.Series) -> NDArray[Any] | None:
    """Numbers, truth values and moments as an array."""
    kind = column.dtype
    if kind == pl.Boolean and not column.null_count():
        return column.to_numpy()
    if kind.is_numeric() or kind == pl.Boolean:
        if kind.is_decimal() or column.null_count():
            return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return column.to_numpy()
    if kind in (pl.Date, pl.Datetime):
        moments = column.cast(pl.Datetime("us", getattr(kind, "time_zone", None))).dt.epoch("us")
        return (
            moments.to_numpy()
            if not moments.null_count()
            else moments.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        )
    return None
