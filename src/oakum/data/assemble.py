"""Tables to events: roles found, cells judged, ids coded over one vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.cells import (
    DISTINCT,
    ContextCells,
    Held,
    IdCells,
    NumberCells,
    TimeCells,
    fit_for_field,
    numbers_of,
)
from oakum.data.coding import repeated_pairs
from oakum.data.columns import Roles, guess, plain
from oakum.data.filling import count_up, merged, whole
from oakum.data.interactions import Interactions
from oakum.data.issues import Issue, Judge
from oakum.data.ragged import Ids, Ragged
from oakum.data.readers.table import Mistyped, Table
from oakum.data.vocabulary import Vocabulary

MANY = 4_000_000  # rows from which on columns are filled side by side
_FIELDS = 200  # more context columns than this are features, not context


@dataclass
class Coded:
    """Events of one or more tables over one vocabulary, and the distinct pairs of the first where it has any."""

    parts: list[Interactions]
    users: Vocabulary
    items: Vocabulary
    pairs: Ragged | None
    notes: list[str]


def assemble(tables: Sequence[Table], given: Mapping[str, str | None], judge: Judge) -> Coded:
    """Code the ids of all tables together; row ids go on from one table to the next.

    Only the columns that are wanted are read, once and batch by batch; what is held of them is what the log keeps.
    """
    notes: list[str] = []
    plans = [_plan(tables[0], given, notes)]
    first = plans[0][0]
    for table in tables[1:]:  # a further part has the same ids under the same names, or none can be trusted
        there = table.schema() if table.named else {}
        same = {
            r: n for r in ("user", "item", "value", "time") if (n := getattr(first, r)) in there and not given.get(r)
        }
        table.roles = {**table.roles, **same}
        plans.append(_plan(table, given, notes, by_place=not table.named))
    read = [Taken.of(t, roles, fields, judge) for t, (roles, fields) in zip(tables, plans, strict=True)]
    if not read[0].rows:
        found = f"the columns {', '.join(tables[0].schema())[:200]} and no rows"
        judge.fail(Issue(tables[0].where, found, "There is nothing to learn from."))
    left_out = [taken.judged(judge, notes) for taken in read]
    roles = [role for role in ("user", "item") if read[0].rows and all(getattr(t, role) is not None for t in read)]
    with threads(read[0].rows) as each:
        coding = lambda role: merged([getattr(t, role).finish(out) for t, out in zip(read, left_out, strict=True)])
        found_codes = dict(zip(roles, each(coding, roles), strict=True))
    vocabularies, codes = [], []
    for role in ("user", "item"):
        if role not in found_codes:
            vocabularies.append(Vocabulary.of([]))
            codes.append([np.full(taken.rows, -1, np.int32) for taken in read])
            continue
        coded, ids = found_codes[role]
        vocabulary = Vocabulary(ids.rename("id"))
        if len(vocabulary) == 1:
            found = f"every row has the same {role} ({ids[0]!r}), so there is nothing to learn"
            cure = f"If this is the wrong column, say which holds the {role} with {role}=NAME."
            judge.fail(Issue(tables[0].where, found, cure, column=getattr(read[0], role).name))
        vocabularies.append(vocabulary)
        codes.append(coded)
    parts, start = [], 0
    for n, taken in enumerate(read):
        rows = np.empty(taken.rows, np.int64)
        count_up(rows, start)
        parts.append(taken.events(codes[0][n], codes[1][n], rows, notes))
        start += taken.rows
    sizes = len(vocabularies[0]), len(vocabularies[1])
    pairs = parts[0].pairs(*sizes) if min(sizes) else None
    if pairs is not None and len(pairs.items) < len(parts[0]):
        notes.append(
            f"{len(parts[0]) - len(pairs.items):,} of {len(parts[0]):,} rows repeat a user and item of an earlier row: all are kept as "
            "events, and "
            "models of who had what merge them."
        )
    return Coded(parts, vocabularies[0], vocabularies[1], pairs, list(dict.fromkeys(notes)))


@contextmanager
def threads(rows: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` over threads, as many as polars has and at most four, where there are rows enough; else the plain one."""
    n = min(4, pl.thread_pool_size()) if rows >= MANY else 1
    if n < 2:
        yield map
        return
    with ThreadPoolExecutor(n) as pool:
        yield pool.map


