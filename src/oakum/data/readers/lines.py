"""The benchmark form: one user and then its items a line, as published with LightGCN, KGAT and S3-Rec."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from oakum.data.issues import refuse
from oakum.data.readers.delimited import kind_of, scan_lines
from oakum.data.readers.table import Table, first_line
from oakum.data.readers.text import TextFile, refuse_encoding
from oakum.errors import DataError


def looks_like(text: TextFile) -> bool:
    """Whether text is in this form: ids parted by spaces, lines of different lengths, no other separator."""
    rows = [line.split() for line in text.lines[:200]]
    if any(c in text.head for c in (",", ";", "|", "\t", "::")):
        return False
    whole = all(cell.isdigit() for row in rows for cell in row)
    widths = {len(row) for row in rows}
    return whole and max(widths) >= 2 and (len(widths) > 1 or max(widths) > 8)


def read_lines(text: TextFile) -> Table:
    """Events in the order of the lines; a line with a user and no items gives none."""
    rows = [line.split() for line in text.lines]
    types = {
        "user_id": kind_of([r[0] for r in rows if r]),
        "item_id": kind_of([cell for r in rows for cell in r[1:]]),
    }
    if not any(len(r) > 1 for r in rows) and text.whole:
        refuse(
            text.where,
            "no line holds a user and an item",
            "Expected 'user item item ...' with spaces between.",
        )

    def scan(kinds: dict[str, pl.DataType]) -> pl.LazyFrame:
        cells = scan_lines(text.path).select(pl.col("line").str.extract_all(r"\S+").alias("cells"))
        cells = cells.filter(pl.col("cells").list.len() > 1)
        split = cells.select(
            pl.col("cells").list.first().alias("user_id"), pl.col("cells").list.slice(1).alias("item_id")
        )
        return split.explode("item_id").select(pl.col(c).cast(kind) for c, kind in kinds.items())

    def explain(error: BaseException) -> DataError:
        refuse_encoding(text.path, text.where)
        return DataError(f"{text.where} cannot be read as one user and its items a line: {first_line(error)}.")

    return Table(
        scan(types),
        text.where,
        loose=lambda: scan(dict.fromkeys(types, pl.String())),
        explain=explain,
        roles={"user": "user_id", "item": "item_id"},
        notes=["Each line was read as one user and then its items, in the order given."],
        path=Path(text.where),
    )
