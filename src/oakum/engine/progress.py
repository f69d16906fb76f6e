"""Progress with a time estimate on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self


class Progress(Protocol):
    """Told how far a named piece of work has come."""

    def update(self, done: float, note: str = "") -> None:
        """`done` in [0, 1]; `note` is shown beside it."""
        ...


class Silent:
    """Says nothing: the default inside the library."""

    def update(self, done: float, note: str = "") -> None:
        """Nothing."""


class Shown:
    """A bar on a terminal; a line at most every `seconds` elsewhere. Use as a context manager."""

    def __init__(self, title: str, seconds: float = 15.0) -> None:
        self.title = title
        self.seconds = seconds
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not os.environ.get("NO_PROGRESS"):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=1.0, note="")
        return self

    def update(self, done: float, note: str = "") -> None:
        """Move the bar, or print a line when the last is old enough."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._last >= self.seconds:
            self._last = now
            spent = now - self._started
            left = f", about {spent * (1 - done) / done:.0f} s left" if done > 0 else ""
            print(f"{self.title}: {100 * done:.0f} % after {spent:.0f} s{left} {note}".rstrip(), file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