@dataclass
class Taken:
    """The columns of one table, filled. user, item, value, time: those of the roles that the table has."""

    table: Table
    roles: Roles
    rows: int
    user: IdCells | None
    item: IdCells | None
    value: NumberCells | None
    time: TimeCells | None
    context: dict[str, ContextCells]
    position: Held | None

    @classmethod
    def of(cls, table: Table, roles: Roles, fields: Sequence[str], judge: Judge) -> Taken:
        """Read a table; as text throughout where the types of its first rows do not hold further down."""
        try:
            return cls._read(table, roles, fields, judge, loosely=False)
        except Mistyped:
            return cls._read(table, roles, fields, judge, loosely=True)

    @classmethod
    def _read(cls, table: Table, roles: Roles, fields: Sequence[str], judge: Judge, *, loosely: bool) -> Taken:
        schema, room = table.schema(), table.room
        out = cls(table, roles, 0, None, None, None, None, {}, None)
        for role in ("user", "item"):
            name = getattr(roles, role)
            if name is not None and _holds_ids(table, name, schema[name], role, judge):
                setattr(out, role, IdCells(name, role, room))
        if roles.value and _holds_numbers(table, roles.value, schema[roles.value], judge):
            out.value = NumberCells(roles.value, room)
        out.time = TimeCells(roles.time, room) if roles.time else None
        out.position = Held(roles.position) if roles.position else None
        distinct = None if roles.labelled else DISTINCT
        out.context = {name: ContextCells(name, distinct) for name in fields}
        columns = [c for c in (out.user, out.item, out.value, out.time, out.position) if c is not None]
        columns = [*columns, *out.context.values()]
        with threads(room) as each:
            for part in table.batches([c.name for c in columns], loosely=loosely):
                out.rows += len(part)
                for _ in each(lambda column, part=part: column.add(part[column.name]), columns):
                    pass
        return out

    def judged(self, judge: Judge, notes: list[str]) -> NDArray[np.int64]:
        """Report faulty cells, ids first; the places of the rows that are left out for them."""
        for cells in (self.user, self.item, self.value, self.time):
            if cells is not None:
                cells.settle()
                cells.judged(self.table, judge)
        return judge.dropped(self.rows, self.table.where, notes)

    def events(self, users: Ids, items: Ids, rows: NDArray[np.int64], notes: list[str]) -> Interactions:
        """The log of this table, with these row ids."""
        values = self.value.finish() if self.value is not None else None
        moments = self.time.finish(notes) if self.time is not None else None
        context: dict[str, NDArray[Any]] = {}
        if self.position is not None:
            column, name = whole(self.position.held), self.position.name
            moments = _from_position(users, column)
            if moments is None:
                notes.append(f"'{name}' repeats within a user, so it orders no history; kept as a context field.")
                kept = numbers_of(column)
                if kept is not None:
                    context[plain(name)] = kept
            else:
                notes.append(
                    f"Took '{name}' as the order of each history: it stands as time in seconds. "
                    "Moments of different "
                    "users cannot be compared, so a split by time would mean nothing."
                )
        for name in list(self.context):
            kept = self.context.pop(name).finish()
            if kept is None:
                notes.append(f"Left out '{name}': neither numbers nor a category of fewer than {DISTINCT} values.")
            else:
                context[_free_name(plain(name) or name, context)] = kept
        log = Interactions(users, items, values, moments, rows, context)
        unknown = [
            coded < 0
            for cells, coded in ((self.user, users), (self.item, items))
            if cells is not None and len(coded) and coded.min() < 0
        ]
        return log.take(~np.logical_or.reduce(unknown)) if unknown else log


