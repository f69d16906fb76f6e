"""Queries: SQLite by file and connection, DuckDB by connection, everything else handed to connectorx."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oakum.data.read import read_sql
from oakum.errors import DataError, MissingExtra

QUERY = "select user_id, item_id, rating from log order by rowid"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table log (user_id text, item_id integer, rating real)")
        connection.executemany("insert into log values (?, ?, ?)", [("a", 1, 3.5), ("b", 2, 4.0), ("a", 2, 1.0)])
        connection.commit()
    return path


def test_a_sqlite_file_and_a_connection(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        by_connection = read_sql(connection, QUERY)
    by_file = read_sql(f"sqlite:///{database}", QUERY)
    assert by_file.users.ids.to_list() == ["a", "b"]
    assert by_file.interactions.values is not None
    assert by_file.interactions.values.tolist() == [3.5, 4.0, 1.0]
    assert by_connection.digest == by_file.digest


def test_a_query_can_only_read(database: Path) -> None:
    with pytest.raises(DataError, match="the query failed"):
        read_sql(f"sqlite:///{database}", "drop table log")
    assert len(read_sql(f"sqlite:///{database}", QUERY)) == 3


def test_faults_of_a_query_are_sentences(database: Path) -> None:
    with pytest.raises(DataError, match=r"no such table: logs"):
        read_sql(f"sqlite:///{database}", "select * from logs")
    with pytest.raises(DataError, match="there is no file"):
        read_sql("sqlite:///nowhere.db", QUERY)


def test_a_duckdb_connection() -> None:
    duckdb = pytest.importorskip("duckdb")
    with closing(duckdb.connect()) as connection:
        connection.execute(
            "create table log as select * from (values (1, 5, 2.0), (2, 6, 3.0), (1, 6, 4.0)) "
            "t(user_id, item_id, rating)"
        )
        data = read_sql(connection, "select * from log")
    assert (len(data), data.num_users, data.num_items) == (3, 2, 2)


def test_other_addresses_go_to_connectorx(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answer(query: str, uri: str, **options: Any) -> pl.DataFrame:
        asked.append((query, uri, options["engine"]))
        return pl.DataFrame({"user_id": [1, 2], "item_id": [3, 4]})

    monkeypatch.setattr(pl, "read_database_uri", answer)
    assert len(read_sql("postgresql://me:secret@host:5432/shop", QUERY, user="user_id")) == 2
    assert asked == [(QUERY, "postgresql://me:secret@host:5432/shop", "connectorx")]


def test_without_connectorx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: Any, **options: Any) -> pl.DataFrame:
        raise ModuleNotFoundError("No module named 'connectorx'")

    monkeypatch.setattr(pl, "read_database_uri", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'oakum\[sql\]'"):
        read_sql("postgresql://host/shop", QUERY)


def test_a_password_never_reaches_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(query: str, uri: str, **options: Any) -> pl.DataFrame:
        raise RuntimeError(f"could not connect to {uri}")

    monkeypatch.setattr(pl, "read_database_uri", failing)
    with pytest.raises(DataError, match="could not connect") as caught:
        read_sql("postgresql://me:secret@host/shop", QUERY)
    assert "secret" not in str(caught.value)
