"""`oakum export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oakum.cli.common import show


def run(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("vectors.safetensors"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the vectors of a model for other programs: users, items, and in the header their ids and the settings."""
    from oakum import store
    from oakum.store.vectors import export_vectors

    fitted = store.load(model)
    path = export_vectors(fitted, out)
    sizes = {"file": str(path), "users": len(fitted.users), "items": len(fitted.items)}
    show(sizes, as_json, [f"Wrote {path}: vectors of {sizes['users']:,} users and {sizes['items']:,} items."])
