"""Tables to events: roles found, cells judged, ids coded over one vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data import cells
from oakum.data.coding import codes_of, repeated_pairs, same_kind, vocabulary_of
from oakum.data.columns import Roles, guess, plain
from oakum.data.interactions import Interactions
from oakum.data.issues import Issue, Judge
from oakum.data.readers.table import Columns, Table
from oakum.data.vocabulary import Vocabulary

_FIELDS = 200  # more context columns than this are features, not context


@dataclass
class Coded:
    """Events of one or more tables over one vocabulary."""

    parts: list[Interactions]
    users: Vocabulary
    items: Vocabulary
    notes: list[str]


def assemble(tables: Sequence[Table], given: Mapping[str, str | None], judge: Judge) -> Coded:
    """Code the ids of all tables together; row ids go on from one table to the next.

    Only the columns that are wanted are read, ids first; each is let go of once its array stands.
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
    sources = [Columns(t, [*r.used(), *fields]) for t, (r, fields) in zip(tables, plans, strict=True)]
    vocabularies, codes = [], []
    for role in ("user", "item"):
        named = [getattr(r, role) for r, _ in plans]
        if None in named:
            vocabularies.append(Vocabulary.of([]))
            codes.append([np.full(t.rows(), -1, np.int32) for t in tables])
            continue
        columns = [cells.ids(t, s.take(name), role, judge) for t, s, name in zip(tables, sources, named, strict=True)]
        if not len(columns[0]):
            found = f"the columns {', '.join(tables[0].schema())[:200]} and no rows"
            judge.fail(Issue(tables[0].where, found, "There is nothing to learn from."))
        columns = same_kind(columns)
        vocabulary = vocabulary_of(columns)
        if len(vocabulary) == 1:
            name = named[0]
            found = f"every row has the same {role} ({vocabulary.ids[0]!r}), so there is nothing to learn"
            cure = f"If this is the wrong column, say which holds the {role} with {role}=NAME."
            judge.fail(Issue(tables[0].where, found, cure, column=name))
        vocabularies.append(vocabulary)
        codes.append([codes_of(c, vocabulary) for c in columns])
    parts, start = [], 0
    for n, (table, source, (roles, fields)) in enumerate(zip(tables, sources, plans, strict=True)):
        part = _events(table, source, roles, fields, codes[0][n], codes[1][n], start, judge, notes)
        start += len(codes[0][n])
        parts.append(part)
    if not len(parts[0]):
        found = f"the columns {', '.join(tables[0].schema())[:200]} and no rows"
        judge.fail(Issue(tables[0].where, found, "There is nothing to learn from."))
    both = len(vocabularies[0]) > 0 and len(vocabularies[1]) > 0
    twice = repeated_pairs(parts[0].users, parts[0].items, len(vocabularies[1])) if both else 0
    if twice:
        notes.append(
            f"{twice:,} of {len(parts[0]):,} rows repeat a user and item of an earlier row: all are kept as "
            "events, and "
            "models of who had what merge them."
        )
    return Coded(parts, vocabularies[0], vocabularies[1], list(dict.fromkeys(notes)))


def _plan(
    table: Table, given: Mapping[str, str | None], notes: list[str], *, by_place: bool = True
) -> tuple[Roles, list[str]]:
    """The roles of a table's columns and the context columns worth reading."""
    schema = table.schema()
    sample = table.sample() if not table.named or table.loose is not None else None
    roles = guess(schema, given, table.where, known=table.roles, named=table.named, by_place=by_place, sample=sample)
    notes.extend([*table.notes, *roles.notes])
    free = [c for c in schema if c not in roles.used()]
    fields: list[str] = []
    dropped: list[str] = []
    for column in free:
        if column in ("", "index", "Unnamed: 0", "__index_level_0__", "column_0"):
            continue
        fit = cells.fit_for_field(schema[column])
        if fit and schema[column] == pl.String and not roles.labelled:
            fit = _few_values(table, column, sample)
        (fields if fit else dropped).append(column)
    if len(fields) > _FIELDS:
        notes.append(
            f"Left out {len(fields) - _FIELDS} of {len(fields)} context columns: only the first {_FIELDS} are kept."
        )
        fields = fields[:_FIELDS]
    if dropped:
        notes.append(
            f"Left out {_listed(dropped)}: neither numbers nor categories of fewer than {cells.DISTINCT} values."
        )
    return roles, fields


def _few_values(table: Table, column: str, sample: pl.DataFrame | None) -> bool:
    """Whether the first rows leave it possible that a text column is a category."""
    if sample is not None:
        return sample[column].n_unique() < 0.9 * cells.DISTINCT
    with table.guarded():
        head = table.frame.select(pl.col(column)).head(100_000).select(pl.col(column).n_unique()).collect()
    return int(head.item()) < cells.DISTINCT


def _events(
    table: Table,
    source: Columns,
    roles: Roles,
    fields: Sequence[str],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    start: int,
    judge: Judge,
    notes: list[str],
) -> Interactions:
    values = cells.numbers(table, source.take(roles.value), judge) if roles.value else None
    moments = cells.times(table, source.take(roles.time), judge, notes) if roles.time else None
    context: dict[str, NDArray[Any]] = {}
    if roles.position:
        column = source.take(roles.position)
        moments = _from_position(users, column)
        if moments is None:
            notes.append(f"'{roles.position}' repeats within a user, so it orders no history; kept as a context field.")
            kept = cells.context(column)
            if kept is not None:
                context[plain(roles.position)] = kept
        else:
            notes.append(
                f"Took '{roles.position}' as the order of each history: it stands as time in seconds. "
                "Moments of different "
                "users cannot be compared, so a split by time would mean nothing."
            )
    for name in fields:
        kept = cells.context(source.take(name), distinct=None if roles.labelled else cells.DISTINCT)
        if kept is None:
            notes.append(f"Left out '{name}': neither numbers nor a category of fewer than {cells.DISTINCT} values.")
        else:
            context[_free_name(plain(name) or name, context)] = kept
    rows = np.arange(start, start + len(users), dtype=np.int64)
    log = Interactions(users, items, values, moments, rows, context)
    known = np.ones(len(log), bool)
    for role, coded in (("user", log.users), ("item", log.items)):
        if getattr(roles, role) is not None:
            known &= coded >= 0
    return log if known.all() else log.take(known)


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
