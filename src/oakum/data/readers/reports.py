"""Threat reports as JSON: one object whose "reports" each name the attack techniques that were seen."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from oakum.data.issues import brief, refuse
from oakum.data.readers.table import Table, first_line
from oakum.data.readers.text import refuse_encoding, unpacked

TECHNIQUE = re.compile(r"T\d{4}(\.\d{3})?")
LARGEST = 1 << 29  # bytes of JSON that are parsed at once; the largest published collection is a hundredth of it
_CURE = 'Expected {"reports": [{"id": 1, "mitre_techniques": {"T1059.001": 2}}]}.'
_LISTS = {"references": "references", "associated_groups": "groups"}


def looks_like(path: Path) -> bool:
    """Whether a file begins as a collection of threat reports."""
    import gzip
    import zlib

    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        opener: Any = gzip.open if packed else open
        with opener(path, "rb") as file:
            return re.match(rb'(\xef\xbb\xbf)?\s*\{\s*"reports"\s*:\s*\[', file.read(4096)) is not None
    except (OSError, EOFError, zlib.error):
        return False


def read_reports(path: Path, stack: ExitStack) -> Table:
    """One row a report and technique: report_id, technique_id, count; beside it a table of the reports.

    What is no technique id (T1234 or T1234.001) is left out and named in a note; whether an id is of the current
    edition of ATT&CK is for a table of techniques beside the log to say. Files above 512 MiB, other shapes and ids
    that repeat are refused.
    """
    where = str(path)
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    plain = unpacked(path, stack) if packed else path
    if plain.stat().st_size > LARGEST:
        refuse(where, f"{plain.stat().st_size >> 20} MiB of JSON in one object", "Split it, or write JSON lines.")
    try:
        content = json.loads(plain.read_text(encoding="utf-8-sig"))
    except RecursionError:
        refuse(where, "values are nested too deeply", _CURE)
    except UnicodeDecodeError:
        refuse_encoding(path, where)
        raise
    except ValueError as error:
        refuse(where, f"this is no JSON ({first_line(error)})", _CURE)
    reports = content.get("reports") if isinstance(content, dict) else None
    if not isinstance(reports, list) or not reports:
        refuse(where, 'no list of "reports"', _CURE)
    return _table(reports, where, path)


def _table(reports: list[Any], where: str, path: Path) -> Table:
    rows: dict[str, list[Any]] = {"report_id": [], "technique_id": [], "count": []}
    about: dict[str, list[Any]] = {"report_id": [], "source": [], "references": [], "groups": []}
    odd: list[str] = []
    seen: set[str] = set()
    for number, report in enumerate(reports, 1):
        found = _techniques(report, where, number)
        name = report.get("id", number - 1)
        if isinstance(name, bool) or not isinstance(name, str | int) or str(name) == "":
            refuse(where, f"the id {brief(name)}, which is neither text nor a whole number", _CURE, row=number)
        if str(name) in seen:
            refuse(where, f"the id {brief(name)} a second time", "Give every report an id of its own.", row=number)
        seen.add(str(name))
        good = {t: c for t, c in found.items() if TECHNIQUE.fullmatch(t)}
        odd += [t for t in found if t not in good]
        if not good:
            continue
        rows["report_id"] += [str(name)] * len(good)
        rows["technique_id"] += list(good)
        rows["count"] += list(good.values())
        about["report_id"].append(str(name))
        source = report.get("origin_of_data", report.get("source"))
        about["source"].append(source if isinstance(source, str) else None)
        for key, column in _LISTS.items():
            values = report.get(key)
            about[column].append([str(v) for v in values] if isinstance(values, list) else [])
    notes = ["Each report was read as a user, each technique named in it as an item."]
    if odd:
        notes.append(f"Left out {len(odd):,} entries that are no technique ids (first: {brief(odd[0])}).")
    frame = pl.DataFrame(rows, schema={"report_id": pl.String, "technique_id": pl.String, "count": pl.Float64})
    sides = pl.DataFrame(about, schema={
        "report_id": pl.String, "source": pl.String, "references": pl.List(pl.String), "groups": pl.List(pl.String),
    })  # fmt: skip
    return Table(
        frame.lazy(), where, notes=notes, path=path, sides={"users": sides} if len(sides) else {},
        roles={"user": "report_id", "item": "technique_id", "value": "count"},
    )  # fmt: skip


def _techniques(report: Any, where: str, number: int) -> dict[str, float]:
    """Technique → count, in the order of the report; a list of ids counts each once."""
    found = report.get("mitre_techniques") if isinstance(report, dict) else None
    if isinstance(found, list):
        found = dict.fromkeys(map(str, found), 1)
    if not isinstance(found, dict):
        refuse(where, f'no "mitre_techniques" ({brief(report)})', _CURE, row=number)
    for technique, count in found.items():
        if isinstance(count, bool) or not isinstance(count, int | float) or not 0 < count < 1e9:
            refuse(where, f"{brief(technique)} with {brief(count)} where a count was expected", _CURE, row=number)
    return {str(t).strip().upper(): float(c) for t, c in found.items()}
