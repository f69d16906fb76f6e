"""Delimited text: comma, tab, semicolon, bar, '::' and space; with or without a header; plain or gzip."""

from __future__ import annotations

import csv
import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from oakum.data.columns import NAMES, plain
from oakum.data.issues import brief, refuse
from oakum.data.readers.table import Table, first_line
from oakum.data.readers.text import TextFile, counted_line, first_ragged, open_text, refuse_encoding
from oakum.errors import DataError

SEPARATORS = {"::": "'::'", "\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "space"}
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_KNOWN = frozenset(n for names in NAMES.values() for n in names)


def read_delimited(path: Path, stack: ExitStack, separator: str | None = None, names: list[str] | None = None) -> Table:
    """A table of text. `names` are the columns of a file without a header; `separator` is found where not
    given.
    """
    return from_text(open_text(path, stack), separator, names)


def from_text(text: TextFile, separator: str | None = None, names: list[str] | None = None) -> Table:
    """The same from a file that was looked at already."""
    separator = separator or sniff(text)
    if separator in ("::", " "):
        return _split_lines(text, separator, names)
    quoted = re.search(f'(^|[{re.escape(separator)}\n])"', text.head) is not None
    rows = _parsed(text, separator, quoted)
    header = names is None and has_header(rows)
    columns = names or (_unique(rows[0]) if header else _numbered(len(rows[0])))
    body = rows[1:] if header else rows
    if header and not body and text.whole:
        refuse(text.where, f"a header ({', '.join(columns[:8])}) and no rows", "There is nothing to learn from.")
    types = {c: kind_of([r[i] for r in body if i < len(r)]) for i, c in enumerate(columns)}

    def scan(schema: dict[str, pl.DataType]) -> pl.LazyFrame:
        return pl.scan_csv(
            text.path,
            separator=separator,
            has_header=header,
            schema=schema,
            quote_char='"' if quoted else None,
            infer_schema=False,
            glob=False,
        )

    def explain(error: BaseException) -> DataError:
        refuse_encoding(text.path, text.where)
        first_ragged(text.path, text.where, separator, len(columns), quoted)
        return DataError(
            f"{text.where} cannot be read as text separated by {SEPARATORS[separator]}: {first_line(error)}."
        )

    return Table(
        scan(types),
        text.where,
        named=header or names is not None,
        room=text.rows(),
        loose=lambda: scan(dict.fromkeys(columns, pl.String())),
        line=lambda row: counted_line(text.path, row, header=header, separator=separator, quoted=quoted),
        explain=explain,
        notes=_told(text, separator, header, names, rows),
        path=Path(text.where),
    )


def sniff(text: TextFile) -> str:
    """The separator that most of the first lines agree on, counting quoted cells as one."""
    lines = text.lines[:200]
    best: tuple[float, int, int] | None = None
    chosen = ""
    for order, candidate in enumerate(SEPARATORS):
        counts = [len(r) for r in _cells(lines, candidate)]
        if not counts or counts[0] < 2:
            continue
        agreeing = sum(c == counts[0] for c in counts) / len(counts)
        key = (round(agreeing, 1), int(candidate != " "), -order)
        if best is None or key > best:
            best, chosen = key, candidate
    if chosen:
        return chosen
    first = lines[0] if lines else ""
    marks = Counter(c for c in first if not c.isalnum() and c not in "_-.\"' ")
    seen = marks.most_common(1)
    guess = f"; it looks like the cells are separated by '{seen[0][0]}'" if seen else ""
    refuse(
        text.where,
        f"one column only ({brief(first)}){guess}",
        "Expected at least a user and an item, separated by comma, tab, semicolon, bar, space or '::'.",
        line=1,
    )


def has_header(rows: list[list[str]]) -> bool:
    """Whether line 1 names the columns: a known name in it, or no number in it."""
    first = [c.strip() for c in rows[0]]
    if any(plain(c) in _KNOWN for c in first):
        return True
    return not any(_NUMBER.fullmatch(c) for c in first)


def kind_of(cells: list[str]) -> pl.DataType:
    """Int64 where all cells are whole numbers as one would print them (so '007' stays text), Float64, or
    text.
    """
    filled = [c for c in cells if c != ""]
    if filled and all(_INTEGER.fullmatch(c) for c in filled):
        return pl.Int64()
    if filled and all(_NUMBER.fullmatch(c) and not _padded(c) for c in filled):
        return pl.Float64()
    return pl.String()


def _padded(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == "0" and cell.isdigit()


def _cells(lines: list[str], separator: str) -> list[list[str]]:
    if separator == "::":
        return [line.split("::") for line in lines]
    if separator == " ":
        return [line.split() for line in lines]
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error:
        return [line.split(separator) for line in lines]


def _parsed(text: TextFile, separator: str, quoted: bool) -> list[list[str]]:
    try:
        rows = list(
            csv.reader(
                text.head.splitlines(keepends=True),
                delimiter=separator,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            )
        )
    except csv.Error:
        rows = [line.split(separator) for line in text.lines]
    return [r for r in rows if r] or [[""]]


def _unique(cells: list[str]) -> list[str]:
    out: list[str] = []
    for cell in cells:
        name, n = cell.strip(), 2
        while name in out:
            name, n = f"{cell.strip()}_{n}", n + 1
        out.append(name)
    return out


def _numbered(width: int) -> list[str]:
    return [f"column_{i + 1}" for i in range(width)]


def _told(text: TextFile, separator: str, header: bool, names: list[str] | None, rows: list[list[str]]) -> list[str]:
    told = f"Cells are separated by {SEPARATORS[separator]}"
    if names is not None:
        return []
    if not header:
        return [f"{told}; line 1 holds numbers, so the file has no header."]
    if not any(plain(c) in _KNOWN for c in rows[0]):
        return [f"{told}; line 1 ({', '.join(rows[0])[:80]}) was taken as the header."]
    return [f"{told}."] if separator != "," else []


def scan_lines(path: Path) -> pl.LazyFrame:
    """A text file as one column of lines."""
    return pl.scan_csv(
        path,
        separator="\x01",
        has_header=False,
        schema={"line": pl.String()},
        quote_char=None,
        infer_schema=False,
        glob=False,
    )


def _split_lines(text: TextFile, separator: str, names: list[str] | None) -> Table:
    """Separators of more than one character (or runs of spaces), which the CSV parser does not know."""
    rows = _cells(text.lines, separator)
    header = names is None and has_header(rows)
    columns = names or (_unique(rows[0]) if header else _numbered(len(rows[0])))
    body = rows[1:] if header else rows
    if header and not body and text.whole:
        refuse(text.where, f"a header ({', '.join(columns[:8])}) and no rows", "There is nothing to learn from.")
    line = pl.col("line")
    cells = line.str.split("::") if separator == "::" else line.str.extract_all(r"\S+")

    def scan(types: dict[str, pl.DataType]) -> pl.LazyFrame:
        lines = scan_lines(text.path).slice(int(header)).select(cells.alias("cells"))
        return lines.select(
            pl.col("cells").list.get(i, null_on_oob=True).cast(kind).alias(c)
            for i, (c, kind) in enumerate(types.items())
        )

    def explain(error: BaseException) -> DataError:
        refuse_encoding(text.path, text.where)
        return DataError(
            f"{text.where} cannot be read as text separated by {SEPARATORS[separator]}: {first_line(error)}."
        )

    types = {c: kind_of([r[i] for r in body if i < len(r)]) for i, c in enumerate(columns)}
    return Table(
        scan(types),
        text.where,
        named=header or names is not None,
        room=text.rows(),
        loose=lambda: scan(dict.fromkeys(columns, pl.String())),
        line=lambda row: row + int(header),
        explain=explain,
        notes=_told(text, separator, header, names, rows),
        path=Path(text.where),
    )
