"""`oakum claims`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import say, show


def run(
    slug: Annotated[Optional[str], typer.Argument(help="A system or a sheet.")] = None,  # noqa: UP045
    all_: Annotated[bool, typer.Option("--all", help="Every claim of every system.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only what needs no training.")] = False,
    write: Annotated[Optional[Path], typer.Option(help="Ledger to update.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the claims of a system's paper on real data (OAKUM_DATA): claim, expected, measured, verdict, and why not.

    Exit 0 only where all hold.
    """
    from oakum.claims.base import run_claims, sheets, write_ledger
    from oakum.errors import ParameterError

    if (slug is None) != all_:
        raise ParameterError("Name one system, or give --all.")
    every = True
    values = []
    for name in sheets() if all_ else [str(slug)]:
        found = run_claims(name, quick=quick, tell=say)
        if write is not None:
            write_ledger(write, name, found)
        every &= all(r["holds"] for r in found)
        values.append({"slug": name, "claims": found})
        if not as_json:
            for r in found:
                print(f"{'holds' if r['holds'] else 'DOES NOT HOLD':14} {r['id']}: {r['text']}")
                print(f"{'':14} expected {r['expected']}; measured {r['measured']} ({r['seconds']:.1f} s)")
                if r["why"]:
                    print(f"{'':14} {r['why']}")
    show(values if all_ else values[0], as_json)
    raise typer.Exit(0 if every else 1)
