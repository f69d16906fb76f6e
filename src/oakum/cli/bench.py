"""`oakum bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import say, settings, show, table


def run(
    task: Annotated[Optional[str], typer.Argument(help="The benchmark; none lists them.")] = None,  # noqa: UP045
    source: Annotated[Optional[Path], typer.Argument(help="What it runs on; see the list.")] = None,  # noqa: UP045
    set_: Annotated[list[str], typer.Option("--set", help="name=value for the benchmark, e.g. k=20.")] = [],  # noqa: B006
    out: Annotated[Optional[Path], typer.Option(help="Folder for report.html and report.json.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    threshold: Annotated[float, typer.Option(help="Exit 1 where a finding's loss reaches this (0 to 1).")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run a benchmark on your own data: tables on the terminal, curves in DIR/report.html.

    Exit 0: nothing weak; 1: a finding at or above the threshold.
    """
    from oakum.bench import TASKS
    from oakum.bench import task as find

    if task is None:
        listed = [{"task": t.slug, "title": t.title, "source": t.source} for t in TASKS.values()]
        show(listed, as_json, (f"{t['task']}: {t['title']}\n    source: {t['source']}" for t in listed))
        return
    report = find(task).run(source, settings(set_), seed, say)
    if out is not None:
        from oakum.report import write

        page, _ = write(report, out)
        say(f"The report is {page}")
    lines: list[str] = []
    for f in report.findings:
        lines += ["", f"{f.title} ({f.subject}): {f.verdict}", f.sentence]
        shapes: dict[tuple[str, ...], list[dict[str, object]]] = {}
        for row in f.evidence:
            shapes.setdefault(tuple(row), []).append(dict(row))
        for columns, rows in shapes.items():
            lines += ["", *table(rows, columns)]
        lines += ["", *(f"{k}: {v}" for k, v in f.budget.items())]
    show(report.to_json(), as_json, lines)
    worst = max((f.loss for f in report.findings if f.loss is not None), default=0.0)
    raise typer.Exit(1 if worst >= threshold else 0)
