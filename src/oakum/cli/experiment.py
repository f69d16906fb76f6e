"""`oakum experiment`."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from oakum.cli.common import show, table


def run(
    name: Annotated[Optional[str], typer.Argument(help="The experiment; by default all of them.")] = None,  # noqa: UP045
    state: Annotated[str, typer.Option(help="Folder, or postgresql://user@host/database.")] = "oakum-state",
    stop: Annotated[bool, typer.Option("--stop", help="End it: the candidate answers nobody from now on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where experiments stand: people, mean outcomes, and the difference with an interval that holds at every look.

    `oakum serve MODEL --candidate OTHER` begins one; `oakum release OTHER --against MODEL` ends it by letting the candidate
    answer everybody, --stop ends it without.
    """
    from oakum.errors import ParameterError
    from oakum.release.standing import standing
    from oakum.state import open_state
    from oakum.state.experiments import end, experiments

    opened = open_state(state)
    try:
        if stop:
            if name is None:
                raise ParameterError("Name the experiment that should stop.")
            end(opened, name, "stopped by command")
        known = experiments(opened)
        if name is not None and name not in known:
            raise ParameterError(f"There is no experiment '{name}'. Known: {', '.join(known) or 'none'}.")
        found = [standing(opened, e) for e in known.values() if name in (None, e.name)]
    finally:
        opened.close()
    lines: list[str] = []
    for s in found:
        until = "running" if s.ended is None else f"ended {s.ended} ({s.why})"
        rows: list[dict[str, Any]] = [
            {
                "arm": a.name,
                "answered": a.answered,
                "counted": a.counted,
                "mean": "-" if a.mean is None else f"{a.mean:.4f}",
            }
            for a in (s.current, s.candidate)
        ]
        lines += [
            f"{s.name}: since {s.made}, {until}",
            *table(rows, ("arm", "answered", "counted", "mean")),
            s.sentence,
        ]
    show([s.to_json() for s in found], as_json, lines or ["No experiment yet; `oakum serve --candidate` begins one."])
