"""`read`: a log in any common form becomes a `Dataset`. Everything is converted here, at the door, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from oakum.data.assemble import assemble, stacked
from oakum.data.dataset import Dataset, Relation
from oakum.data.domains import COLUMN, domains_from_log
from oakum.data.features import feature_table, relations_of
from oakum.data.interactions import Interactions
from oakum.data.issues import Judge, refuse
from oakum.data.readers import Table, open_table, path_of
from oakum.data.readers.domains import disjoint, tables_by_domain
from oakum.data.readers.folder import log_in, parts_in, sides_in
from oakum.data.readers.sql import read_query
from oakum.errors import DataError, ParameterError

__all__ = ["frame_of", "read", "read_parts", "read_split", "read_sql"]


def read(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    format: str | None = None,
    items: Any = None,
    users: Any = None,
    relations: Mapping[str, Any] | None = None,
    name: str | None = None,
    on_bad: str = "refuse",
) -> Dataset:
    """Read a log.

    source: a file (CSV or TSV, also gzip, any common separator, with or without a header; Parquet; Arrow;
    JSON lines; RecBole `.inter`; MovieLens; threat reports; one user and its items a line), a folder that holds one, or a
    polars, pandas or Arrow table. user, item, value, time: names of columns; what is not given is guessed
    from common names, then from place and type, and the guess is a sentence in `Dataset.notes`; "" leaves a
    role empty. format: csv, tsv, parquet, arrow, jsonl, atomic, movielens, lines or reports, where the name of the
    file does not say. users, items: tables with an id column, turned into one row a code. relations: name →
    table of two id columns. on_bad: what becomes of rows without an id, or whose value or time is none: "refuse"
    the log, naming the first (the default), or "drop" them; a note says how many and which.

    Ids that are whole numbers stay whole numbers, all others are text; codes follow their ascending order.
    Times become microseconds since 1970, unit or form recognised. Row ids are the places of the rows in the
    file. A folder of published parts is read as one log with the part in the field `part` (`read_split` keeps
    the parts apart); where it holds several sets (`name_train.*`, `name_test.*`), `folder/name` names one. A
    column `domain` of the log goes to the table of items; a folder of several logs without common items is read
    as one log with a domain a file, and a folder with one log of several domains beside others as that log.

    Raises `DataError` that names file, row, line and column, what was found, what was expected and the cure.
    Cost: about 0.15 s of one core a million rows of Parquet, 0.3 s of text, and 32 bytes a row and 8 a user at most.

    """
    given = {"user": user, "item": item, "value": value, "time": time}
    judge = judge_of(on_bad)
    return read_judged(source, given, judge, format=format, items=items, users=users, relations=relations, name=name)


def judge_of(on_bad: str) -> Judge:
    """What `on_bad` says of faulty rows."""
    if on_bad not in ("refuse", "drop"):
        raise ParameterError(f"on_bad is 'refuse' or 'drop'; got '{on_bad}'.")
    return Judge(drop=on_bad == "drop")


def read_sql(source: Any, query: str, **options: Any) -> Dataset:
    """Read the rows of a query as a log.

    source: a URI (`sqlite:///log.db`, `postgresql://...`, `mysql://...`) or an open connection (SQLite,
    DuckDB, any DB-API). SQLite files are opened for reading only; other URIs need the extra 'sql'
    (`MissingExtra` says so). options: those of `read`, `format` aside.

    """
    table = read_query(source, query)
    given = {role: options.pop(role, None) for role in ("user", "item", "value", "time")}
    return read_judged(table, given, judge_of(options.pop("on_bad", "refuse")), **options)


def frame_of(source: Any, format: str | None = None) -> pl.DataFrame:
    """Any table that `read` knows as a polars frame, nothing coded: for lists of users and the like."""
    with ExitStack() as stack:
        table = open_table(source, stack, format)
        return table.collect(list(table.schema()))


def read_judged(
    source: Any,
    given: Mapping[str, str | None],
    judge: Judge,
    *,
    format: str | None = None,
    items: Any = None,
    users: Any = None,
    relations: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Dataset:
    """What `read` does, with a judge that may collect faults instead of raising them."""
    sides: dict[str, Any] = {}
    parts: dict[str, Path] = {}
    with ExitStack() as stack:
        path = None if isinstance(source, Table) else path_of(source)
        found: list[str] = []
        if isinstance(source, Table):
            tables = {"": source}
        elif path is not None and (path.is_dir() or not path.exists()):
            sides = dict(sides_in(path))
            tables, parts = _tables_in(path, stack, format, found)
        else:
            tables = {"": open_table(path if path is not None else source, stack, format)}
        coded = assemble(list(tables.values()), given, judge)
    own = next(iter(tables.values()))
    notes = [*found, *coded.notes]
    sides.update(own.sides)
    log_ = coded.parts[0]
    if len(tables) > 1:
        log_ = stacked(dict(zip(tables, coded.parts, strict=True)), "part" if parts else COLUMN)
        if not parts:
            disjoint(log_, list(tables), path)
    if parts:
        notes.append(f"Read {', '.join(p.name for p in parts.values())} as one log; read_split keeps the parts apart.")
    frames: dict[str, pl.DataFrame] = {}
    for side, asked in (("users", users), ("items", items)):
        vocabulary = coded.users if side == "users" else coded.items
        if asked is not None:
            frames[side] = feature_table(asked, vocabulary, side, notes)
        elif side in sides:
            try:
                frames[side] = feature_table(sides[side], vocabulary, side, notes)
                notes.append(f"Found a table of {side} beside the log.")
            except DataError as error:  # nobody asked for it, so it cannot stop the reading
                notes.append(f"A table of {side} lies beside the log but was left out: {error}")
    edges: dict[str, Relation] = {}
    wanted = relations if relations is not None else sides.get("relations", {})
    if wanted:
        edges, named = relations_of(wanted, coded.users, coded.items, judge, notes)
        frames.update(named)
    (log_,) = domains_from_log([log_], frames, len(coded.items), notes)
    data = Dataset(log_, coded.users, coded.items, frames, edges, name or own.name, tuple(notes))
    return data.with_pairs(coded.pairs if len(tables) == 1 else None)


def _tables_in(
    path: Path, stack: ExitStack, format: str | None, notes: list[str]
) -> tuple[dict[str, Table], dict[str, Path]]:
    """The tables of a folder by name, and the files of its published parts: one log, parts, or a log a domain."""
    log, parts = None, parts_in(path) if not path.is_dir() else {}
    try:
        log = None if parts else log_in(path)
    except DataError:
        tables = tables_by_domain(path, stack, notes)
        if not tables:
            raise
        for table in tables.values():
            table.name = path.resolve().name
        return tables, {}
    if log is not None:
        return {"": open_table(log, stack, format)}, {}
    parts = parts or parts_in(path)
    tables = {role: open_table(p, stack, format) for role, p in parts.items()}
    if not path.is_dir():
        for table in tables.values():
            table.name = path.name
    return tables, parts


def read_split(
    source: Any,
    *,
    items: Any = None,
    users: Any = None,
    relations: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Dataset, Interactions]:
    """A published split: (training log, test events) over one vocabulary.

    source: a folder with files called train and test (any format that `read` knows; `test_cold_items` and the
    like count where there is one), or the pair itself (train, test), or (train, valid, test). Ids of every
    part are in the vocabulary; row ids of test lie above all others. A validation part is left out here and
    said so in the notes: `read_parts` gives it.

    """
    data, test, valid = read_parts(source, items=items, users=users, relations=relations, **options)
    if valid is not None:
        note = f"{len(valid):,} events of the published validation part were left out; read_parts gives them."
        data = Dataset(
            data.interactions,
            data.users,
            data.items,
            data.tables,
            data.relations,
            data.name,
            (*data.notes, note),
        )
    return data, test


def read_parts(
    train: Any,
    test: Any = None,
    valid: Any = None,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    format: str | None = None,
    items: Any = None,
    users: Any = None,
    relations: Mapping[str, Any] | None = None,
    name: str | None = None,
    on_bad: str = "refuse",
) -> tuple[Dataset, Interactions, Interactions | None]:
    """Published parts over one vocabulary: (training log, test events, validation events or None).

    train: a folder, a pair or triple (train, test) / (train, valid, test), or the training table with `test`
    and perhaps `valid` given beside it. The order of row ids is train, valid, test.

    """
    sides: dict[str, Any] = {}
    set_name = ""
    if test is None:
        if isinstance(train, Sequence) and not isinstance(train, str):
            if len(train) not in (2, 3):
                raise DataError(f"A split is (train, test) or (train, valid, test); {len(train)} parts were given.")
            train, valid, test = (train[0], None, train[1]) if len(train) == 2 else train
        else:
            folder = path_of(train)
            if folder is None or folder.is_file():
                raise DataError("A published split is a folder with train and test files, or the pair (train, test).")
            found = parts_in(folder)
            set_name = "" if folder.is_dir() else folder.name
            if not {"train", "test"} <= found.keys():
                names = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
                refuse(
                    folder,
                    f"no files called train and test (it holds {names})",
                    "Give the pair (train, test) itself.",
                )
            sides = dict(sides_in(folder))
            train, valid, test = found["train"], found.get("valid"), found["test"]
    sources = [train, test] if valid is None else [train, valid, test]
    judge = judge_of(on_bad)
    with ExitStack() as stack:
        tables = [open_table(s, stack, format) for s in sources]
        coded = assemble(tables, {"user": user, "item": item, "value": value, "time": time}, judge)
    notes = coded.notes
    frames: dict[str, pl.DataFrame] = {}
    for side, asked in (("users", users), ("items", items)):
        chosen = asked if asked is not None else sides.get(side)
        if chosen is not None:
            vocabulary = coded.users if side == "users" else coded.items
            frames[side] = feature_table(chosen, vocabulary, side, notes)
    edges, named = relations_of(relations or {}, coded.users, coded.items, judge, notes)
    frames.update(named)
    logs = domains_from_log(coded.parts, frames, len(coded.items), notes)
    label = name or set_name or tables[0].name
    data = Dataset(logs[0], coded.users, coded.items, frames, edges, label, tuple(notes)).with_pairs(coded.pairs)
    return data, logs[-1], logs[1] if valid is not None else None
