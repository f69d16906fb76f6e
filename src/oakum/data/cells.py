"""Columns of a table, judged cell by cell and turned into arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.coding import as_ids
from oakum.data.issues import Issue, Judge, brief
from oakum.data.readers.table import Table
from oakum.data.times import EXPECTED, microseconds

DISTINCT = 1000  # a text column with fewer distinct values is a category
_FIELD_BYTES = 1 << 29


def blame(table: Table, column: pl.Series, bad: pl.Series, found: str, cure: str, judge: Judge) -> None:
    """Report the first of the rows where `bad` holds; `found` may use {cell}."""
    at = int(bad.arg_max() or 0)
    issue = Issue(
        table.where,
        found.format(cell=brief(column[at])),
        cure,
        row=at + 1,
        line=table.line(at + 1),
        column=column.name,
        count=int(bad.sum()),
    )
    judge.fail(issue)


def ids(table: Table, column: pl.Series, role: str, judge: Judge) -> pl.Series:
    """Ids as Int64 or text; every event needs one."""
    if column.dtype.is_nested() or column.dtype == pl.Object:
        cure = f"Name another column with {role}=NAME, or give one row an event."
        judge.fail(Issue(table.where, f"a {column.dtype} where {role} ids were expected", cure, column=column.name))
    out = as_ids(column)
    if out.null_count():
        cure = "Every event needs one: remove or fill these rows."
        blame(table, column, out.is_null(), f"the {role} id is missing", cure, judge)
    return out


def numbers(table: Table, column: pl.Series, judge: Judge) -> NDArray[np.float32] | None:
    """Finite float32 values."""
    cure = "Correct the cell or remove the row; or name another value column, or none with value=''."
    kind = column.dtype
    if not (kind.is_numeric() or kind in (pl.String, pl.Boolean)):
        judge.fail(Issue(table.where, f"a {kind} where numbers were expected", cure, column=column.name))
        return None
    exact = column.str.strip_chars().cast(pl.Float64, strict=False) if kind == pl.String else column
    missing = exact.is_null()
    if missing.any():
        wrong = missing & column.is_not_null()
        if wrong.any():
            blame(table, column, wrong, "found {cell}, expected a number", cure, judge)
        else:
            blame(table, column, missing, "found nothing, expected a number", cure, judge)
    out = exact.cast(pl.Float32)
    if not kind.is_integer() and kind != pl.Boolean:
        infinite = ~out.is_finite().fill_null(True)
        if infinite.any():
            blame(table, column, infinite, "found {cell}, which is no finite number", cure, judge)
    return out.fill_null(0).to_numpy()


def times(table: Table, column: pl.Series, judge: Judge, notes: list[str]) -> NDArray[np.int64] | None:
    """int64 microseconds since 1970."""
    cure = f"{EXPECTED}; correct or remove the row, or leave the column out with time=''."
    out, note = microseconds(column)
    bad = out.is_null()
    if bad.any():
        wrong = bad & column.is_not_null()
        if wrong.any():
            blame(table, column, wrong, "{cell} is no time", cure, judge)
        else:
            blame(table, column, bad, "the time is missing", cure, judge)
        if out.null_count() == len(out):
            return None
        out = out.fill_null(strategy="forward").fill_null(strategy="backward")
    if note:
        notes.append(note)
    return out.to_numpy()


def fit_for_field(kind: pl.DataType) -> bool:
    """Whether a column of this type can become a context field."""
    if kind.is_nested() or kind in (pl.Object, pl.Binary, pl.Null):
        return False
    return kind.is_numeric() or kind.is_temporal() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def context(column: pl.Series, *, distinct: int | None = DISTINCT) -> NDArray[Any] | None:
    """A context field: numbers (missing: NaN), moments as microseconds, categories as text (missing: '');
    None for a text column with `distinct` values or more (None: any number) or too much text to be a category.
    """
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
    if kind.is_temporal():
        return None
    text = column.cast(pl.String).fill_null("")
    names = text.unique().sort()
    if distinct is not None and len(names) >= distinct:
        return None
    known = np.array(names.to_list(), dtype=np.str_)
    if known.dtype.itemsize * len(text) > _FIELD_BYTES:
        return None
    code = pl.DataFrame({"name": names, "code": np.arange(len(names), dtype=np.int32)})
    codes = pl.DataFrame({"name": text}).join(code, on="name", how="left", maintain_order="left")["code"]
    out: NDArray[Any] = known[codes.to_numpy()]
    return out
