"""Which column is what: guessed by name, then by place; the guess is always stated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.errors import DataError, nearest

NAMES = {
    "user": [
        "user_id",
        "user",
        "userid",
        "uid",
        "u",
        "customer_id",
        "customer",
        "customerid",
        "client_id",
        "client",
        "visitor_id",
        "visitorid",
        "visitor",
        "session_id",
        "session",
        "sessionid",
        "account_id",
        "account",
        "person_id",
        "person",
        "member_id",
        "reviewer_id",
        "reviewerid",
        "profile_id",
        "query_id",
        "report_id",
    ],
    "item": [
        "item_id",
        "item",
        "itemid",
        "iid",
        "i",
        "product_id",
        "product",
        "productid",
        "movie_id",
        "movieid",
        "movie",
        "artist_id",
        "artistid",
        "artist",
        "track_id",
        "track",
        "song_id",
        "song",
        "book_id",
        "isbn",
        "asin",
        "article_id",
        "article",
        "business_id",
        "sku",
        "technique_id",
        "parent_asin",
        "venue_id",
        "poi",
    ],
    "value": [
        "rating",
        "score",
        "stars",
        "value",
        "plays",
        "play_count",
        "playcount",
        "count",
        "weight",
        "label",
        "quantity",
        "preference",
        "grade",
    ],
    "time": [
        "timestamp",
        "time",
        "ts",
        "datetime",
        "date",
        "event_time",
        "created_at",
        "unixreviewtime",
        "reviewtime",
        "at",
        "when",
        "position",
    ],
}


def plain(name: str) -> str:
    """A column name without case, type suffix (`user_id:token`) and surroundings."""
    return name.split(":")[0].strip().strip('"').lower().replace(" ", "_").replace("-", "_")


def guess(columns: Sequence[str], given: dict[str, str | None], where: str) -> tuple[dict[str, str], list[str]]:
    """Column of each role, and sentences on what was guessed. Raises `DataError` where user or item has none."""
    out: dict[str, str] = {}
    notes: list[str] = []
    for role, name in given.items():
        if name is not None:
            if name not in columns:
                raise DataError(
                    f"{where} has no column '{name}' (asked for as {role}).{nearest(name, columns)} "
                    f"Columns found: {', '.join(columns)}."
                )
            out[role] = name
    by_plain = {plain(c): c for c in reversed(columns)}
    for role, known in NAMES.items():
        if role not in out:
            found = next((by_plain[k] for k in known if k in by_plain and by_plain[k] not in out.values()), None)
            if found is not None:
                out[role] = found
                notes.append(f"Took column '{found}' as {role}.")
    missing = [r for r in ("user", "item") if r not in out]
    if missing:
        role = missing[0]
        raise DataError(
            f"{where} has no column for the {role}: expected a name such as {', '.join(NAMES[role][:3])}; found "
            f"{', '.join(columns) or 'no columns'}. Rename one, or say which it is with {role}=NAME (--{role} NAME)."
        )
    return out, notes


def times_of(column: pl.Series, name: str, where: str, first_line: int) -> tuple[NDArray[np.int64], str]:
    """Microseconds since 1970 from whatever spells a time, and a sentence on the unit found."""
    kind = column.dtype
    if kind.is_temporal():
        return column.cast(pl.Datetime("us")).dt.epoch("us").to_numpy(), f"Read '{name}' as dates."
    if kind == pl.String:
        number = column.cast(pl.Float64, strict=False)
        if number.null_count() == column.null_count():
            column = number
        else:
            parsed = _dates(column)
            bad = parsed.is_null() & number.is_null() & column.is_not_null()
            bad = bad if bad.any() else parsed.is_null() & column.is_not_null()
            if bad.any():
                row = int(bad.arg_max() or 0)
                raise DataError(
                    f"{where}, row {row + 1} (line {row + first_line}), column '{name}': {column[row]!r} is no time. Expected "
                    "a number of seconds or milliseconds since 1970, or a date such as 2024-05-01T12:00:00."
                )
            return parsed.dt.epoch("us").to_numpy(), f"Read '{name}' as dates."
    values = column.cast(pl.Float64).to_numpy()
    top = float(np.nanmax(np.abs(values))) if len(values) else 0.0
    for limit, scale, unit in (
        (1e11, 1e6, "seconds"),
        (1e14, 1e3, "milliseconds"),
        (1e17, 1.0, "microseconds"),
    ):
        if top < limit:
            break
    else:
        scale, unit = 1e-3, "nanoseconds"
    whole = column.cast(pl.Int64, strict=False)
    if column.dtype.is_integer() and whole.null_count() == 0:
        exact = whole.to_numpy()
        return (exact * int(scale) if scale >= 1 else exact // 1000), f"Read '{name}' as {unit} since 1970."
    return (values * scale).astype(np.int64), f"Read '{name}' as {unit} since 1970."


def _dates(column: pl.Series) -> pl.Series:
    for form in (
        None,
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S%.fZ",
        "%Y-%m-%dT%H:%M:%S%.f%z",
        "%Y/%m/%d",
        "%m/%d/%Y",
    ):
        try:
            parsed = column.str.to_datetime(form, strict=False, time_unit="us")
        except pl.exceptions.PolarsError:
            try:
                parsed = column.str.to_date(form, strict=False).cast(pl.Datetime("us"))
            except pl.exceptions.PolarsError:
                continue
        if parsed.null_count() == column.null_count():
            return parsed.dt.replace_time_zone(None) if parsed.dtype.time_zone else parsed  # type: ignore[attr-defined]
    return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))


def numbers_of(column: pl.Series, name: str, where: str, first_line: int) -> NDArray[np.float32]:
    """Float32 values; the first cell that is no finite number is named."""
    number = column.cast(pl.Float64, strict=False)
    bad: Any = number.is_null() | ~number.is_finite().fill_null(False)
    if bad.any():
        row = int(bad.arg_max())
        found = "nothing" if column[row] is None else repr(column[row])
        raise DataError(
            f"{where}, row {row + 1} (line {row + first_line}), column '{name}': found {found}, expected a number. Correct "
            "the cell, remove the row, or name another value column."
        )
    return number.to_numpy().astype(np.float32)
