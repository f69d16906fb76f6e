"""`oakum report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oakum.cli.common import show


def run(
    source: Annotated[Path, typer.Argument(help="report.json of an audit, or its folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("oakum-audit"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the page of an audit again from its report.json; reads the record, never the run."""
    from oakum.report import read, write

    page, record = write(read(source), out)
    show({"page": str(page), "record": str(record)}, as_json, [f"The report is {page}"])
