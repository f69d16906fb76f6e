"""`oakum fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import OnBad, read_split, settings, show


def run(
    system: Annotated[str, typer.Argument(help="Slug of a system; see `oakum systems`.")],
    log: Annotated[str, typer.Argument(help="A log, or a folder with train and test files.")],
    out: Annotated[Path, typer.Option(help="Folder of the saved model.")],
    set_: Annotated[list[str], typer.Option("--set", help="name=value of the system or of its plan.")] = [],  # noqa: B006
    plugin: Annotated[list[str], typer.Option(help="A training-time addition, by slug.")] = [],  # noqa: B006
    split: Annotated[
        str, typer.Option(help="time, leave-last, holdout, rows, published, auto or none (train on everything).")
    ] = "none",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    target: Annotated[Optional[str], typer.Option(help="Ask for this domain only; items need a column domain.")] = None,  # noqa: UP045
    user: Annotated[Optional[str], typer.Option(help="Column of the user.")] = None,  # noqa: UP045
    item: Annotated[Optional[str], typer.Option(help="Column of the item.")] = None,  # noqa: UP045
    value: Annotated[Optional[str], typer.Option(help="Column of the value.")] = None,  # noqa: UP045
    time: Annotated[Optional[str], typer.Option(help="Column of the time.")] = None,  # noqa: UP045
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Train a system on a log and save it to a folder that cannot execute code.

    With a split, training stops on the validation part and the test part is measured. An interrupted fit goes on from its
    last state when the same command is run again.
    """
    from oakum import store
    from oakum.api import spec_from_text
    from oakum.catalogue import load_class
    from oakum.engine.fit import fit, spec_is_learned
    from oakum.engine.progress import Shown

    spec, plan = spec_from_text(system, settings(set_))
    plugins = [load_class(p, "plugin")() for p in plugin]
    target = target or getattr(spec, "target", None)
    parts = read_split(
        log, split, seed, {"user": user, "item": item, "value": value, "time": time}, target, on_bad=on_bad
    )
    state = out.with_name(f".{out.name}.resume")
    if spec_is_learned(spec):
        plan = {"checkpoint": str(state), **plan}
    with Shown(f"Fitting {system}") as progress:
        fitted = fit(
            spec,
            parts if len(parts.test) else parts.train,
            plan=plan,
            plugins=plugins,
            seed=seed,
            progress=progress,
        )
    store.save(fitted, out)
    if state.exists():
        for left in state.iterdir():
            left.unlink()
        state.rmdir()
    result = {
        "model": str(out),
        "system": spec.to_json(),
        "seconds": fitted.record.seconds,
        "stopped": fitted.record.stopped,
    }
    lines = [f"Saved {system} to {out} ({fitted.record.seconds:.1f} s, {fitted.record.stopped})."]
    if len(parts.test):
        from oakum.evaluation import evaluate

        found = evaluate(fitted, parts)
        result.update(found.to_json())
        lines += [
            f"{n}  {e}" for n, e in found.metrics.items() if n.split("@")[0] in ("ndcg", "recall", "auc", "log_loss")
        ]
        lines += list(found.notes)
    show(result, as_json, lines)
