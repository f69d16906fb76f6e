"""`oakum forget`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import read_log, say, show


def run(
    users: Annotated[list[str], typer.Argument(help="Ids of the people who leave.")],
    model: Annotated[Path, typer.Option(help="Folder of the model that is served.")] = ...,  # type: ignore[assignment]
    state: Annotated[Optional[str], typer.Option(help="Folder or postgresql:// of the service's state.")] = None,  # noqa: UP045
    log: Annotated[Optional[str], typer.Option(help="The log to train on; by default what the model keeps.")] = None,  # noqa: UP045
    test: Annotated[bool, typer.Option(help="Measure what is left, at the price of a second training.")] = True,
    statement: Annotated[Optional[Path], typer.Option(help="File for the dated statement.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Seed of the test.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take people out of a model: their rows go, the weights are made anew without them, what is left is measured.

    Earlier versions that `oakum refresh` or `oakum release` kept are deleted with them, since they remember. With --state
    the events that the service stored of them go too, and the statement is kept there, where an admin of the service can
    read it. A running service answers with the new model within a second or two.
    """
    from oakum.files import whole
    from oakum.serve.forgetting import leave
    from oakum.state import open_state

    data = None if log is None else read_log(log)
    opened = None if state is None else open_state(state)
    try:
        said = leave(model, users, opened, log=data, test=test, seed=seed)
    finally:
        if opened is not None:
            opened.close()
    text = said.statement
    if statement is not None:
        with whole(statement) as aside:
            aside.write_text(text, encoding="utf-8")
        with whole(statement.with_suffix(".json")) as aside:
            aside.write_text(json.dumps(said.to_json(), indent=1) + "\n", encoding="utf-8")
        say(f"The statement is in {statement}.")
    show(said.to_json(), as_json, [text])
