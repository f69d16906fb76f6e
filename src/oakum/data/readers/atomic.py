"""RecBole atomic files: `name.inter`, with `name.user`, `name.item` and `name.net` beside it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import polars as pl

from oakum.data.columns import plain
from oakum.data.issues import brief, refuse
from oakum.data.readers.delimited import from_text
from oakum.data.readers.table import Table
from oakum.data.readers.text import open_text

_KINDS = ("token", "token_seq", "float", "float_seq")


def read_atomic(path: Path, stack: ExitStack, *, beside: bool = True) -> Table:
    """Tab-separated, the header typed as `user_id:token`; sequences become lists. Side files are found by
    name.
    """
    text = open_text(path, stack)
    cells = text.lines[0].rstrip("\r").split("\t")
    kinds = dict((c.strip().rpartition(":")[0], c.strip().rpartition(":")[2]) for c in cells)
    bad = next((c for c in cells if c.rpartition(":")[2].strip() not in _KINDS), None)
    if bad is not None:
        refuse(
            path,
            f"the header cell {brief(bad)} has no type",
            f"Write NAME:TYPE with a type of {', '.join(_KINDS)}, tabs between cells.",
            line=1,
        )
    table = from_text(text, "\t")
    rename = {c: c.rpartition(":")[0] or c for c in table.schema()}
    typed, loose = table.frame, table.loose
    lists = {n: k for n, k in kinds.items() if k.endswith("_seq")}

    def shaped(frame: pl.LazyFrame) -> pl.LazyFrame:
        frame = frame.rename(rename)
        split = [pl.col(n).cast(pl.String).str.split(" ") for n in lists]
        frame = frame.with_columns(split) if split else frame
        numbers = [pl.col(n).list.eval(pl.element().cast(pl.Float32)) for n, k in lists.items() if k == "float_seq"]
        return frame.with_columns(numbers) if numbers else frame

    table.frame = shaped(typed)
    table.loose = None if loose is None else lambda: shaped(loose())
    table.notes = []
    for name in rename.values():
        if plain(name) in ("user_id", "item_id", "rating", "timestamp"):
            table.roles.setdefault({"rating": "value", "timestamp": "time"}.get(plain(name), plain(name)[:4]), name)
    table.name = path.stem
    if beside:
        for ending, side in (("user", "users"), ("item", "items")):
            other = path.with_suffix(f".{ending}")
            if other.exists():
                table.sides[side] = other
        if path.with_suffix(".net").exists():
            table.sides["relations"] = {"net": path.with_suffix(".net")}
    return table
