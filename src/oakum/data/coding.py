"""Ids to codes: one vocabulary over one or more columns, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.ragged import Ids
from oakum.data.vocabulary import Vocabulary

_BLOCK = 2_000_000


def as_ids(column: pl.Series) -> pl.Series:
    """Int64 where the ids are whole numbers, else text; null stays null.

    A text column is whole numbers when every cell is one as it would be printed ('007' is text).
    """
    kind = column.dtype
    if kind.is_integer():
        if kind in (pl.UInt64, pl.Int128, pl.UInt128):
            cast = column.cast(pl.Int64, strict=False)
            return cast if cast.null_count() == column.null_count() else column.cast(pl.String)
        return column.cast(pl.Int64)
    if kind.is_float():
        whole = column.cast(pl.Int64, strict=False)
        same = whole.cast(pl.Float64) == column.cast(pl.Float64)
        return whole if whole.null_count() == column.null_count() and bool(same.all()) else column.cast(pl.String)
    if kind == pl.String:
        if not bool(column.head(1000).drop_nulls().str.contains(r"^-?\d{1,19}$").all()):
            return column
        whole = column.cast(pl.Int64, strict=False)
        if whole.null_count() == column.null_count() and bool((whole.cast(pl.String) == column).all()):
            return whole
        return column
    if kind == pl.Binary:
        return column.cast(pl.String, strict=False)
    return column.cast(pl.String)


def same_kind(columns: Sequence[pl.Series]) -> list[pl.Series]:
    """All Int64 or all text, so that one vocabulary can hold them."""
    if all(c.dtype == pl.Int64 for c in columns):
        return list(columns)
    return [c.cast(pl.String) for c in columns]


def vocabulary_of(columns: Sequence[pl.Series]) -> Vocabulary:
    """The distinct ids of all columns in ascending order: codes do not depend on the order of rows."""
    seen = [_unique(c) for c in columns]
    ids = seen[0] if len(seen) == 1 else pl.concat([s.rename("id") for s in seen]).unique()
    return Vocabulary(ids.drop_nulls().sort().rename("id"))


def codes_of(column: pl.Series, vocabulary: Vocabulary) -> Ids:
    """int32 codes, -1 for null or unknown; looked up where whole numbers lie close, else joined."""
    ids = vocabulary.ids
    if column.dtype == pl.Int64 and ids.dtype == pl.Int64 and len(ids) and column.null_count() == 0:
        low, high = int(ids[0]), int(ids[-1])
        if high - low + 1 <= _span_limit(len(column)):
            table = np.full(high - low + 2, -1, np.int32)
            table[ids.to_numpy() - low] = np.arange(len(ids), dtype=np.int32)
            out = np.empty(len(column), np.int32)
            for start in range(0, len(column), _BLOCK):
                block = column.slice(start, _BLOCK).to_numpy()
                inside = (block >= low) & (block <= high)
                out[start : start + len(block)] = table[np.where(inside, block - low, high - low + 1)]
            return out
    known = pl.DataFrame({"id": ids, "code": np.arange(len(ids), dtype=np.int32)})
    out = np.empty(len(column), np.int32)
    for start in range(0, len(column), _BLOCK):
        part = pl.DataFrame({"id": column.slice(start, _BLOCK).cast(ids.dtype, strict=False)})
        found = part.join(known, on="id", how="left", maintain_order="left")["code"].fill_null(-1)
        out[start : start + len(part)] = found.to_numpy()
    return out


def _unique(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Int64 and len(column) and column.null_count() < len(column):
        low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
        if high - low + 1 <= _span_limit(len(column)):
            present = np.zeros(high - low + 1, bool)
            for start in range(0, len(column), _BLOCK):
                block = column.slice(start, _BLOCK).drop_nulls().to_numpy()
                present[block - low] = True
            return pl.Series("id", np.flatnonzero(present) + low, dtype=pl.Int64)
    return column.unique()


def _span_limit(rows: int) -> int:
    return max(1 << 20, 4 * rows)


def repeated_pairs(users: Ids, items: NDArray[np.integer], num_items: int) -> int:
    """How many rows repeat a (user, item) pair that an earlier row holds."""
    if len(users) < 2:
        return 0
    keys = np.multiply(users, num_items, dtype=np.int64)
    keys += items
    keys.sort()
    return sum(
        int(np.count_nonzero(keys[s + 1 : s + _BLOCK + 1] == keys[s : s + _BLOCK][: len(keys) - s - 1]))
        for s in range(0, len(keys) - 1, _BLOCK)
    )