def _holds_ids(table: Table, name: str, kind: pl.DataType, role: str, judge: Judge) -> bool:
    if not kind.is_nested() and kind != pl.Object:
        return True
    cure = f"Name another column with {role}=NAME, or give one row an event."
    judge.fail(Issue(table.where, f"a {kind} where {role} ids were expected", cure, column=name))
    return False


def _holds_numbers(table: Table, name: str, kind: pl.DataType, judge: Judge) -> bool:
    if kind.is_numeric() or kind in (pl.String, pl.Boolean):
        return True
    judge.fail(Issue(table.where, f"a {kind} where numbers were expected", NumberCells.cure, column=name))
    return False


def _plan(
    table: Table, given: Mapping[str, str | None], notes: list[str], *, by_place: bool = True
) -> tuple[Roles, list[str]]:
    """The roles of a table's columns and the context columns worth reading."""
    schema = table.schema()
    sample = None if table.named else table.sample
    roles = guess(schema, given, table.where, known=table.roles, named=table.named, by_place=by_place, sample=sample)
    notes.extend([*table.notes, *roles.notes])
    free = [c for c in schema if c not in roles.used()]
    fields: list[str] = []
    dropped: list[str] = []
    for column in free:
        if column in ("", "index", "Unnamed: 0", "__index_level_0__", "column_0"):
            continue
        fit = fit_for_field(schema[column])
        if fit and schema[column] == pl.String and not roles.labelled:
            fit = _few_values(table, column)
        (fields if fit else dropped).append(column)
    if len(fields) > _FIELDS:
        notes.append(
            f"Left out {len(fields) - _FIELDS} of {len(fields)} context columns: only the first {_FIELDS} are kept."
        )
        fields = fields[:_FIELDS]
    if dropped:
        notes.append(f"Left out {_listed(dropped)}: neither numbers nor categories of fewer than {DISTINCT} values.")
    return roles, fields


def _few_values(table: Table, column: str) -> bool:
    """Whether the first rows leave it possible that a text column is a category."""
    if not table.named or table.loose is not None:
        return table.sample[column].n_unique() < 0.9 * DISTINCT
    with table.guarded():
        head = table.frame.select(pl.col(column)).head(100_000).select(pl.col(column).n_unique()).collect()
    return int(head.item()) < DISTINCT


def _from_position(users: NDArray[np.int32], column: pl.Series) -> NDArray[np.int64] | None:
    """Positions as seconds, if no user has the same one twice."""
    if column.null_count() or not len(column):
        return None
    place = column.cast(pl.Int64).to_numpy()
    if repeated_pairs(users, (place - place.min()).astype(np.int64), int(place.max() - place.min()) + 1):
        return None
    return place * 1_000_000


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    reserved = {"user", "item", "value", "time", "row", *taken}
    out, n = name, 2
    while out in reserved:
        out, n = f"{name}_{n}", n + 1
    return out


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def stacked(parts: Mapping[str, Interactions], field: str = "part") -> Interactions:
    """Several parts as one log, the name of the part of each row kept in a field."""
    logs = list(parts.values())

    def both(columns: list[Any]) -> Any:
        return None if any(c is None for c in columns) else np.concatenate(columns)

    shared = set.intersection(*[set(p.fields) for p in logs])
    fields = {k: np.concatenate([p.fields[k] for p in logs]) for k in sorted(shared)}
    fields[field] = np.concatenate([np.full(len(p), name) for name, p in parts.items()])
    return Interactions(
        np.concatenate([p.users for p in logs]),
        np.concatenate([p.items for p in logs]),
        both([p.values for p in logs]),
        both([p.times for p in logs]),
        np.concatenate([p.rows for p in logs]),
        fields,
    )
