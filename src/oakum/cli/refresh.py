"""`oakum refresh`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import read_log, show, table


def run(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model, the one that is served.")],
    state: Annotated[str, typer.Option(help="Folder, or postgresql://user@host/database.")] = "oakum-state",
    log: Annotated[Optional[str], typer.Option(help="The log to start from; by default what the model keeps.")] = None,  # noqa: UP045
    refit: Annotated[Optional[bool], typer.Option(help="Train afresh; by default closed forms only.")] = None,  # noqa: UP045
    release: Annotated[list[str], typer.Option(help="Let the held events of a batch in first.")] = [],  # noqa: B006
    take_back: Annotated[list[str], typer.Option(help="Take a whole batch out first.")] = [],  # noqa: B006
    back: Annotated[bool, typer.Option("--back", help="Only let the model before this one answer again.")] = False,
    false_share: Annotated[float, typer.Option(help="Share of honest accounts that may be held.")] = 0.005,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fold a service's new events into its model: screen them, make the model anew, swap it without dropping a request.

    Events of accounts that look arranged are held and not learned from; --release lets them in, --take-back takes a whole
    batch out. A running service answers with the new model within a second or two.
    """
    from oakum.defences.detect.coordination import Coordination
    from oakum.serve.models import Shelf
    from oakum.serve.refresh import refresh
    from oakum.state import open_state

    if back:
        folder = Shelf(model).back()
        show({"model": str(folder)}, as_json, [f"{folder} answers again."])
        return
    opened = open_state(state)
    try:
        for batch in release:
            opened.release(batch)
        for batch in take_back:
            opened.take_back(batch)
        found = refresh(
            model,
            opened,
            log=None if log is None else read_log(log),
            refit=refit,
            detector=Coordination(false_share=false_share),
            seed=seed,
        )
        batches = opened.batches()
    finally:
        opened.close()
    lines = []
    if found.batch is not None:
        b = found.batch
        lines.append(
            f"Batch {b['id']}: {b['events']:,} events of {b['accounts']:,} accounts; {b['held_events']:,} events of "
            f"{b['held_accounts']:,} accounts are held, the others accepted."
        )
    if found.folder is None:
        lines.append("Nothing changed: the model knows all accepted events.")
    else:
        how = "trained afresh" if found.refitted else "weights kept, histories renewed"
        lines.append(f"{found.folder} answers now, with {found.events:,} events more than at first ({how}).")
    if found.left_out:
        lines.append(
            f"{found.left_out:,} events are of users or items that it has no place for; --refit makes room. Such users are "
            "answered from their events meanwhile."
        )
    if any(b["held_events"] and b["status"] == "held" for b in batches):
        lines += ["", *table(batches, ("id", "made", "events", "accounts", "held_events", "held_accounts", "status"))]
        lines.append("Let held events in with --release BATCH, take a whole batch out with --take-back BATCH.")
    value = {
        "batch": found.batch,
        "events": found.events,
        "left_out": found.left_out,
        "refitted": found.refitted,
        "model": None if found.folder is None else str(found.folder),
        "batches": batches,
    }
    show(value, as_json, lines)
