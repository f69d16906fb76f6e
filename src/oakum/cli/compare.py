"""`oakum compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer


def run(
    a: Annotated[Path, typer.Argument(help="report.json of an audit, or its folder.")],
    b: Annotated[Path, typer.Argument(help="report.json of another.")],
    out: Annotated[Optional[Path], typer.Option(help="Folder for a page of the comparison.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two audits: accuracy, findings that got better or worse, settings that differ."""
    from oakum.report import read
    from oakum.report.compare import compare, write
    from oakum.report.terminal import show_comparison

    first, second = read(a), read(b)
    found = compare(first, second)
    if out is not None:
        write(first, second, out)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        show_comparison(found)
