"""What every reader gives: a lazy polars frame that knows where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from oakum.data.issues import Issue
from oakum.errors import DataError, OakumError

# what parsers raise on bad bytes; everything else is a fault of ours and must stay visible
FAULTS = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
)


class Mistyped(Exception):
    """A cell is not of the type that the first rows have."""


@dataclass
class Table:
    """Columns before they are coded.

    where: how messages name it. named: whether the columns carry names of their own. room: a guess of the number
    of rows, rather above it than below. loose: the same table with every cell as text, read when a typed read fails.
    line: the file line of a 1-based data row. explain: the sentence for an error of the parser. roles:
    columns that the format itself says the meaning of. sides: feature tables and relations that lie beside
    the log, by name.

    """

    frame: pl.LazyFrame
    where: str
    named: bool = True
    room: int = 0
    loose: Callable[[], pl.LazyFrame] | None = None
    line: Callable[[int], int | None] = lambda row: None
    explain: Callable[[BaseException], DataError] | None = None
    roles: dict[str, str] = field(default_factory=dict)
    sides: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    name: str = "log"
    path: Path | None = None

    def schema(self) -> dict[str, pl.DataType]:
        """Columns and their polars types, without reading rows."""
        with self.guarded():
            return dict(self.frame.collect_schema())

    @cached_property
    def sample(self) -> pl.DataFrame:
        """The first thousand rows."""
        return self._run(lambda frame: frame.head(1000).collect(engine="streaming"))

    def rows(self) -> int:
        """How many rows there are."""
        return int(self._run(lambda frame: frame.select(pl.len()).collect()).item())

    def collect(self, columns: Sequence[str]) -> pl.DataFrame:
        """These columns, whole; as text where the types of the first rows do not hold further down."""
        return self._run(lambda frame: frame.select(columns).collect(engine="streaming"))

    def batches(self, columns: Sequence[str], *, loosely: bool = False) -> Iterator[pl.DataFrame]:
        """These columns in order, some ten thousand rows at a time; `loosely`: with every cell as text.

        Raises `Mistyped` where the types of the first rows do not hold further down and cells can be had as text."""
        if not columns:
            return
        frame = self.loose() if loosely and self.loose is not None else self.frame
        found = None
        while True:
            try:
                found = found or iter(frame.select(columns).collect_batches(maintain_order=True, lazy=True))
                part = next(found, None)
            except FAULTS as error:
                if loosely or self.loose is None:
                    raise self._explained(error) from None
                raise Mistyped from None
            if part is None:
                return
            yield part

    def _run(self, take: Callable[[pl.LazyFrame], pl.DataFrame]) -> pl.DataFrame:
        try:
            return take(self.frame)
        except FAULTS as error:
            if self.loose is None:
                raise self._explained(error) from None
        with self.guarded():
            return take(self.loose())

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn whatever a parser raises into one sentence."""
        try:
            yield
        except OakumError:
            raise
        except FAULTS as error:
            raise self._explained(error) from None

    def _explained(self, error: BaseException) -> DataError:
        if self.explain is not None:
            return self.explain(error)
        return DataError(
            str(Issue(self.where, f"it cannot be read: {first_line(error)}", "Check or rewrite the file."))
        )


def first_line(error: BaseException) -> str:
    """The first line of a foreign error message, without its full stop."""
    text = next((s for s in str(error).splitlines() if s.strip()), type(error).__name__)
    return text.strip().rstrip(".")[:300]
