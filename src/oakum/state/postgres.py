"""State in PostgreSQL, for several machines. Every commit waits for the server's disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from oakum.errors import MissingExtra
from oakum.state.base import State, StateError
from oakum.state.schema import TABLES
from oakum.state.writer import Change

ORDER = 0x0A4B_0001  # the advisory lock under which events get their places: places are committed in their order
REST = 0.5  # seconds during which a server that just failed is not asked again


class _Cursor:
    """A cursor that takes the common `?` marks."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        self.raw.execute(sql.replace("?", "%s"), values or None)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self.raw.executemany(sql.replace("?", "%s"), rows)

    def fetchone(self) -> Any:
        return self.raw.fetchone()

    @property
    def rowcount(self) -> int:
        return int(self.raw.rowcount)


class _Connection:
    def __init__(self, raw: Any, errors: tuple[type[BaseException], ...]) -> None:
        self.raw, self.errors = raw, errors

    def transaction(self, changes: list[Change]) -> list[Any]:
        with self.raw.transaction(), self.raw.cursor() as raw:
            raw.execute("SELECT pg_advisory_xact_lock(%s)", (ORDER,))
            cursor = _Cursor(raw)
            return [change(cursor) for change in changes]

    def fatal(self, error: BaseException) -> bool:
        return isinstance(error, self.errors) or bool(self.raw.closed)

    def close(self) -> None:
        self.raw.close()


class PostgresState(State):
    """State behind a `postgresql://` address (any form that libpq knows)."""

    seq_type = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ModuleNotFoundError:
            raise MissingExtra("A state in PostgreSQL", "serve") from None
        self._driver, self.url = psycopg, url
        try:
            where = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error as error:
            raise StateError(f"The address of the state cannot be read ({_first(error)}).") from None
        self.name = f"PostgreSQL {where.get('dbname', '')} at {where.get('host', 'localhost')}"  # never the password
        self._own = threading.local()
        self._open: list[Any] = []
        self._rest_until = 0.0
        super().__init__()

    def _connect(self) -> Any:
        if time.monotonic() < self._rest_until:
            raise StateError(f"{self.name} does not answer; send the request again in a moment.")
        try:
            return self._driver.connect(
                self.url,
                autocommit=True,
                connect_timeout=3,
                tcp_user_timeout=5000,
                application_name="oakum",
                options="-c statement_timeout=10000 -c synchronous_commit=on -c client_encoding=UTF8",
            )
        except self._driver.Error:
            self._rest_until = time.monotonic() + REST
            raise

    def _writer_connection(self) -> _Connection:
        d = self._driver
        return _Connection(self._connect(), (d.OperationalError, d.InterfaceError, d.InternalError))

    def _make(self, cursor: Any) -> None:
        for sql in TABLES:
            cursor.execute(sql.format(seq=self.seq_type))
        self._check_version(cursor)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        last: BaseException | None = None
        for _ in range(2):  # a connection that died in its sleep is replaced once
            raw = getattr(self._own, "raw", None)
            try:
                if raw is None or raw.closed:
                    raw = self._own.raw = self._connect()
                    self._open.append(raw)
                found: list[tuple[Any, ...]] = raw.execute(sql.replace("?", "%s"), values or None).fetchall()
                return found
            except StateError:
                raise
            except self._driver.Error as error:
                last = error
                if raw is None or not (raw.closed or isinstance(error, self._driver.OperationalError)):
                    break
                raw.close()
                self._open = [c for c in self._open if c is not raw]
                self._own.raw = None
        assert last is not None
        raise self._words(last) from last

    def _scrub(self) -> None:
        """The server's own vacuum takes the dead rows away."""

    def close(self) -> None:
        super().close()
        while self._open:
            self._open.pop().close()

    def _words(self, error: BaseException) -> StateError:
        code = getattr(error, "sqlstate", None) or ""
        if code.startswith("53"):  # insufficient resources: disk full, too many connections
            return StateError(f"{self.name} is out of space or connections ({_first(error)}).")
        if isinstance(error, self._driver.OperationalError | self._driver.InterfaceError):
            return StateError(f"{self.name} does not answer ({_first(error)}); send the request again in a moment.")
        return StateError(f"{self.name} refused: {_first(error)}.")


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
