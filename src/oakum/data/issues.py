"""One thing wrong with a log, as a value that reads as a sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from oakum.errors import DataError


@dataclass(frozen=True, slots=True)
class Issue:
    """What was found, where, and the cure.

    level: "error" (reading stops here), "warning" (readable, but results would suffer) or "note". row:
    1-based data row. line: 1-based line of a text file. count: how many rows share the fault. examples: the
    first of them.

    """

    where: str
    found: str
    cure: str = ""
    level: Literal["error", "warning", "note"] = "error"
    row: int | None = None
    line: int | None = None
    column: str | None = None
    count: int = 1
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = [self.where]
        if self.row is not None:
            place.append(f"row {self.row}" + (f" (line {self.line})" if self.line is not None else ""))
        elif self.line is not None:
            place.append(f"line {self.line}")
        if self.column is not None:
            place.append(f"column '{self.column}'")
        more = f" ({self.count:,} rows in all)" if self.count > 1 and self.row is not None else ""
        return f"{', '.join(place)}: {self.found}{more}." + (f" {self.cure}" if self.cure else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the whole sentence under `message`."""
        return {**asdict(self), "examples": list(self.examples), "message": str(self)}


class Refusal(DataError):
    """A `DataError` that still carries its parts."""

    def __init__(self, issue: Issue) -> None:
        super().__init__(str(issue))
        self.issue = issue

    def __reduce__(self) -> tuple[Any, ...]:
        """How worker processes hand it back."""
        return Refusal, (self.issue,)


class Judge:
    """Receives issues: raises the first error (reading), or collects them all (checking).

    drop: rows with a faulty cell are left out of the log instead, and `told` says how many and which.
    """

    def __init__(self, *, collect: bool = False, drop: bool = False) -> None:
        self.issues: list[Issue] | None = [] if collect else None
        self.drops = drop
        self._dropped: list[tuple[Issue, NDArray[np.int64]]] = []

    def fail(self, issue: Issue) -> None:
        """Raise, or keep the issue and let the caller go on with a stand-in."""
        if self.issues is None:
            raise Refusal(issue)
        self.issues.append(issue)

    def rows(self, issue: Issue, rows: NDArray[np.int64]) -> None:
        """A fault of these rows (places in their table) alone."""
        if self.drops:
            self._dropped.append((issue, rows))
        else:
            self.fail(issue)

    def dropped(self, n: int, where: str, notes: list[str]) -> NDArray[np.int64]:
        """The places of all rows of a table of `n` that are left out, ascending; a note says which and why."""
        if not self._dropped:
            return np.empty(0, np.int64)
        found, self._dropped = self._dropped, []
        out = np.unique(np.concatenate([rows for _, rows in found]))
        if len(out) == n:
            worst = max(found, key=lambda f: len(f[1]))[0]
            raise Refusal(replace(worst, cure="No row is left when all such rows are left out. " + worst.cure))
        said = "; ".join(f"column '{i.column}': {i.found} ({_places(rows)})" for i, rows in found)
        notes.append(f"Left out {len(out):,} of {n:,} rows of {where} as asked: {said}.")
        return out


def _places(rows: NDArray[np.int64], shown: int = 5) -> str:
    """The first rows, 1-based, and how many more."""
    listed = ", ".join(f"{int(r) + 1}" for r in rows[:shown])
    more = f" and {len(rows) - shown:,} more" if len(rows) > shown else ""
    return f"row{'s' if len(rows) > 1 else ''} {listed}{more}"


def refuse(where: Any, found: str, cure: str = "", **place: Any) -> NoReturn:
    """Raise one issue as a `DataError`."""
    raise Refusal(Issue(str(where), found, cure, **place))


def brief(value: object, width: int = 60) -> str:
    """A value quoted for a message: one line, cut short, control characters escaped."""
    text = repr(value)
    return text if len(text) <= width else f"{text[:width]}…{text[0]}"
