"""A SQL query, through connectors that others maintain."""

from __future__ import annotations

from typing import Any

import polars as pl

from oakum.errors import DataError, MissingExtra


def query(source: Any, statement: str) -> pl.DataFrame:
    """Rows of a query. `source` is a URL (sqlite:///…, postgresql://…, mysql://…) or an open DB-API connection."""
    try:
        if isinstance(source, str):
            return pl.read_database_uri(statement, source)
        return pl.read_database(statement, source)
    except ModuleNotFoundError:
        raise MissingExtra("Reading from a database", "sql") from None
    except Exception as error:
        raise DataError(
            f"The query failed: {str(error).splitlines()[0]} Check the address and the statement."
        ) from None
