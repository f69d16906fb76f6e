"""One file a format; each gives a `Table`. Nothing downstream knows which format a log came in."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from oakum.data.issues import refuse
from oakum.data.readers import (
    arrow,
    atomic,
    delimited,
    folder,
    frames,
    jsonl,
    lines,
    movielens,
    parquet,
    reports,
    text,
)
from oakum.data.readers.table import Table
from oakum.errors import DataError, ParameterError, nearest

FORMATS = ("csv", "tsv", "parquet", "arrow", "jsonl", "atomic", "movielens", "lines", "reports")

__all__ = ["FORMATS", "Table", "open_table", "path_of"]


def path_of(source: Any) -> Path | None:
    """The path that a source names, checked to exist; None for a table in memory.

    `folder/name` may also name one of several published sets in a folder (`name_train.*`, `name_test.*`).
    """
    if not isinstance(source, str | Path):
        return None
    if isinstance(source, str) and "://" in source:
        refuse(
            source.split("@")[-1],
            "this is an address, not a file",
            "Use read_sql(uri, query), or download it first.",
        )
    path = Path(source).expanduser()
    try:
        if path.exists() or folder.set_at(path):
            return path
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except (OSError, ValueError) as error:
        raise DataError(f"{str(source)[:200]!r} is no usable path ({error}).") from None
    raise DataError(f"There is no file {path}.{nearest(path.name, near) if near else ''}")


def open_table(source: Any, stack: ExitStack, format: str | None = None) -> Table:
    """A table from a file or from memory. Temporary files go when `stack` closes."""
    if format is not None and format not in FORMATS:
        raise ParameterError(f"'{format}' is no format of logs.{nearest(format, FORMATS)}")
    path = path_of(source)
    if path is None:
        return frames.read_frame(source)
    if path.is_dir():
        refuse(path, "this is a folder where one table was expected", "Name the file in it.")
    if not path.is_file():
        refuse(path, "this is no ordinary file", "Give a file or a folder.")
    table = _open(path, stack, format)
    if table.name == "log":
        own = folder.stem_of(path)
        table.name = path.resolve().parent.name if own in folder._LOGS or own in ("train", "test") else own
    table.path = path
    return table


def _open(path: Path, stack: ExitStack, format: str | None) -> Table:
    kind = format or folder.format_of(path)
    if kind == "parquet":
        return parquet.read_parquet(path)
    if kind == "arrow":
        return arrow.read_arrow(path)
    if kind == "reports" or (format is None and kind in ("jsonl", None) and reports.looks_like(path)):
        return reports.read_reports(path, stack)
    if kind == "jsonl":
        return jsonl.read_jsonl(path, stack)
    if kind == "atomic":
        return atomic.read_atomic(path, stack)
    if kind == "movielens" or (format is None and path.name in movielens.LOGS and _is_movielens(path)):
        return movielens.read_movielens(path, stack)
    if kind is None:
        with path.open("rb") as file:
            start = file.read(6)
        if start[:4] == b"PAR1":
            return parquet.read_parquet(path)
        if start == b"ARROW1":
            return arrow.read_arrow(path)
    head = text.open_text(path, stack)
    if kind is None and head.head.lstrip()[:1] == "{":
        return jsonl.read_jsonl(path, stack)
    if kind == "lines" or (kind in ("text", None) and lines.looks_like(head)):
        return lines.read_lines(head)
    return delimited.from_text(head, "\t" if kind == "tsv" and "\t" in head.lines[0] else None)


def _is_movielens(path: Path) -> bool:
    if path.name == "ratings.csv":
        return (path.parent / "movies.csv").is_file()
    with path.open("rb") as file:
        first = file.readline(1000)
    return first.count(b"::" if path.name == "ratings.dat" else b"\t") == 3
