"""`oakum recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from oakum.cli.common import settings, show
from oakum.errors import DataError, ParameterError


def run(
    model: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    users: Annotated[
        Path | None, typer.Option(help="A file of users: one id a line, or CSV or Parquet with user_id.")
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="Item ids of a newcomer, separated by commas, oldest first.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Typed words, alone or beside the others, for systems that read them.")
    ] = None,
    k: Annotated[int, typer.Option(help="Items a list.")] = 10,
    allow: Annotated[str, typer.Option(help="Only these items, separated by commas.")] = "",
    deny: Annotated[str, typer.Option(help="Never these items, separated by commas.")] = "",
    choose: Annotated[
        str, typer.Option("--filter", help="Only items that fulfil this, as 'price < 10 and category in [\"drum\"]'.")
    ] = "",
    context: Annotated[list[str], typer.Option(help="name=value of a context column, where the system reads it.")] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Recommend for known users, or for a newcomer given by a history; unknown users get popular items, and it is said."""
    from oakum import store

    if (users is not None and history is not None) or (users is None and history is None and text is None):
        raise ParameterError("Give either --users FILE or --history ID,ID,… (or --text WORDS alone).")
    if k < 1:
        raise ParameterError(f"k must be at least 1. Got {k}.")
    fitted = store.load(model)
    parts = lambda text: [p.strip() for p in text.split(",") if p.strip()]
    options: dict[str, Any] = {"text": text, "k": k, "allow": parts(allow) or None, "deny": parts(deny) or None}
    if choose:
        options["where"] = fitted.choice(choose)
    if context:
        options["context"] = settings(context)
    if users is None:
        answers = fitted.recommend(history=None if history is None else parts(history), **options)
    else:
        answers = fitted.recommend(users_in(users), **options)
    lines = []
    for a in answers:
        items = ", ".join(f"{i['item']} ({i['score']:.3f})" for i in a["items"])
        lines.append(
            f"{a['user'] if a['user'] is not None else 'newcomer'}: {items}"
            + (f"  [{a['fallback']}]" if "fallback" in a else "")
            + (f"  [unknown and ignored: {', '.join(map(str, a['ignored']))}]" if a.get("ignored") else "")
        )
    show(answers, as_json, lines)


def users_in(path: Path) -> list[object]:
    """The ids of a file, in its order."""
    import polars as pl

    from oakum.data.columns import NAMES, plain
    from oakum.data.read import frame_of

    if not path.exists():
        raise DataError(f"There is no file {path}.")
    if path.suffix in (".parquet", ".csv", ".tsv"):
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else None
        if frame is None:
            first = path.read_text(encoding="utf-8").splitlines()
            if first and "," not in first[0] and "\t" not in first[0]:
                return [line.strip() for line in first if line.strip() and plain(line) not in NAMES["user"]]
            frame = frame_of(path)
        for column in frame.columns:
            if plain(column) in NAMES["user"]:
                return frame[column].unique(maintain_order=True).to_list()
        raise DataError(f"{path} has no user_id column; found {', '.join(frame.columns)}.")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
