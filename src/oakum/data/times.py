"""Whatever spells a time, as int64 microseconds since 1970."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNITS = ((1e11, "seconds", 1_000_000), (1e14, "milliseconds", 1_000), (1e17, "microseconds", 1))
EXPECTED = (
    "Expected seconds, milliseconds, microseconds or nanoseconds since 1970, or a date such as 2024-05-01T12:00:00Z"
)
_FORMS = (
    "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M",
)  # fmt: skip
_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_BLOCK = 1_000_000
_DAYS = ("%Y-%m-%d", "%Y/%m/%d")


def microseconds(column: pl.Series) -> tuple[pl.Series, str]:
    """Int64 microseconds and a sentence on what was recognised; null where a filled cell is no time.

    Numbers: the unit is read off the largest one (below 1e11 seconds, below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds), one unit for the whole column. Text: numbers, or ISO dates and date-times
    with or without a zone (without one: UTC). Whole numbers that read as YYYYMMDD in every row are days.

    """
    name, kind = column.name, column.dtype
    if kind == pl.Date or kind == pl.Datetime:
        moments = column.cast(pl.Datetime("us", getattr(kind, "time_zone", None)))
        return moments.dt.epoch("us"), f"Read '{name}' as dates."
    if kind == pl.String:
        if dated(column):
            return parsed(column), f"Read '{name}' as dates."
        column = column.str.strip_chars()
        whole = column.cast(pl.Int64, strict=False)
        if whole.null_count() == column.null_count():
            return microseconds(whole)
        number = column.cast(pl.Float64, strict=False)
        # a column that is mostly numbers is one of numbers with bad cells, not one of dates
        if number.null_count() - column.null_count() < (len(column) - column.null_count()) / 2:
            return microseconds(number)
        return parsed(column), f"Read '{name}' as dates."
    if kind.is_float():
        return _from_floats(column)
    if kind.is_integer():
        if kind == pl.UInt64 or kind == pl.Int128 or kind == pl.UInt128:
            column = column.cast(pl.Int64, strict=False)
        return _from_integers(column)
    return pl.Series(name, [None] * len(column), dtype=pl.Int64), f"'{name}' ({kind}) is no time."


def _from_integers(column: pl.Series) -> tuple[pl.Series, str]:
    if column.null_count() == len(column):
        return column.cast(pl.Int64), ""
    low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
    column = column.cast(pl.Int64)
    found = _days(column, low, high)
    if found is not None:
        return found
    unit, scale = _unit(max(abs(low), abs(high)))
    return (column * scale if scale else column // 1_000), _said(column.name, unit, high)


def _days(column: pl.Series, low: float, high: float) -> tuple[pl.Series, str] | None:
    """Whole numbers that all spell a day."""
    if low < 19000101 or high > 21001231:
        return None
    days = column.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    if days.null_count() != column.null_count():
        return None
    return days.cast(pl.Datetime("us")).dt.epoch("us"), f"Read '{column.name}' as days written YYYYMMDD."


def _from_floats(column: pl.Series) -> tuple[pl.Series, str]:
    finite = column.filter(column.is_finite().fill_null(False))
    top = float(finite.abs().max() or 0.0) if len(finite) else 0.0  # type: ignore[arg-type]
    unit, scale = _unit(top)
    micros = column.cast(pl.Float64) * scale if scale else column.cast(pl.Float64) / 1_000
    return micros.round().cast(pl.Int64, strict=False).rename(column.name), _said(column.name, unit, top)


def scaled(name: str, numbers: NDArray[Any], low: float, high: float) -> tuple[NDArray[np.int64], str] | None:
    """`microseconds` of a column that was collected already, in its own memory: int64 or finite float64 numbers, of which
    the smallest and the largest are known. None where that cannot be done (days, or numbers beyond any unit).
    """
    whole, top = numbers.dtype == np.int64, max(abs(low), abs(high))
    if top >= 9e21 or (whole and low >= 19000101 and high <= 21001231):
        return None
    unit, scale = _unit(top)
    out = numbers.view(np.int64)
    for start in range(0, len(numbers), _BLOCK >> 4):
        block = numbers[start : start + (_BLOCK >> 4)]
        if not whole:
            out[start : start + len(block)] = np.rint(block * scale if scale else block / 1_000)
        elif scale:
            block *= scale
        else:
            block //= 1_000
    return out, _said(name, unit, high)


def _unit(top: float) -> tuple[str, int]:
    for limit, unit, scale in UNITS:
        if top < limit:
            return unit, scale
    return "nanoseconds", 0


def _said(name: str, unit: str, top: float) -> str:
    if unit == "seconds" and top < 1e8:
        return f"'{name}' is a counter (largest {top:g}), read as seconds: the order is right, dates are not."
    return f"Read '{name}' as {unit} since 1970."


def dated(head: pl.Series) -> bool:
    """Whether the first thousand cells read as dates, which settles it without trying numbers on all of them."""
    head = head.head(1000).drop_nulls()
    return len(head) > 0 and bool(head.str.contains(r"^\s*\d{4}[-/]\d").all())


def parsed(column: pl.Series) -> pl.Series:
    """Each cell by the first form that fits it, by block so that memory stays small."""
    starts = range(0, max(1, len(column)), _BLOCK)
    return pl.concat([_parsed_block(column.slice(s, _BLOCK)) for s in starts]).rename(column.name)


def _parsed_block(column: pl.Series) -> pl.Series:
    column = column.str.strip_chars()
    out = pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    zoned = column.str.replace(r"(?i)z$", "+00:00")
    tries = [(f, "zone") for f in _ZONED] + [(f, "moment") for f in _FORMS] + [(f, "day") for f in _DAYS]
    for form, what in tries:
        if out.null_count() == column.null_count():
            break
        if what == "zone":
            moments = zoned.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
        elif what == "moment":
            moments = column.str.to_datetime(form, strict=False, time_unit="us")
        else:
            moments = column.str.to_date(form, strict=False).cast(pl.Datetime("us"))
        found = moments.dt.epoch("us")
        out = found if out.null_count() == len(out) else out.fill_null(found)
    return out
