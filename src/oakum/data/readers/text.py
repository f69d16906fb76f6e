"""Text files before they are tables: first bytes, gzip, encoding, lines."""

from __future__ import annotations

import csv
import gzip
import os
import tempfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from oakum.data.issues import brief, refuse

HEAD = 1 << 20  # bytes looked at before a file is read; no header line may be longer
_BLOCK = 1 << 22
_RATIO = 200  # a log packs 3 to 20 times; beyond this, and above 1 GiB, it is a bomb
_UNPACKED = 1 << 30


@dataclass(frozen=True)
class TextFile:
    """A plain UTF-8 file to parse (unpacked where it was gzip) and its first whole lines."""

    path: Path  # what to parse
    where: str  # what to call it
    head: str
    whole: bool  # whether head is all of it

    @property
    def lines(self) -> list[str]:
        """The first lines that are not blank."""
        return [line for line in self.head.split("\n") if line.strip()]

    def rows(self) -> int:
        """About how many lines the file has: a tenth more than its first lines suggest."""
        return int(1.1 * self.path.stat().st_size * max(1, self.head.count("\n")) / max(1, len(self.head)))


def open_text(path: Path, stack: ExitStack, *, lines: int = 1000) -> TextFile:
    """Look at the first bytes, refuse what cannot be text, unpack gzip to a temporary file."""
    where = str(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        opener: Any = gzip.open if packed else open
        with opener(path, "rb") as file:
            head = file.read(HEAD + 1)
    except (OSError, EOFError, zlib.error) as error:
        _refuse_bytes(path, error, path.suffix == ".gz")
    whole = len(head) <= HEAD
    if not head.strip():
        refuse(where, "the file is empty", "Expected a header line and one event a row.")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        refuse(where, "it is UTF-16 text", f"Save it as UTF-8 (iconv -f utf-16 -t utf-8 {path.name}).")
    if head[:4] in (b"PAR1", b"ARRO", b"PK\x03\x04") or b"\x00" in head:
        refuse(where, "binary data where text was expected", "Name its format, or unpack it first.")
    head = head.removeprefix(b"\xef\xbb\xbf")
    if not whole:
        if b"\n" not in head and b"\r" not in head:
            refuse(
                where,
                f"no line ends within the first {HEAD >> 20} MiB, so this is no table of text",
                "Check what the file is; nothing further was read.",
                line=1,
            )
        head = head[: head.rfind(b"\n") + 1] or head
    # only so many lines are decoded and sampled
    at = -1
    for _ in range(lines):
        at = head.find(b"\n", at + 1)
        if at < 0:
            break
    if at >= 0:
        whole = whole and at == len(head) - 1
        head = head[: at + 1]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        refuse_encoding(path, where)
    return TextFile(unpacked(path, stack) if packed else path, where, text.replace("\r\n", "\n"), whole)


def unpacked(path: Path, stack: ExitStack) -> Path:
    """The content of a gzip file in a temporary file that goes when `stack` closes; checks its checksum on
    the way.
    """
    handle, name = tempfile.mkstemp(prefix="oakum-", suffix=".txt")
    stack.callback(lambda: Path(name).unlink(missing_ok=True))
    limit, written = max(_UNPACKED, _RATIO * path.stat().st_size), 0
    try:
        with os.fdopen(handle, "wb") as out, gzip.open(path, "rb") as file:
            while block := file.read(_BLOCK):
                written += len(block)
                if written > limit:
                    refuse(
                        path,
                        f"it unpacks to more than {_RATIO} times its size and more than {_UNPACKED >> 30} GiB",
                        "Unpack it yourself if it is meant to.",
                    )
                out.write(block)
    except (OSError, EOFError, zlib.error) as error:
        _refuse_bytes(path, error, True)
    return Path(name)


def _refuse_bytes(path: Path, error: BaseException, packed: bool) -> None:
    if isinstance(error, EOFError):
        refuse(path, "the gzip file ends too early (it is cut off)", "Copy or download it again.")
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        refuse(path, f"the gzip file is damaged ({error})", "Copy or download it again.")
    reason = getattr(error, "strerror", None) or error
    refuse(path, f"it cannot be read ({reason})", "Check the path and its rights.")


def refuse_encoding(path: Path, where: str) -> None:
    """Name the first line that is not UTF-8, if there is one."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        opener: Any = gzip.open if packed else open
        with opener(path, "rb") as file:
            line = 1
            while block := file.read(_BLOCK):
                block += file.readline(HEAD)
                try:
                    block.decode("utf-8")
                except UnicodeDecodeError as error:
                    line += block.count(b"\n", 0, error.start)
                    refuse(
                        where,
                        f"byte 0x{block[error.start]:02X} is not UTF-8 text",
                        "Save the file as UTF-8 (often: iconv -f latin1 -t utf-8).",
                        line=line,
                    )
                line += block.count(b"\n")
    except OSError:
        return


def counted_line(path: Path, row: int, *, header: bool, separator: str | None, quoted: bool) -> int | None:
    """The file line on which a 1-based data row starts; exact also where quoted cells hold line breaks."""
    plain = row + int(header)
    if row > 5_000_000:  # walking so far costs longer than the answer is worth
        return plain
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            if not quoted or separator is None:
                return plain
            return _walk(file, row + int(header), separator)
    except (OSError, csv.Error):
        return plain


def _walk(file: IO[str], record: int, separator: str) -> int | None:
    rows = csv.reader(file, delimiter=separator)
    line = 1
    for n, _ in enumerate(rows, 1):
        if n == record:
            return line
        line = rows.line_num + 1
    return None


def first_ragged(path: Path, where: str, separator: str, width: int, quoted: bool) -> None:
    """Name the first line with more cells than the header has, or an opening quote that never closes."""
    csv.field_size_limit(1 << 27)
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.reader(
                file,
                delimiter=separator,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
                strict=True,
            )
            before = 0
            for cells in rows:
                if len(cells) > width:
                    refuse(
                        where,
                        f"{len(cells)} cells where the first line has {width} ({brief(separator.join(cells))})",
                        "Quote cells that hold the separator, or remove the line.",
                        line=before + 1,
                    )
                before = rows.line_num
    except csv.Error as error:
        refuse(
            where,
            f"a quoted cell does not end ({error})",
            "Close or double the quote in it.",
            line=before + 1,
        )
    except OSError:
        return
