"""What the machine can do, as one more peer: the yardstick of the others."""

from __future__ import annotations

from typing import Any

DISTRIBUTION = "numpy"


def rates(case: Any) -> dict[str, Any]:
    """See `oakum.bench.machine`."""
    from oakum.bench.machine import rates as measured

    return measured()


def decode(case: Any) -> dict[str, Any]:
    """Only reading the columns of a log, with nothing done to them."""
    import polars as pl

    path = case.folder / case.settings["file"]
    for _ in range(3):
        with case.timed():
            pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    return {}
