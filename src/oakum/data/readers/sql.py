"""Rows of a SQL query: SQLite by the standard library, open connections by polars, all else by connectorx."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl

from oakum.data.issues import refuse
from oakum.data.readers.table import Table, first_line
from oakum.errors import MissingExtra


def read_query(source: Any, statement: str) -> Table:
    """The rows of one statement. `source`: a URI (sqlite:///file, postgresql://..., mysql://...) or an open
    connection.

    SQLite files are opened for reading only. Passwords in a URI never appear in messages.

    """
    where = _named(source)
    try:
        if not isinstance(source, str):
            frame = pl.read_database(statement, source, infer_schema_length=None)
        elif urlsplit(source).scheme == "sqlite":
            frame = _sqlite(source, statement, where)
        else:
            frame = pl.read_database_uri(statement, source, engine="connectorx")
    except ImportError:
        raise MissingExtra("Reading from this database", "sql") from None
    except (sqlite3.Error, pl.exceptions.PolarsError, RuntimeError, ValueError, TypeError, OSError) as error:
        refuse(
            where,
            f"the query failed ({_without_secrets(first_line(error), source)})",
            "Check address and statement.",
        )
    except pl.exceptions.PanicException as error:
        refuse(
            where,
            f"the query failed ({_without_secrets(first_line(error), source)})",
            "Check address and statement.",
        )
    except Exception as error:  # drivers bring their own exception classes
        refuse(
            where,
            f"the query failed ({_without_secrets(first_line(error), source)})",
            "Check address and statement.",
        )
    if not isinstance(frame, pl.DataFrame):
        refuse(where, "the statement returns no rows", "Give a SELECT.")
    return Table(frame.lazy(), where, name="query")


def _sqlite(uri: str, statement: str, where: str) -> pl.DataFrame:
    parts = urlsplit(uri)
    path = Path(unquote(parts.path)[1:] if parts.path.startswith("/") else parts.path)
    if not path.exists() and not path.is_absolute():
        path = Path(unquote(parts.path))
    if not path.is_file():
        refuse(where, f"there is no file {path}", "Write sqlite:///relative.db or sqlite:////absolute/path.db.")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return pl.read_database(statement, connection, infer_schema_length=None)


def _named(source: Any) -> str:
    if not isinstance(source, str):
        return f"the query on a {type(source).__module__.split('.')[0].lstrip('_')} connection"
    parts = urlsplit(source)
    return f"the query on {parts.scheme}://{parts.hostname or ''}{parts.path}"


def _without_secrets(message: str, source: Any) -> str:
    if not isinstance(source, str):
        return message
    password = urlsplit(source).password
    message = message.replace(password, "***") if password else message
    return re.sub(r"://[^@/\s]+@", "://***@", message)
