"""The one behaviour of a state over both databases; a subclass brings connections and the words for their errors."""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from oakum.errors import OakumError, ParameterError
from oakum.state.schema import ACCEPTED, BACK, HELD, PENDING, STATUS, VERSION
from oakum.state.writer import Busy, Change, Closed, Connection, Writer

PAGE = 10_000
_EVENT = "seq, event_id, user_id, item_id, time, type, weight, status, batch"


class StateError(OakumError):
    """The state cannot be read or written now; the sentence says why and what to do."""


class StateBusy(StateError):
    """Too many writes wait; come again in a moment."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a user did. time: microseconds since 1970. event_id: the same id twice counts once; empty: one is made.
    status: pending, accepted, held or taken back. seq: its place in the order of arrival, 0 before it is stored."""

    user_id: str
    item_id: str
    time: int
    event_id: str = ""
    type: str | None = None
    weight: float | None = None
    seq: int = 0
    status: str = STATUS[PENDING]
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of posted events: how many are new, how many were known by their ids, and the ids."""

    stored: int
    duplicates: int
    ids: tuple[str, ...]


class State(ABC):
    """Durable state. Reads may come from any thread; writes are queued and return futures that are done when the data
    are on disk. Every method raises `StateError` in words where the database cannot do it."""

    name = ""
    seq_type = ""

    def __init__(self) -> None:
        self.writer = Writer(self._writer_connection)
        self.salt = ""
        self.forgotten: frozenset[str] = frozenset()
        try:
            self.write(self._make)
            self.poll()
        except BaseException:
            self.writer.close()
            raise

    # --- of each database ---------------------------------------------------------------------------------------
    @abstractmethod
    def _writer_connection(self) -> Connection: ...

    @abstractmethod
    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query (`?` marks values)."""

    @abstractmethod
    def _words(self, error: BaseException) -> StateError: ...

    @abstractmethod
    def _make(self, cursor: Any) -> None: ...

    def close(self) -> None:
        """Finish the writes that wait and let go of the database."""
        self.writer.close()

    # --- writing ------------------------------------------------------------------------------------------------
    def submit(self, change: Change) -> Future[Any]:
        """Queue a change; see `Writer`."""
        try:
            return self.writer.submit(change)
        except Busy:
            raise StateBusy("More events wait to be written than may; send them again in a moment.") from None
        except Closed:
            raise StateError(
                "The state is closed: the service is stopping. Send the request again elsewhere."
            ) from None

    def done(self, future: Future[Any], timeout: float | None = None) -> Any:
        """The value of a queued change, once it is durable."""
        try:
            return future.result(timeout)
        except (OakumError, TimeoutError):
            raise
        except Exception as error:
            raise self._words(error) from error

    def write(self, change: Change) -> Any:
        """Make a change and wait until it is durable."""
        return self.done(self.submit(change))

    def add_events(self, events: Sequence[Event]) -> tuple[Future[Any], tuple[str, ...]]:
        """Queue events. The future gives `Added` when all of them are on disk, none otherwise."""
        ids = tuple(e.event_id or secrets.token_hex(16) for e in events)
        rows = [(i, e.user_id, e.item_id, e.time, e.type, e.weight) for i, e in zip(ids, events, strict=True)]
        sql = (
            "INSERT INTO events (event_id, user_id, item_id, time, type, weight) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (event_id) DO NOTHING"
        )

        def change(cursor: Any) -> Added:
            cursor.executemany(sql, rows)
            return Added(cursor.rowcount, len(rows) - cursor.rowcount, ids)

        return self.submit(change), ids

    def put_items(self, items: Mapping[str, Mapping[str, Any]]) -> Future[Any]:
        """Queue attributes of items; each replaces what was told of its item before."""
        rows = [(i, json.dumps(a, ensure_ascii=False, allow_nan=False)) for i, a in items.items()]
        sql = (
            "INSERT INTO items (item_id, attributes) VALUES (?, ?) "
            "ON CONFLICT (item_id) DO UPDATE SET attributes = excluded.attributes"
        )

        def change(cursor: Any) -> None:
            cursor.executemany(sql, rows)
            count(cursor, "items")

        return self.submit(change)

    def forget(self, user_id: str) -> dict[str, int]:
        """Remove a person's events for good and remember, as a salted digest, that the model must not answer from what
        it was trained on. What experiments know of them goes too. Returns how many events went."""
        person, made = self.person(user_id), now_text()

        def change(cursor: Any) -> int:
            cursor.execute("DELETE FROM events WHERE user_id = ?", (user_id,))
            gone: int = cursor.rowcount
            cursor.execute("DELETE FROM answered WHERE person = ?", (person,))
            cursor.execute(
                "INSERT INTO forgotten (person, made) VALUES (?, ?) ON CONFLICT (person) DO UPDATE SET made = excluded.made",
                (person, made),
            )
            count(cursor, "forgotten")
            return gone

        gone = self.write(change)
        self.forgotten = self.forgotten | {person}
        self._scrub()
        return {"events": gone}

    @abstractmethod
    def _scrub(self) -> None:
        """Overwrite what was deleted, where the database keeps it."""

    # --- reading ------------------------------------------------------------------------------------------------
    def person(self, user_id: str) -> str:
        """How a deleted person is remembered: a salted digest, not the id."""
        return sha256(f"{self.salt}:{user_id}".encode()).hexdigest()

    def is_forgotten(self, user_id: str) -> bool:
        """Whether this person was deleted; answered from memory, at most one poll old across processes."""
        return bool(self.forgotten) and self.person(user_id) in self.forgotten

    def recent(self, user_id: str, limit: int) -> list[Event]:
        """The latest events of a user that may be used (not held, not taken back), oldest first."""
        sql = f"SELECT {_EVENT} FROM events WHERE user_id = ? AND status IN (0, 1) ORDER BY time DESC, seq DESC LIMIT ?"
        return [_event(row) for row in reversed(self.read(sql, (user_id, limit)))]

    def of_user(self, user_id: str, *, after: int = 0, limit: int = PAGE) -> list[Event]:
        """All stored events of a user in the order they came, a page at a time; after: the last `seq` seen."""
        sql = f"SELECT {_EVENT} FROM events WHERE user_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [_event(row) for row in self.read(sql, (user_id, after, limit))]

    def events(self, *statuses: int, after: int = 0, up_to: int | None = None) -> Iterator[Event]:
        """All events of these statuses in the order they came, read page by page."""
        marks = ", ".join(str(int(s)) for s in statuses or tuple(STATUS))
        last = self.last_seq() if up_to is None else up_to
        sql = f"SELECT {_EVENT} FROM events WHERE status IN ({marks}) AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        while rows := self.read(sql, (after, last, PAGE)):
            yield from map(_event, rows)
            after = rows[-1][0]

    def counts(self) -> dict[str, int]:
        """Stored events by status."""
        found = dict(self.read("SELECT status, COUNT(*) FROM events GROUP BY status"))
        return {name: int(found.get(code, 0)) for code, name in STATUS.items()}

    def last_seq(self) -> int:
        """The place of the newest event."""
        return int(self.read("SELECT COALESCE(MAX(seq), 0) FROM events")[0][0])

    def items(self) -> dict[str, dict[str, Any]]:
        """Attributes told of items, by id."""
        return {i: json.loads(a) for i, a in self.read("SELECT item_id, attributes FROM items")}

    def items_named(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Attributes told of the named items."""
        marks = ", ".join("?" for _ in ids)
        rows = self.read(f"SELECT item_id, attributes FROM items WHERE item_id IN ({marks})", ids)
        return {i: json.loads(a) for i, a in rows}

    def poll(self) -> dict[str, str]:
        """What another process may have changed: reloads the deletions, returns the counters of changes."""
        meta = dict(self.read("SELECT name, value FROM meta"))
        self.salt = meta.get("salt", "")
        if meta.get("forgotten", "0") != getattr(self, "_seen", None):
            self.forgotten = frozenset(row[0] for row in self.read("SELECT person FROM forgotten"))
            self._seen = meta.get("forgotten", "0")
        return meta

    # --- batches of feedback ------------------------------------------------------------------------------------
    def batches(self) -> list[dict[str, Any]]:
        """Screened batches, oldest first."""
        names = ("id", "made", "events", "accounts", "held_events", "held_accounts", "bar", "status")
        rows = self.read(f"SELECT {', '.join(names)} FROM batches ORDER BY LENGTH(id), id")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def settle(self, held: Iterable[str], *, up_to: int, accounts: int, bar: float) -> dict[str, Any] | None:
        """Judge the pending events up to a place as one batch: those of `held` users are held, the others accepted.
        Returns the batch, None where nothing was pending."""
        held, made = sorted(set(held)), now_text()

        def change(cursor: Any) -> dict[str, Any] | None:
            cursor.execute("SELECT COUNT(*) FROM batches")
            batch = f"b{cursor.fetchone()[0] + 1:04d}"
            pending = f"status = {PENDING} AND seq <= ?"
            count = 0
            for user in held:
                sql = f"UPDATE events SET status = {HELD}, batch = ? WHERE user_id = ? AND {pending}"
                cursor.execute(sql, (batch, user, up_to))
                count += cursor.rowcount
            cursor.execute(f"UPDATE events SET status = {ACCEPTED}, batch = ? WHERE {pending}", (batch, up_to))
            total = count + cursor.rowcount
            if not total:
                return None
            row = (batch, made, total, accounts, count, len(held), bar, STATUS[HELD if count else ACCEPTED])
            cursor.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            names = ("id", "made", "events", "accounts", "held_events", "held_accounts", "bar", "status")
            return dict(zip(names, row, strict=True))

        found: dict[str, Any] | None = self.write(change)
        return found

    def release(self, batch: str) -> int:
        """Let the held events of a batch in; how many they are."""
        return self._turn(batch, (HELD,), ACCEPTED)

    def take_back(self, batch: str) -> int:
        """Take a whole batch out, held and accepted events alike; they stay stored and are not used."""
        return self._turn(batch, (HELD, ACCEPTED), BACK)

    def _turn(self, batch: str, old: tuple[int, ...], new: int) -> int:
        known = {b["id"]: b["status"] for b in self.batches()}
        if batch not in known:
            raise ParameterError(f"There is no batch '{batch}'. Known: {', '.join(known) or 'none'}.")
        if known[batch] not in {STATUS[s] for s in old}:
            needed = " or ".join(STATUS[s] for s in old)
            raise ParameterError(f"Batch {batch} is {known[batch]}; this needs one that is {needed}.")

        def change(cursor: Any) -> int:
            marks = ", ".join(map(str, old))
            cursor.execute(f"UPDATE events SET status = {new} WHERE batch = ? AND status IN ({marks})", (batch,))
            moved: int = cursor.rowcount
            cursor.execute("UPDATE batches SET status = ? WHERE id = ?", (STATUS[new], batch))
            return moved

        moved: int = self.write(change)
        return moved

    def _check_version(self, cursor: Any) -> None:
        rows = (("version", VERSION), ("salt", secrets.token_hex(16)))
        cursor.executemany("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", rows)
        cursor.execute("SELECT value FROM meta WHERE name = 'version'")
        found = cursor.fetchone()[0]
        if found != VERSION:
            raise StateError(f"{self.name} is of layout {found}; this Oakum knows layout {VERSION}. Use a newer Oakum.")


def count(cursor: Any, name: str) -> None:
    """Move a counter that other processes watch. The value is drawn, not added to: equal means unchanged."""
    sql = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    cursor.execute(sql, (name, secrets.token_hex(8)))


def _event(row: tuple[Any, ...]) -> Event:
    seq, event_id, user, item, time, kind, weight, status, batch = row
    return Event(user, item, time, event_id, kind, weight, seq, STATUS[status], batch)


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
