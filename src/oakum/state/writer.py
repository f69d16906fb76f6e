"""One thread writes: changes that wait together share one transaction and one flush (group commit)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

Change = Callable[[Any], Any]


class Connection(Protocol):
    """What the writer needs of a database: one transaction around some changes; errors come out as they are."""

    def transaction(self, changes: list[Change]) -> list[Any]:
        """Apply all changes in one durable transaction and return their values, or apply none and raise."""
        ...

    def fatal(self, error: BaseException) -> bool:
        """Whether an error is of the database (disk, connection) and not of one change."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Busy(Exception):
    """More changes wait than may."""


class Closed(Exception):
    """The writer was closed before the change was made."""


class Writer:
    """Takes changes from any thread, applies them in order on its own thread.

    group: most changes a transaction. waiting: most changes in the queue; beyond it `submit` raises `Busy`, so that a
    slow disk makes callers wait outside and not memory grow inside.
    """

    def __init__(self, connect: Callable[[], Connection], *, group: int = 256, waiting: int = 4096) -> None:
        self._connect, self._group = connect, group
        self._queue: queue.Queue[tuple[Change, Future[Any]] | None] = queue.Queue(waiting)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="oakum-state", daemon=True)
        self._thread.start()
        self.commits = self.changes = 0

    def submit(self, change: Change) -> Future[Any]:
        """Ask for a change; the future is done when it is durable."""
        if self._closed:
            raise Closed
        future: Future[Any] = Future()
        try:
            self._queue.put_nowait((change, future))
        except queue.Full:
            raise Busy from None
        return future

    def close(self) -> None:
        """Finish what waits, then stop."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        connection: Connection | None = None
        stop = False
        while not stop:
            work = []
            found = self._queue.get()
            while found is not None:
                work.append(found)
                if len(work) == self._group:
                    break
                try:
                    found = self._queue.get_nowait()
                except queue.Empty:
                    break
            stop = found is None
            if work:
                connection = self._apply(connection, work)
        if connection is not None:
            connection.close()

    def _apply(self, connection: Connection | None, work: list[tuple[Change, Future[Any]]]) -> Connection | None:
        try:
            connection = connection or self._connect()
            values = connection.transaction([change for change, _ in work])
        except Exception as error:
            if connection is None or connection.fatal(error):
                for _, future in work:
                    future.set_exception(error)
                if connection is not None:
                    connection.close()  # a connection in doubt is not used again
                return None
            if len(work) == 1:
                work[0][1].set_exception(error)
                return connection
            for one in work:  # one change is bad: the others must not suffer for it
                connection = self._apply(connection, [one])
            return connection
        self.commits, self.changes = self.commits + 1, self.changes + len(work)
        for (_, future), value in zip(work, values, strict=True):
            future.set_result(value)
        return connection
