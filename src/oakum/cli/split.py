"""`oakum split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import OnBad, read_log, show


def run(
    log: Annotated[str, typer.Argument(help="A log.")],
    out: Annotated[Path, typer.Option(help="Folder for train.parquet, valid.parquet and test.parquet.")],
    rule: Annotated[
        str, typer.Option(help="auto, time, leave-last, holdout, users, cold-items, popular-given, rows, published.")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of random rules.")] = 0,
    target: Annotated[Optional[str], typer.Option(help="Ask for this domain only; items need a column domain.")] = None,  # noqa: UP045
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Cut a log into files and say what would mislead about the cut."""
    from oakum.data.convert import convert
    from oakum.splits import split
    from oakum.splits.lint import lint

    data = read_log(log, on_bad=on_bad)
    parts = split(data, rule, target=target, seed=seed)
    pieces = {"train": parts.train.interactions, "valid": parts.valid, "test": parts.test}
    sizes = {}
    for name, events in pieces.items():
        if events is not None and len(events):
            convert(data.with_interactions(events), out / f"{name}.parquet")
            sizes[name] = len(events)
    found = [f.to_json() for f in lint(parts)]
    lines = [f"{name}: {n:,} events → {out / name}.parquet" for name, n in sizes.items()]
    lines += [f"{f['severity']}: {f['sentence']}" for f in found] + list(parts.protocol.left_out)
    show(
        {
            "rule": parts.protocol.rule,
            "candidates": parts.protocol.candidates,
            "cut": parts.protocol.cut,
            "events": sizes,
            "lint": found,
        },
        as_json,
        lines,
    )
