"""`oakum keys`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from oakum.cli.common import show, table


def run(
    state: Annotated[str, typer.Option(help="Folder, or postgresql://user@host/database.")] = "oakum-state",
    add: Annotated[Optional[str], typer.Option(help="Make a key under this name and print it, once.")] = None,  # noqa: UP045
    role: Annotated[str, typer.Option(help="read (ask), write (and post), admin (and delete).")] = "write",
    revoke: Annotated[Optional[str], typer.Option(help="Make the key of this name worthless.")] = None,  # noqa: UP045
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, make and revoke the keys of a service. Only digests are kept: a lost key is replaced, never read."""
    from oakum.errors import ParameterError
    from oakum.state import open_state
    from oakum.state.keys import keys, new_key
    from oakum.state.keys import revoke as revoke_key

    if add is not None and revoke is not None:
        raise ParameterError("Choose one of --add and --revoke.")
    opened = open_state(state)
    try:
        if add is not None:
            made = new_key(opened, add, role)
            show({"name": add, "role": role, "key": made}, as_json, [made])
            return
        if revoke is not None:
            revoke_key(opened, revoke)
        columns = ("name", "role", "made", "revoked")
        rows = [{c: getattr(k, c) for c in columns} for k in keys(opened)]
    finally:
        opened.close()
    lines = (
        table([{**r, "revoked": r["revoked"] or ""} for r in rows], columns)
        if rows
        else ["No keys yet; --add NAME makes one."]
    )
    show(rows, as_json, lines)
