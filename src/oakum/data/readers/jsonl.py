"""JSON lines: one object a line."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from oakum.data.issues import brief, refuse
from oakum.data.readers.table import Table, first_line
from oakum.data.readers.text import open_text, refuse_encoding
from oakum.errors import DataError

_CURE = 'Expected one object a line, such as {"user_id": 1, "item_id": 2}.'


def read_jsonl(path: Path, stack: ExitStack) -> Table:
    """A file of JSON objects; types come from the first 10,000 lines, or from all if need be."""
    text = open_text(path, stack)
    lines = text.lines
    if lines[0].lstrip().startswith("["):
        refuse(text.where, "this is one JSON list, not JSON lines", _CURE, line=1)
    _first_bad(lines[:10], text.where)

    def explain(error: BaseException) -> DataError:
        refuse_encoding(text.path, text.where)
        try:
            with text.path.open(encoding="utf-8", errors="replace") as file:
                _first_bad(file, text.where)
        except OSError:
            pass
        return DataError(f"{text.where} is not JSON lines ({first_line(error)}). {_CURE}")

    def line(row: int) -> int | None:
        try:
            with text.path.open(encoding="utf-8", errors="replace") as file:
                filled = (n for n, s in enumerate(file, 1) if s.strip())
                return next((n for i, n in enumerate(filled, 1) if i == row), None)
        except OSError:
            return None

    # the scanner knows no way to take * ? [ in a name literally
    patterned = any(c in str(text.path) for c in "*?[")

    def scan(rows: int | None) -> pl.LazyFrame:
        return pl.scan_ndjson(text.path.read_bytes() if patterned else text.path, infer_schema_length=rows)

    table = Table(pl.LazyFrame(), text.where, line=line, explain=explain, path=path)
    with table.guarded():
        table.frame = scan(10_000)
        table.frame.collect_schema()
    table.loose = lambda: scan(None)
    return table


def _first_bad(lines: object, where: str) -> None:
    for number, line in enumerate(lines, 1):  # type: ignore[arg-type, var-annotated]
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except RecursionError:
            refuse(where, "values are nested too deeply", _CURE, line=number)
        except ValueError as error:
            refuse(where, f"this is no JSON ({first_line(error)}: {brief(line.strip())})", _CURE, line=number)
        if not isinstance(value, dict):
            refuse(
                where,
                f"a {type(value).__name__} where an object was expected ({brief(line.strip())})",
                _CURE,
                line=number,
            )
