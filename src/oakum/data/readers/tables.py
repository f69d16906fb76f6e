"""Files of tables: CSV and TSV (also gzip), Parquet, Arrow, JSON lines, RecBole atomic files."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl

from oakum.errors import DataError

HEAD = 1 << 20  # bytes of a text file looked at before it is read
SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}


def head_of(path: Path) -> str:
    """The first bytes of a text file, unpacked where it is gzip; refuses what cannot be a table of text."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        opener = gzip.open if packed else open
        with opener(path, "rb") as file:
            head = file.read(HEAD)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    if not head:
        raise DataError(f"{path} is empty; expected a header line and one event a row.")
    if len(head) == HEAD and b"\n" not in head:
        raise DataError(
            f"{path}: the first line is longer than {HEAD // 1024} KiB, so this is no table with a header line. "
            "Check that the file is what it should be."
        )
    if b"\x00" in head:
        raise DataError(f"{path} holds binary data where text was expected; give its format, or check the file.")
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start > len(head) - 4:  # a character cut in half at the end of the head
            return head[: error.start].decode("utf-8-sig")
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def separator_of(head: str, path: Path) -> str:
    """The separator that splits the first lines into equally many columns, more than one."""
    lines = [line for line in head.splitlines()[:50] if line.strip()]
    if len(head) >= HEAD // 2:
        lines = lines[:-1] or lines
    best, width = "", 1
    for candidate in ("::", *SEPARATORS):
        counts = {line.count(candidate) for line in lines}
        if len(counts) == 1 and (n := counts.pop()) and n + 1 > width and not (candidate == " " and width > 1):
            best, width = candidate, n + 1
    if best:
        return best
    first = lines[0] if lines else ""
    found = max(SEPARATORS, key=first.count)
    if first.count(found):
        return found
    raise DataError(
        f"{path} has one column only (first line: {first[:60]!r}); expected at least a user and an item, separated by a "
        "comma, tab, semicolon, bar or '::'."
    )


def csv(path: Path, separator: str | None = None) -> pl.DataFrame:
    """A delimited text file with a header line; a file without one (all cells of line 1 are numbers) gets names."""
    head = head_of(path)
    separator = separator or separator_of(head, path)
    names = [c.strip().strip('"') for c in head.splitlines()[0].split(separator)]
    bare = all(_is_number(c) for c in names)
    new = ["user_id", "item_id", "rating", "timestamp", *(f"column_{i}" for i in range(5, len(names) + 1))]
    if bare and len(names) == 3:
        third = [line.split(separator)[2] for line in head.splitlines()[1:20] if line.count(separator) == 2]
        new[2] = "timestamp" if third and all(_is_number(t) and abs(float(t)) > 1e6 for t in third) else "rating"
    if separator == "::":
        import io

        text = (gzip.open(path, "rt") if path.suffix == ".gz" else path.open()).read().replace("::", "\t")
        source: object = io.BytesIO(text.encode())
        separator = "\t"
    else:
        source = path
    try:
        return pl.read_csv(
            source,  # type: ignore[arg-type]
            separator=separator,
            has_header=not bare,
            new_columns=new[: len(names)] if bare else None,
            infer_schema_length=1000,
            ignore_errors=False,
            null_values=["", "NULL", "null", "NA", "NaN", "nan"],
            schema_overrides=None,
            quote_char='"' if '"' in head else None,
        )
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty; expected a header line and one event a row.") from None
    except (pl.exceptions.PolarsError, OSError, EOFError):
        return _as_text(path, source, separator, bare, new[: len(names)])


def _as_text(path: Path, source: object, separator: str, bare: bool, new: list[str]) -> pl.DataFrame:
    """The same file with every cell as text, so that the check can name the first bad cell."""
    try:
        if hasattr(source, "seek"):
            source.seek(0)
        return pl.read_csv(
            source,  # type: ignore[arg-type]
            separator=separator,
            has_header=not bare,
            new_columns=new if bare else None,
            infer_schema=False,
            null_values=["", "NULL", "null", "NA", "NaN", "nan"],
            quote_char=None,
        )
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"{path} cannot be read as a table separated by {SEPARATORS.get(separator, separator)!s}: {first}"
        ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def parquet(path: Path) -> pl.DataFrame:
    """A Parquet file."""
    try:
        return pl.read_parquet(path)
    except Exception as error:
        raise DataError(
            f"{path} is not a whole Parquet file ({str(error).splitlines()[0]}); write or copy it again."
        ) from None


def arrow(path: Path) -> pl.DataFrame:
    """An Arrow IPC (Feather) file."""
    try:
        return pl.read_ipc(path)
    except Exception as error:
        raise DataError(
            f"{path} is not a whole Arrow file ({str(error).splitlines()[0]}); write or copy it again."
        ) from None


def jsonl(path: Path) -> pl.DataFrame:
    """JSON lines: one object a line."""
    head_of(path)
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except Exception as error:
        raise DataError(
            f"{path} is not JSON lines ({str(error).splitlines()[0]}); expected one object a line, such as "
            '{"user_id": 1, "item_id": 2}.'
        ) from None


def lines(path: Path) -> pl.DataFrame:
    """The benchmark form: a user and then its items, one user a line."""
    users: list[int] = []
    items: list[int] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                cells = [int(c) for c in line.split()]
            except ValueError:
                raise DataError(
                    f"{path}, line {number}: {line[:60]!r} is not whole numbers; expected a user and then its items."
                ) from None
            users.extend([cells[0]] * (len(cells) - 1) if cells else [])
            items.extend(cells[1:])
    return pl.DataFrame({"user_id": users, "item_id": items}, schema={"user_id": pl.Int64, "item_id": pl.Int64})


def is_lines(head: str) -> bool:
    """Whether text looks like the benchmark form: whole numbers, spaces, lines of different lengths."""
    rows = [r.split() for r in head.splitlines()[:50][:-1] if r.strip()]
    if not rows or "," in head[:1000] or "\t" in head[:1000]:
        return False
    return len({len(r) for r in rows}) > 1 and all(c.isdigit() for r in rows for c in r)
