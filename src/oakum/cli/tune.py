"""`oakum tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from oakum.cli.common import OnBad, read_split, say, settings, show


def run(
    system: Annotated[str, typer.Argument(help="Slug of a system.")],
    log: Annotated[str, typer.Argument(help="A log.")],
    trials: Annotated[int, typer.Option(help="Settings tried.")] = 20,
    set_: Annotated[list[str], typer.Option("--set", help="name=value that stays fixed.")] = [],  # noqa: B006
    metric: Annotated[str, typer.Option(help="What to raise, on the validation part.")] = "ndcg@10",
    split: Annotated[str, typer.Option(help="auto, time, leave-last or holdout.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search hyper-parameters within the system's own ranges, on the validation part; the test part is not looked at."""
    from oakum.tuning import tune

    parts = read_split(log, split, seed, on_bad=on_bad)
    found = tune(system, parts, trials=trials, fixed=settings(set_), metric=metric, seed=seed, tell=say)
    flags = " ".join(f"--set {k}={v}" for k, v in found["best"].items())
    lines = [
        f"best {metric} {found['value']:.4f} on the validation part after {found['trials']} settings",
        f"oakum fit {system} {log} {flags}",
    ]
    show(found, as_json, lines)
