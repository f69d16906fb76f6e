"""Arrow IPC files (Feather 2) and Arrow streams."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from oakum.data.issues import refuse
from oakum.data.readers.table import Table, first_line
from oakum.errors import DataError


def read_arrow(path: Path) -> Table:
    """An Arrow file, whose columns are read as needed, or an Arrow stream, which is read whole."""
    where = str(path)
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        refuse(where, f"it cannot be read ({error.strerror or error})", "Check the path and its rights.")
    if not start:
        refuse(where, "the file is empty", "Write it again.")
    if start[:4] == b"FEA1":
        refuse(where, "this is Feather 1", "Write it as Feather 2 (Arrow IPC) or Parquet.")

    def explain(error: BaseException) -> DataError:
        return DataError(f"{where}: this is no whole Arrow file ({first_line(error)}). Write or copy it again.")

    table = Table(pl.LazyFrame(), where, explain=explain, path=path)
    with table.guarded():
        if start == b"ARROW1":
            table.frame = pl.scan_ipc(path, glob=False, hive_partitioning=False)
        else:
            table.frame = pl.read_ipc_stream(path).lazy()
        table.frame.collect_schema()
    return table
