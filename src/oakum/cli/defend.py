"""`oakum defend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oakum.cli.common import OnBad, read_split, settings, show


def run(
    defence: Annotated[str, typer.Argument(help="Slug of a defence or a defending plug-in.")],
    log: Annotated[str, typer.Argument(help="A log, or a folder with train and test files.")],
    system: Annotated[str, typer.Option(help="The system to defend, by slug.")],
    out: Annotated[Path, typer.Option(help="Folder of the saved model.")],
    set_: Annotated[list[str], typer.Option("--set", help="name=value of the system or of its plan.")] = [],  # noqa: B006
    with_: Annotated[list[str], typer.Option("--with", help="name=value of the defence.")] = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="auto, time, leave-last, holdout or none.")] = "none",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a system with a defence in place and save it; says which accounts a detector took out."""
    from oakum import store
    from oakum.api import spec_from_text
    from oakum.attacks.drill import defence_of, defend
    from oakum.catalogue import load_class
    from oakum.engine.progress import Shown

    spec, plan = spec_from_text(system, settings(set_))
    cls = load_class(defence)
    values = {k: getattr(cls.parse({k: v}), k) for k, v in settings(with_).items()}
    parts = read_split(log, split, seed, on_bad=on_bad)
    subject = parts if len(parts.test) else parts.train
    with Shown(f"Fitting {system} with {defence}") as progress:
        fitted, marks = defend(
            defence_of(defence, **values), spec, subject, plan=plan or None, seed=seed, progress=progress
        )
    store.save(fitted, out)
    flagged = parts.train.users.decode(marks.flagged) if marks.unit == "users" and len(marks.flagged) else []
    lines = [f"Saved {system} with {defence} to {out}."]
    if flagged:
        lines.append(
            f"Taken out before training: {len(flagged)} accounts, most suspicious first: {', '.join(map(str, flagged[:10]))}"
        )
    show({"model": str(out), "defence": defence, "flagged": flagged}, as_json, lines)
