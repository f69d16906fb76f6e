"""A folder with a log for each of several domains, or with one log of them all."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from oakum.data.columns import NAMES, ORDER, plain
from oakum.data.domains import COLUMN
from oakum.data.interactions import Interactions
from oakum.data.issues import refuse
from oakum.data.readers import open_table
from oakum.data.readers.folder import _LOGS, format_of, sides_in, stem_of
from oakum.data.readers.table import Table

_COMMON = {*_LOGS, *(w.removesuffix("s") for w in _LOGS)}


def tables_by_domain(folder: Path, stack: ExitStack, notes: list[str]) -> dict[str, Table]:
    """The logs of a folder by domain; a single one where just one of them says the domain of its items; else empty.

    A file is a log where columns of its own are named as a user and an item.
    """
    if not folder.is_dir():
        return {}
    beside = set(sides_in(folder).values())
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p not in beside and format_of(p) is not None]
    logs: dict[Path, Table] = {}
    said: list[Path] = []
    for path in files:
        table = open_table(path, stack)
        names = {plain(c) for c in table.schema()} if table.named else set()
        if names & {*NAMES["user"]} and names & {*NAMES["item"]}:
            logs[path] = table
            if COLUMN in names:
                said.append(path)
    if len(logs) < 2:
        return {}
    if len(said) == 1:
        others = ", ".join(p.name for p in logs if p != said[0])
        notes.append(f"Took {said[0].name} as the log, because it names the domain of its items; left out {others}.")
        return {"": logs[said[0]]}
    if said:
        return {}
    short = _names([stem_of(p) for p in logs])
    notes.append(f"Read {', '.join(p.name for p in logs)} as one log of the domains {', '.join(short)}.")
    if any(plain(c) in ORDER for t in logs.values() for c in t.schema()):
        notes.append("Positions in one file say nothing about those in another: the order between domains is a guess.")
    return dict(zip(short, logs.values(), strict=True))


def disjoint(log: Interactions, names: list[str], folder: Any) -> None:
    """Refuse domains that share an item: either their ids mean different things, or the files are no domains."""
    labels = np.asarray(log.fields[COLUMN])
    pairs = np.unique(np.stack([log.items, np.searchsorted(sorted(names), labels)], 1), axis=0)
    shared = len(pairs) - len(np.unique(pairs[:, 0]))
    if shared:
        refuse(
            folder,
            f"several logs ({', '.join(names)}) that share {shared:,} item ids",
            "If they are domains, make ids unique (book:5); if they are parts of one log, join them or name one file.",
        )


def _names(stems: list[str]) -> list[str]:
    """File names without the words that all of them share or that mean a log."""
    words = [re.split(r"[_\-. ]", s.lower()) for s in stems]
    shared = set.intersection(*map(set, words))
    short = ["_".join(w for w in own if w not in shared and w not in _COMMON) for own in words]
    return short if all(short) and len(set(short)) == len(short) else stems
