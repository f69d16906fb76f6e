"""`oakum quarantine`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import read_log, settings, show, table


def run(
    log: Annotated[str, typer.Argument(help="The log that is trusted so far.")],
    new: Annotated[Optional[str], typer.Option(help="A file of new events to screen.")] = None,  # noqa: UP045
    state: Annotated[Path, typer.Option(help="Folder that keeps the batches.")] = Path("oakum-quarantine"),
    release: Annotated[Optional[str], typer.Option(help="Let the held events of a batch in.")] = None,  # noqa: UP045
    take_back: Annotated[Optional[str], typer.Option(help="Take a whole batch out again.")] = None,  # noqa: UP045
    system: Annotated[
        str, typer.Option(help="The system whose lists are compared and that --model fits.")
    ] = "item-knn",
    set_: Annotated[list[str], typer.Option("--set", help="name=value of the system or of its plan.")] = [],  # noqa: B006
    false_share: Annotated[float, typer.Option(help="Share of honest accounts that may be held.")] = 0.005,
    model: Annotated[Optional[Path], typer.Option(help="Fit the system on all accepted events and save it.")] = None,  # noqa: UP045
    export: Annotated[Optional[Path], typer.Option(help="Write all accepted events to a file.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold new events that look arranged, show whose lists they would change, take any batch back later.

    Without an option it lists the batches. The log itself is never changed; accepted events are kept beside it.
    """
    from oakum import store
    from oakum.api import spec_from_text
    from oakum.data.convert import convert
    from oakum.defences.detect.coordination import Coordination
    from oakum.engine.fit import fit
    from oakum.errors import ParameterError
    from oakum.quarantine import Quarantine

    if sum(x is not None for x in (new, release, take_back)) > 1:
        raise ParameterError("Choose one of --new, --release and --take-back.")
    spec, plan = spec_from_text(system, settings(set_))
    kept = Quarantine(read_log(log), state)
    result: dict[str, object] = {}
    lines: list[str] = []
    if new is not None:
        found = kept.screen(read_log(new), detector=Coordination(false_share=false_share), system=spec, seed=seed)
        result = found.to_json()
        b = found.batch
        lines.append(
            f"Batch {b.id}: {b.events:,} events of {b.accounts:,} accounts; {b.held_events:,} events of {b.held_accounts:,} "
            f"accounts are held, the others accepted."
        )
        if found.accounts:
            lines += [
                "",
                *table([{**a, "score": f"{a['score']:.1f}"} for a in found.accounts[:10]], ("user", "score", "events")),
            ]
            lines += ["", "Items that surge in this batch:"]
            lines += table(
                [{**i, "surprise": f"{i['surprise']:.1f}"} for i in found.items[:5]],
                ("item", "new", "before", "surprise"),
            )
            c = found.lists["changed"]
            gains = ", ".join(f"{g['item']} ({g['lists']} lists)" for g in found.lists["gaining"][:3])
            lines += [
                "",
                f"Letting them in would change the top {found.lists['k']} of {100 * c['value']:.1f} % "
                f"[{100 * c['low']:.1f}, {100 * c['high']:.1f}] of {found.lists['people']:,} people; most gained by: {gains or 'none'}.",
                f"Let them in with --release {b.id}, take the whole batch out with --take-back {b.id}.",
            ]  # fmt: skip
    elif release is not None:
        result = {"batch": asdict(kept.release(release))}
        lines.append(f"The held events of batch {release} are let in.")
    elif take_back is not None:
        result = {"batch": asdict(kept.take_back(take_back))}
        lines.append(f"Batch {take_back} is taken out; what is left is as if it had never come.")
    else:
        rows = [asdict(b) for b in kept.batches]
        result = {"batches": rows}
        columns = ("id", "date", "events", "accounts", "held_events", "held_accounts", "status")
        lines += list(table(rows, columns)) if rows else ["No batches yet; screen one with --new FILE."]
    if model is not None or export is not None:
        data = kept.events()
        result["data"] = data.digest
        if export is not None:
            convert(data, export)
            lines.append(f"Wrote {len(data):,} accepted events to {export}.")
        if model is not None:
            store.save(fit(spec, data, plan=plan or None, seed=seed), model)
            lines.append(f"Saved {system}, fitted on the accepted events, to {model}.")
    show(result, as_json, lines)
