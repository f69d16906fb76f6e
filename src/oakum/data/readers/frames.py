"""Tables that are in memory already: polars, pandas, Arrow."""

from __future__ import annotations

from typing import Any

import polars as pl

from oakum.data.issues import refuse
from oakum.data.readers.table import Table
from oakum.errors import DataError, MissingExtra


def read_frame(source: Any) -> Table:
    """A polars frame (eager or lazy), a pandas frame, or anything that speaks the Arrow stream protocol."""
    if isinstance(source, pl.LazyFrame):
        return Table(source, "the frame")
    if isinstance(source, pl.DataFrame):
        return Table(source.lazy(), "the frame")
    try:
        if type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns"):
            source = source.rename(columns=str)
            return Table(pl.from_pandas(source).lazy(), "the pandas frame")
        if hasattr(source, "__arrow_c_stream__"):
            return Table(pl.DataFrame(source).lazy(), "the Arrow table")
    except ModuleNotFoundError:
        raise MissingExtra("Reading a pandas frame", "frames") from None
    except (Exception, pl.exceptions.PanicException) as error:
        refuse("the frame", f"it cannot be read ({str(error).splitlines()[0]})", "Give every column one type.")
    raise DataError(
        f"A log cannot be read from a {type(source).__name__}: give a path, or a polars, pandas or Arrow table."
    )
