"""What a service remembers: events, item attributes, batches of feedback, deletions and keys, in SQLite or PostgreSQL.

What is acknowledged is on disk: an answer is given only after the commit that holds the data has been flushed. Writes of
requests that arrive together share one commit.
"""

from __future__ import annotations

from pathlib import Path

from oakum.state.base import Added, Event, State, StateBusy, StateError

FILE = "state.sqlite"


def open_state(where: str | Path) -> State:
    """A folder (an SQLite file in it, made where missing) or a `postgresql://` address.

    Raises `StateError` in words where it cannot be opened, `MissingExtra` where the driver is not installed.
    """
    if str(where).startswith(("postgresql://", "postgres://")):
        from oakum.state.postgres import PostgresState

        return PostgresState(str(where))
    if "://" in str(where):
        raise StateError(f"'{where}' is no place for the state: give a folder, or postgresql://user@host/database.")
    from oakum.state.sqlite import SqliteState

    return SqliteState(Path(where) / FILE)


__all__ = ["Added", "Event", "State", "StateBusy", "StateError", "open_state"]
