"""`oakum find`."""

from __future__ import annotations

from typing import Annotated

import typer

from oakum.cli.common import show, table
from oakum.cli.systems import rows


def run(
    words: Annotated[list[str], typer.Argument(help="Words of a title, a task, a paper number.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find systems by words or paper."""
    from oakum.catalogue import find
    from oakum.errors import ParameterError

    found = rows(find(" ".join(words)))
    if not found:
        raise ParameterError(f"No system matches '{' '.join(words)}'; `oakum systems` lists all.")
    show(found, as_json, table(found, ["slug", "kind", "claims", "title"]))
