"""`oakum compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oakum.cli.common import show


def run(
    a: Annotated[Path, typer.Argument(help="report.json of an audit, or its folder.")],
    b: Annotated[Path, typer.Argument(help="report.json of another.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two audits: accuracy, findings that got better or worse, settings that differ."""
    from oakum.report.compare import compare, lines_of
    from oakum.report.page import read_report

    found = compare(read_report(a), read_report(b))
    show(found, as_json, lines_of(found))
