"""Parquet files."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from oakum.data.issues import refuse
from oakum.data.readers.table import Table, first_line
from oakum.errors import DataError


def read_parquet(path: Path) -> Table:
    """A Parquet file; read by row groups, and only the columns that are needed."""
    where = str(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(max(0, size - 4))
            end = file.read(4)
    except OSError as error:
        refuse(where, f"it cannot be read ({error.strerror or error})", "Check the path and its rights.")
    if size == 0:
        refuse(where, "the file is empty", "Write it again.")
    if start != b"PAR1":
        refuse(where, f"this is not Parquet (it starts with {start!r})", "Name its true format, or convert it.")
    if end != b"PAR1" or size < 12:
        refuse(where, "the Parquet file ends too early (it is cut off)", "Write or copy it again.")

    def explain(error: BaseException) -> DataError:
        return DataError(f"{where}: the Parquet file is damaged ({first_line(error)}). Write or copy it again.")

    table = Table(pl.LazyFrame(), where, explain=explain, path=path)
    with table.guarded():
        table.frame = pl.scan_parquet(path, glob=False, hive_partitioning=False, low_memory=True)
        table.frame.collect_schema()
        table.room = table.rows()
    return table
