"""`oakum systems`."""

from __future__ import annotations

from typing import Annotated

import typer

from oakum.cli.common import show, table


def rows(entries: object) -> list[dict[str, object]]:
    """The public description of entries."""
    from oakum.claims.base import count

    return [
        {
            "slug": e.slug,
            "title": e.title,
            "kind": e.kind,
            "task": list(e.task),
            "needs": list(e.needs),
            "code": e.code,
            "claims": count(e),
        }
        for e in entries  # type: ignore[attr-defined]
    ]


def run(
    kind: Annotated[str, typer.Option(help="model, plugin, attack, defence or audit.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the systems of the catalogue."""
    from oakum.catalogue import entries
    from oakum.errors import ParameterError, nearest

    kinds = {e.kind for e in entries().values()}
    if kind and kind not in kinds:
        raise ParameterError(f"There is no kind '{kind}'.{nearest(kind, kinds)}")
    found = rows([e for e in entries().values() if not kind or e.kind == kind])
    show(found, as_json, table(found, ["slug", "kind", "claims", "title"]))
