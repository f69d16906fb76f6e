"""Audits for people and machines: an HTML page, a JSON file with a published schema, a terminal summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oakum.files import whole

if TYPE_CHECKING:
    from oakum.audits.record import AuditReport


def write(report: AuditReport, folder: str | Path) -> tuple[Path, Path]:
    """Write `report.html` and `report.json` into a folder (made if absent); give their paths.

    Both are complete before either takes its name, so a reader never finds half a file.
    """
    from oakum.report.page import render

    return write_pair(render(report), report.to_json(), folder, "report")


def read(path: str | Path) -> AuditReport:
    """The report of a `report.json`, or of the folder that holds one."""
    from oakum.audits.record import SCHEMA_VERSION, AuditReport
    from oakum.errors import DataError

    file = Path(path)
    file = file / "report.json" if file.is_dir() else file
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        version = value["schema_version"]
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{file}: schema version {version!r} found, {SCHEMA_VERSION} expected; write the report again."
            )
        return AuditReport.from_json(value)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such report; `oakum audit LOG --out FOLDER` writes one.") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: not a report.json of an audit ({type(error).__name__}: {error}).") from None


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema (draft 2020-12) of `report.json`."""
    found: dict[str, Any] = json.loads(
        resources.files("oakum.report").joinpath("schema.json").read_text(encoding="utf-8")
    )
    return found


def write_pair(html: str, value: Mapping[str, Any], folder: str | Path, stem: str) -> tuple[Path, Path]:
    """A page and its figures under one stem, written aside and renamed."""
    place = Path(folder)
    # Surrogates can come in with ids of broken files; they have no UTF-8.
    texts = {
        place / f"{stem}.html": html.encode("utf-8", "replace"),
        place / f"{stem}.json": (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("utf-8"),
    }
    with ExitStack() as stack:  # neither takes its place before both are written
        aside = {path: stack.enter_context(whole(path)) for path in texts}
        for path, content in texts.items():
            aside[path].write_bytes(content)
    first, second = texts
    return first, second
