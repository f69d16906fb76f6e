"""State in one SQLite file: write-ahead log, every commit flushed, deleted content overwritten."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oakum.state.base import State, StateError
from oakum.state.schema import TABLES
from oakum.state.writer import Change

SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit returns after the log is on the disk
    "PRAGMA fullfsync = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA busy_timeout = 5000",
)


class _Connection:
    """The writer's own connection."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def transaction(self, changes: list[Change]) -> list[Any]:
        cursor = self.raw.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            values = [change(cursor) for change in changes]
            cursor.execute("COMMIT")
        except BaseException:
            if self.raw.in_transaction:
                self.raw.rollback()
            raise
        return values

    def fatal(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError

    def close(self) -> None:
        self.raw.close()


class SqliteState(State):
    """The embedded state. Several processes on one machine may share the file; not over a network file system."""

    seq_type = "INTEGER PRIMARY KEY AUTOINCREMENT"

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._own = threading.local()
        self._open: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The file holds people's events: for its owner alone, from its first byte on.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StateError(f"{path} cannot be made ({error.strerror}); name another --state folder.") from None
        super().__init__()

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            for line in SETTINGS:
                raw.execute(line)
        except BaseException:
            raw.close()
            raise
        return raw

    def _writer_connection(self) -> _Connection:
        return _Connection(self._connect())

    def _make(self, cursor: Any) -> None:
        for sql in TABLES:
            cursor.execute(sql.format(seq=self.seq_type))
        self._check_version(cursor)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            raw = getattr(self._own, "raw", None)
            if raw is None:
                raw = self._own.raw = self._connect()
                self._open.append(raw)
            found: list[tuple[Any, ...]] = raw.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._words(error) from error
        return found

    def _scrub(self) -> None:
        """What was deleted is overwritten in the file; the log that still holds it is folded in and cut."""
        try:
            self.read("PRAGMA wal_checkpoint(TRUNCATE)")
        except StateError:
            return  # readers are at work: the next checkpoint does it

    def close(self) -> None:
        super().close()
        while self._open:
            self._open.pop().close()

    def _words(self, error: BaseException) -> StateError:
        text = str(error)
        if "full" in text or getattr(error, "sqlite_errorname", "").startswith("SQLITE_IOERR"):
            return StateError(f"The disk of {self.path} is full or does not take writes ({text}); free some space.")
        if "locked" in text or "busy" in text:
            return StateError(f"{self.path} is locked by another process for too long; send the request again.")
        if "malformed" in text or "not a database" in text:
            return StateError(f"{self.path} is damaged or no state of Oakum ({text}); restore it from a copy.")
        return StateError(f"{self.path} cannot be used ({text}).")
