"""`oakum audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import OnBad, read_split, say, settings


def run(
    log: Annotated[
        str | None,
        typer.Argument(help="A log or a folder with train and test files; none: a simulated market."),
    ] = None,
    system: Annotated[list[str], typer.Option(help="A system to audit; repeat for several.")] = [],  # noqa: B006
    quick: Annotated[bool, typer.Option("--quick", help="Minutes; states what it cannot see (the default).")] = False,
    full: Annotated[bool, typer.Option("--full", help="More people, seeds, techniques and systems.")] = False,
    attack: Annotated[list[str], typer.Option(help="A technique for the drill and the grid; repeat for several.")] = [],  # noqa: B006
    defence: Annotated[list[str], typer.Option(help="A defence or plug-in for the drill and the grid; repeat.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder for report.html and report.json.")] = Path("oakum-audit"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    split: Annotated[str, typer.Option(help="auto, time, leave-last, holdout.")] = "auto",
    workers: Annotated[
        int, typer.Option(help="Processes; 0 takes the cores, four at most. Never changes a figure.")
    ] = 0,
    threshold: Annotated[float, typer.Option(help="Exit 1 where a finding's loss reaches this (0 to 1).")] = 0.5,
    set_: Annotated[list[str], typer.Option("--set", help="name=value for the training plan, e.g. epochs=20.")] = [],  # noqa: B006
    target: Annotated[Optional[str], typer.Option(help="Ask for this domain only; items need a column domain.")] = None,  # noqa: UP045
    user: Annotated[Optional[str], typer.Option(help="Column of the user.")] = None,  # noqa: UP045
    item: Annotated[Optional[str], typer.Option(help="Column of the item.")] = None,  # noqa: UP045
    value: Annotated[Optional[str], typer.Option(help="Column of the value.")] = None,  # noqa: UP045
    time: Annotated[Optional[str], typer.Option(help="Column of the time.")] = None,  # noqa: UP045
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train, measure, attack and mend on your log; write DIR/report.html and DIR/report.json.

    Without a log it runs on a simulated market whose true tastes are known. Exit 0: nothing weak; 1: a finding at or above
    the threshold; 2: misuse; 3: failure. An interrupted audit goes on when the same command is run again.
    """
    from oakum.audits.scorecard import audit
    from oakum.engine.plan import Plan
    from oakum.engine.progress import Shown
    from oakum.errors import ParameterError
    from oakum.report import write
    from oakum.report.terminal import show

    if quick and full:
        raise ParameterError("Choose one of --quick and --full.")
    mode = "full" if full else "quick"
    if log is None:
        from oakum.data.simulate import Market, simulate
        from oakum.splits import split as split_by

        say("No log given: auditing a simulated market whose true tastes are known.")
        parts = split_by(simulate(Market(), seed=seed), split, seed=seed)
    else:
        parts = read_split(
            log, split, seed, {"user": user, "item": item, "value": value, "time": time}, target, on_bad=on_bad
        )
    texts = settings(set_)
    parsed = Plan.parse(texts)
    plan = {k: getattr(parsed, k) for k in texts}
    out.mkdir(parents=True, exist_ok=True)
    with Shown(f"Auditing {parts.train.name} ({mode})") as progress:
        report = audit(
            parts,
            system,
            mode=mode,
            seed=seed,
            workers=workers or None,
            folder=out,
            attacks=attack,
            defences=defence,
            plan=plan,
            progress=progress,
        )
    page, _ = write(report, out)
    if as_json:
        import json

        print(json.dumps(report.to_json(), indent=1))
    else:
        show(report)
        print(f"\nThe report is {page}")
    worst = max((f.loss for f in report.findings if f.loss is not None), default=0.0)
    raise typer.Exit(1 if worst >= threshold else 0)
