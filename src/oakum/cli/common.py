"""What commands share: reading logs, settings and seeds from text, printing tables or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from oakum.errors import DataError, ParameterError

OnBad = Annotated[
    str, typer.Option("--on-bad", help="Rows that lack an id or have a faulty cell: refuse the log, or drop them.")
]


def settings(pairs: Sequence[str]) -> dict[str, str]:
    """`name=value` texts as a dictionary."""
    out = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ParameterError(f"'{pair}' is no setting; write name=value, for example --set embedding_dim=32.")
        out[name.strip().replace("-", "_")] = value.strip()
    return out


def read_log(
    path: str,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    on_bad: str = "refuse",
) -> Any:
    """A log, with what was guessed said on stderr."""
    from oakum.data.read import read

    data = read(path, user=user, item=item, value=value, time=time, on_bad=on_bad)
    for note in data.notes:
        say(note)
    return data


def read_split(
    path: str,
    rule: str,
    seed: int,
    columns: dict[str, str | None] | None = None,
    target: str | None = None,
    on_bad: str = "refuse",
) -> Any:
    """A split of a log; a folder with train and test files is taken as published. target: the domain asked for."""
    from oakum.data.read import read_parts
    from oakum.data.readers.folder import set_at
    from oakum.splits import split, split_from_parts

    folder = Path(path)
    parted = set_at(folder) if not folder.is_dir() else any(folder.glob("train*")) and any(folder.glob("test*"))
    if parted and rule in ("auto", "files"):
        given: dict[str, Any] = {k: v for k, v in (columns or {}).items() if v}
        train, test, valid = read_parts(folder, on_bad=on_bad, **given)
        say(f"Took the train and test files of {path} as published parts.")
        return split_from_parts(train, test, valid, target=target, seed=seed)
    data = read_log(path, on_bad=on_bad, **(columns or {}))
    if rule == "files":
        raise DataError(f"{path} holds no train and test files; name a folder that does, or another split.")
    return split(data, rule, target=None if rule == "none" else target, seed=seed)


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr)


def show(value: Any, as_json: bool, lines: Iterable[str] = ()) -> None:
    """JSON on stdout, or lines for people."""
    if as_json:
        print(json.dumps(value, indent=1, default=str, allow_nan=True))
    else:
        for line in lines:
            print(line)


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Iterable[str]:
    """Plain aligned columns, readable in any terminal and in a file."""
    cells = [[str(r.get(c, "")) for c in columns] for r in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) if cells else len(c) for i, c in enumerate(columns)]
    yield "  ".join(c.ljust(w) for c, w in zip(columns, widths, strict=True)).rstrip()
    yield "  ".join("-" * w for w in widths)
    for row in cells:
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
