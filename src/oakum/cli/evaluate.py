"""`oakum evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from oakum.cli.common import OnBad, read_log, show
from oakum.errors import ParameterError


def run(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    test: Annotated[str, typer.Option(help="Held-out events: user_id, item_id, or one user and its items a line.")],
    k: Annotated[str, typer.Option(help="Cut-offs, separated by commas.")] = "10,20",
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    user: Annotated[Optional[str], typer.Option(help="Column of the user.")] = None,  # noqa: UP045
    item: Annotated[Optional[str], typer.Option(help="Column of the item.")] = None,  # noqa: UP045
    value: Annotated[Optional[str], typer.Option(help="Column of the value.")] = None,  # noqa: UP045
    time: Annotated[Optional[str], typer.Option(help="Column of the time.")] = None,  # noqa: UP045
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a saved model on held-out events: all items ranked, training items removed, an interval on every number.

    A system that predicts rows is measured on labelled rows: auc, log_loss, brier, ece.
    """
    from oakum import evaluation, store

    fitted = store.load(model)
    # A model of rows without users has columns only: none of them is to be taken for people.
    user, item = (
        "" if name is None and not len(ids) else name for name, ids in ((user, fitted.users), (item, fitted.items))
    )
    found = evaluation.evaluate(fitted, read_log(test, user, item, value, time, on_bad), k=cuts(k), seed=seed)
    lines = [f"{n:18} {e}" for n, e in found.metrics.items()]
    show(found.to_json(), as_json, [*lines, *found.notes])


def cuts(text: str) -> list[int]:
    """'10,20' → [10, 20]."""
    parts = [p.strip() for p in text.split(",")]
    if not all(p.isdigit() and int(p) > 0 for p in parts):
        raise ParameterError(f"'{text}' is no list of cut-offs; write for example 10,20.")
    return [int(p) for p in parts]
