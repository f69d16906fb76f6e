"""Groups of users (or items): by activity, by tenure, by a column of a table, by popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data import Ids, Ragged
from oakum.errors import DataError, nearest

QUARTILES = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
POPULARITY = ("tail", "lower torso", "upper torso", "head")


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A grouping: codes int32 [q] into `labels`, -1 for those in no group."""

    name: str
    codes: Ids
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)


def percentiles(values: Any) -> NDArray[np.float64]:
    """The middle of each value's rank range as a share in (0, 1); equal values get equal shares, [n]."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / max(1, len(inverse))
    return np.asarray(middle[inverse], np.float64)


def quartiles(values: Any, name: str) -> Groups:
    """Four groups of about equal size; equal values are never parted. NaN is in no group."""
    array = np.asarray(values, np.float64)
    codes = np.full(len(array), -1, np.int32)
    known = ~np.isnan(array)
    codes[known] = np.minimum(3, (4 * percentiles(array[known])).astype(np.int32))
    return Groups(name, codes, QUARTILES)


def activity(histories: Ragged) -> Groups:
    """Quartiles of the number of events that a user had before."""
    return quartiles(histories.lengths, "activity")


def tenure(histories: Ragged, at: NDArray[np.int64] | None = None) -> Groups:
    """Quartiles of the time from a user's first event to the request (`at`), or to the last event."""
    if histories.times is None:
        raise DataError("Tenure needs event times, and these histories have none; group by activity instead.")
    some = histories.lengths > 0
    out = np.full(len(histories), np.nan)
    first = histories.times[histories.offsets[:-1][some]]
    last = histories.times[histories.offsets[1:][some] - 1] if at is None else at[some]
    out[some] = last - first
    return quartiles(out, "tenure")


def by_column(table: pl.DataFrame, column: str, users: Ids | None = None) -> Groups:
    """One group a distinct value of a column of the users table; `users` picks its rows for the queries."""
    if column not in table.columns:
        raise DataError(f"The users table has no column '{column}'.{nearest(column, table.columns)}")
    values = table[column].cast(pl.String)
    labels = tuple(values.drop_nulls().unique().sort().to_list())
    place = {label: code for code, label in enumerate(labels)}
    codes = np.array([-1 if v is None else place[v] for v in values.to_list()], np.int32)
    if users is not None:
        codes = np.where(users >= 0, codes[np.maximum(users, 0)], -1).astype(np.int32)
    return Groups(column, codes, labels)


def popularity_classes(item_counts: Any) -> Groups:
    """Items by popularity percentile: tail below 50, lower torso to 75, upper torso to 95, head above."""
    codes = np.digitize(percentiles(item_counts), [0.5, 0.75, 0.95]).astype(np.int32)
    return Groups("popularity", codes, POPULARITY)
