"""Tables of users and items aligned with the codes, and relations between them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.coding import as_ids, codes_of, vocabulary_of
from oakum.data.columns import NAMES, plain
from oakum.data.dataset import Dataset, Relation
from oakum.data.issues import Issue, Judge, refuse
from oakum.data.ragged import Ids
from oakum.data.readers import open_table
from oakum.data.readers.table import Table
from oakum.data.vocabulary import Vocabulary
from oakum.errors import DataError

_FRIENDS = {"user": ("friend", "trust", "follow", "truster", "trustee", "neighbour_user", "neighbor_user")}
_KINDS = 100  # more relation types than this in one table are not split


def feature_table(source: Any, vocabulary: Vocabulary, side: str, notes: list[str]) -> pl.DataFrame:
    """One row a code, nulls where nothing is known. Ids that repeat turn the other columns into lists."""
    with ExitStack() as stack:
        table = open_table(source, stack)
        frame = _whole(table)
    key = _id_column(frame, side[:-1], table)
    codes = _codes(frame[key], vocabulary)
    known = codes >= 0
    if not known.any():
        refuse(
            table.where,
            f"none of its {len(frame):,} ids is a known {side[:-1]} (first: {frame[key][0]!r})",
            f"Check that column '{key}' holds the same ids as the log.",
        )
    strangers = (
        len(np.unique(frame[key].filter(pl.Series(~known)).cast(pl.String).fill_null("").to_numpy()))
        if not known.all()
        else 0
    )
    frame = frame.drop(key).with_columns(pl.Series("__code", codes)).filter(pl.Series(known))
    if frame["__code"].is_duplicated().any():
        frame = frame.group_by("__code", maintain_order=True).agg(pl.all())
        notes.append(f"The table of {side} has several rows an id: its columns became lists.")
    if strangers:
        notes.append(f"{strangers:,} ids of the table of {side} do not occur in the log and were left out.")
    every = pl.DataFrame({"__code": np.arange(len(vocabulary), dtype=np.int32)})
    return every.join(frame, on="__code", how="left", maintain_order="left").drop("__code")


def relations_of(
    sources: Mapping[str, Any], users: Vocabulary, items: Vocabulary, judge: Judge, notes: list[str]
) -> tuple[dict[str, Relation], dict[str, pl.DataFrame]]:
    """Relations by name, and the tables of ids that are neither users nor items (bundles, entities).

    The two ends are the id columns of the table, first and last; an end belongs to "users" or "items" by its
    name, to a table of its own (`bundle_id`: "bundles") otherwise. A text column named `relation` makes one
    relation a type, called `name/type`. Edges with an unknown user or item are left out and counted in a
    note.

    """
    out: dict[str, Relation] = {}
    tables: dict[str, pl.DataFrame] = {}
    for name, source in sources.items():
        with ExitStack() as stack:
            table = open_table(source, stack)
            frame = _whole(table)
        kind = next((c for c in frame.columns if plain(c) in ("relation", "relation_id", "relation_type")), None)
        names = ("weight", "count", "rating", "value", "similarity")
        weight = next((c for c in frame.columns if plain(c) in names), None)
        ends = [c for c in frame.columns if c not in (kind, weight)][:2]
        if len(ends) < 2:
            found = f"the relation '{name}' has one column ({', '.join(frame.columns)})"
            judge.fail(Issue(table.where, found, "Expected two columns of ids, and perhaps a weight."))
            continue
        sides = [_table_of(c, frame[c], users, items) for c in ends]
        columns = [as_ids(frame[c]) for c in ends]
        codes = []
        for side in dict.fromkeys(sides):
            if side not in ("users", "items"):
                theirs = [c.cast(pl.String) for c, s in zip(columns, sides, strict=True) if s == side]
                ids = vocabulary_of(theirs).ids.rename("id")
                if side in tables:
                    ids = pl.concat([tables[side]["id"], ids]).unique(maintain_order=True)
                tables[side] = pl.DataFrame({"id": ids})
        for column, side in zip(columns, sides, strict=True):
            if side in ("users", "items"):
                codes.append(_codes(column, users if side == "users" else items))
            else:
                codes.append(_codes(column.cast(pl.String), Vocabulary(tables[side]["id"])))
        kept = (codes[0] >= 0) & (codes[1] >= 0)
        if not kept.all():
            notes.append(
                f"Relation '{name}': {int((~kept).sum()):,} of {len(kept):,} edges name an unknown id and "
                "were left out."
            )
        weights = None
        if weight is not None and frame[weight].dtype.is_numeric() and not frame[weight].null_count():
            weights = frame[weight].cast(pl.Float32).to_numpy()
        groups = {name: kept}
        if kind is not None and frame[kind].n_unique() <= _KINDS:
            labels = frame[kind].cast(pl.String).fill_null("none")
            groups = {f"{name}/{k}": kept & (labels == k).to_numpy() for k in labels.unique().sort()}
        for key, mask in groups.items():
            held = None if weights is None else weights[mask]
            out[key] = Relation(sides[0], sides[1], codes[0][mask], codes[1][mask], held)
    return out, tables


def item_groups(data: Dataset, columns: str) -> NDArray[np.int64]:
    """The group of each item by these columns of the item table together (names with commas), int64 [items] from 0; one
    group where none are named. Raises `DataError` for a column that is not there."""
    names = [c.strip() for c in columns.split(",") if c.strip()]
    if not names:
        return np.zeros(data.num_items, np.int64)
    table = data.tables.get("items", pl.DataFrame())
    if missing := [n for n in names if n not in table.columns]:
        have = ", ".join(table.columns) or "no columns"
        raise DataError(
            f"The item table of '{data.name}' has no column '{missing[0]}' to group its items by; it has {have}."
        )
    labels = table.select(pl.concat_str([pl.col(n).cast(pl.String).fill_null("?") for n in names], separator="\x1f"))
    return np.unique(labels.to_series().to_numpy(), return_inverse=True)[1].astype(np.int64)


def _whole(table: Table) -> pl.DataFrame:
    frame = table.collect(list(table.schema()))
    if not len(frame):
        refuse(table.where, "the table has no rows", "Leave it out, or fill it.")
    return frame


def _id_column(frame: pl.DataFrame, role: str, table: Table) -> str:
    by_plain = {plain(c): c for c in reversed(frame.columns)}
    found = next((by_plain[n] for n in [*NAMES[role], "id"] if n in by_plain), None)
    if found is None and table.named and len(frame.columns) > 1 and frame[frame.columns[0]].is_unique().all():
        found = frame.columns[0]
    if found is None:
        refuse(
            table.where,
            f"no column of {role} ids among {', '.join(frame.columns)[:200]}",
            f"Call it {NAMES[role][0]}.",
        )
    return found


def _table_of(column: str, ids: pl.Series, users: Vocabulary, items: Vocabulary) -> str:
    """The table that one end of a relation points into."""
    name = plain(column)
    if name in NAMES["user"] or "user" in name.split("_") or any(name.startswith(w) for w in _FRIENDS["user"]):
        return "users"
    if (name in NAMES["item"] and name != "bundle_id") or "item" in name.split("_"):
        return "items"
    if name.startswith(("column_", "source", "target", "from", "to", "head_id", "tail_id")):
        as_users = float((_codes(as_ids(ids), users) >= 0).mean())
        return "users" if as_users >= float((_codes(as_ids(ids), items) >= 0).mean()) else "items"
    stem = name.removesuffix("_id").removeprefix("head_").removeprefix("tail_")
    return stem[:-1] + "ies" if stem.endswith("y") else stem + "s"


def _codes(column: pl.Series, vocabulary: Vocabulary) -> Ids:
    ids = as_ids(column)
    if vocabulary.ids.dtype == pl.String and ids.dtype != pl.String:
        ids = column.cast(pl.String)
    return codes_of(ids, vocabulary)
