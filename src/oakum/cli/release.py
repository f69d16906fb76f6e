"""`oakum release`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from oakum.cli.common import read_log, show


def run(
    candidate: Annotated[Optional[Path], typer.Argument(help="Folder of the model that should answer.")] = None,  # noqa: UP045
    against: Annotated[Path, typer.Option(help="Folder of the model that is served.")] = ...,  # type: ignore[assignment]
    test: Annotated[Optional[str], typer.Option(help="Events that neither model was trained on.")] = None,  # noqa: UP045
    audit: Annotated[Optional[Path], typer.Option(help="Audit of the candidate: report.json or its folder.")] = None,  # noqa: UP045
    audit_before: Annotated[Optional[Path], typer.Option(help="Audit of the model that is served.")] = None,  # noqa: UP045
    metric: Annotated[str, typer.Option(help="Accuracy metric that is compared.")] = "ndcg@10",
    max_loss: Annotated[float, typer.Option(help="Largest relative loss of accuracy that may remain possible.")] = 0.02,
    max_churn: Annotated[float, typer.Option(help="Largest share of lists changed beyond what a seed changes.")] = 0.5,
    threshold: Annotated[
        float, typer.Option(help="A finding from this loss on refuses, unless it was there before.")
    ] = 0.5,
    floor: Annotated[bool, typer.Option(help="Train once more with another seed, to know what a seed changes.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge, and release nothing.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Let the model before the current one answer again.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let a candidate answer in place of the model that is served, if nothing speaks against it.

    Judged: accuracy person by person, with an interval, beside what another seed alone changes; how many lists change;
    what the audits found. A running service answers with the new model within a second or two, and no request is
    dropped; --back undoes it. Exit 0: released (or may be, with --dry-run); 1: refused, with the reasons.
    """
    from oakum import store
    from oakum.errors import ParameterError
    from oakum.files import whole
    from oakum.release import Gate, judge
    from oakum.report import read
    from oakum.serve.models import Shelf

    shelf = Shelf(against)
    if back:
        if candidate is not None:
            raise ParameterError("--back takes no candidate: it lets the model before the current one answer again.")
        folder = shelf.back()
        show({"model": str(folder)}, as_json, [f"{folder} answers again."])
        return
    if candidate is None or test is None:
        raise ParameterError("Name a candidate and --test FILE with events that neither model was trained on.")
    gate = Gate.make(metric=metric, max_loss=max_loss, max_churn=max_churn, threshold=threshold, floor=floor)
    fitted = store.load(candidate)
    decision = judge(
        fitted,
        store.load(shelf.current()),
        read_log(test),
        gate=gate,
        report=None if audit is None else read(audit),
        before=None if audit_before is None else read(audit_before),
        seed=seed,
    )
    found: dict[str, Any] = {**decision.to_json(), "released": False, "model": str(shelf.current())}
    if decision.passed and not dry_run:
        found.update(released=True, model=str(shelf.publish(fitted, base=True)))
    found["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    if not dry_run:
        kept = against / "releases.json"
        past = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
        with whole(kept) as aside:
            aside.write_text(json.dumps([*past, found], indent=1) + "\n", encoding="utf-8")
    word = {True: "ok", False: "REFUSED", None: "unknown"}
    lines = [f"{word[c.passed]:8} {c.name}: {c.sentence}" for c in decision.checks]
    end = (
        "Released: it answers from now on."
        if found["released"]
        else "It may be released."
        if decision.passed
        else "Not released."
    )
    show(found, as_json, [*lines, end])
    raise typer.Exit(0 if decision.passed else 1)
