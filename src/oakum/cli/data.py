"""`oakum data`: check, describe, convert, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oakum.cli.common import OnBad, read_log, say, show

group = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Check, describe, convert or fetch a log.",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Log = Annotated[str, typer.Argument(help="A log.")]


@group.command()
def check(log: Log, as_json: Json = False) -> None:
    """Read a log and say what was guessed and what would spoil a training; exit 2 where it cannot be used.

    All faulty columns are named in one pass, with the place of the first fault of each.
    """
    from oakum.data.validate import check as check_data
    from oakum.splits import split
    from oakum.splits.lint import lint

    issues = check_data(log)
    if any(i.level == "error" for i in issues):
        for issue in issues:
            say(f"{issue.level}: {issue}")
        show({"issues": [i.to_json() for i in issues]}, as_json)
        raise typer.Exit(2)
    data = read_log(log)
    found = [f.to_json() for f in lint(split(data))]
    lines = [f"{len(data):,} events of {data.num_users:,} users and {data.num_items:,} items: fine to read."]
    show(
        {"events": len(data), "notes": list(data.notes), "lint": found},
        as_json,
        [*lines, *(f"{f['severity']}: {f['sentence']}" for f in found)],
    )


@group.command()
def describe(log: Log, on_bad: OnBad = "refuse", as_json: Json = False) -> None:
    """A log in figures."""
    from oakum.data.describe import describe as describe_data

    found = describe_data(read_log(log, on_bad=on_bad))
    show(found, as_json, [f"{k}: {v}" for k, v in found.items()])


@group.command()
def convert(
    log: Log,
    out: Annotated[Path, typer.Argument(help="File to write; its ending says the form.")],
    on_bad: OnBad = "refuse",
    as_json: Json = False,
) -> None:
    """Write a log in another form (.csv .tsv .parquet .arrow .jsonl .inter .txt)."""
    from oakum.data.convert import convert as convert_data

    data = read_log(log, on_bad=on_bad)
    convert_data(data, out)
    show({"written": str(out), "events": len(data)}, as_json, [f"Wrote {len(data):,} events to {out}."])


@group.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A public data set, such as movielens-100k; 'list' shows all.")],
    out: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("data"),
    as_json: Json = False,
) -> None:
    """Download a known public data set and check it against its published digest."""
    from oakum.data.fetch import KNOWN
    from oakum.data.fetch import fetch as fetch_data

    if name == "list":
        show({k: v.to_json() for k, v in KNOWN.items()}, as_json, [f"{k}: {v.note}" for k, v in KNOWN.items()])
        return
    path = fetch_data(name, out)
    show({"path": str(path)}, as_json, [f"Fetched {name} to {path}."])
