"""Rows of a log as fields: who, what, their tables, and the context of the row; with a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.dataset import Dataset
from oakum.data.fields import MISSING, UNKNOWN, Coder, Codes, Layout, Values
from oakum.data.interactions import Interactions
from oakum.data.ragged import Ids
from oakum.errors import DataError, ParameterError, nearest

GROUPS = ("user", "item", "context")
_NOT_CONTEXT = frozenset(("split", "part", "set", "fold", "row", "slate", "position", "propensity"))


@dataclass(frozen=True, slots=True, eq=False)
class RowCoder:
    """How a row becomes slots: those of its user, of its item (both looked up by code) and of its context columns.

    users, items: slots of every user and item (codes int32, values float32, one row a code; no columns where the log has
    none), made once from the tables. A user or item without a training row has the id "unknown" and the features of its
    table; code -1 has the id "unknown" and nothing else.
    """

    user: Coder
    item: Coder
    context: Coder
    users: tuple[Codes, Values]
    items: tuple[Codes, Values]

    @classmethod
    def learn(
        cls,
        data: Dataset,
        *,
        chosen: Sequence[str] = (),
        kinds: Mapping[str, str] | None = None,
        min_count: int = 2,
        max_values: int = 16,
    ) -> RowCoder:
        """Vocabularies of the rows of `data`, which must be training rows only.

        chosen: names of the fields to use ("user" and "item" are the ids), none for all; kinds: kinds by name in place of
        the guess. Raises `ParameterError` for a name that the data lack, `DataError` where no field is left.
        """
        columns = columns_of(data)
        known = {name for group in columns.values() for name in group}
        for name in (*chosen, *(kinds or {})):
            if name not in known:
                raise ParameterError(f"'{data.name}' has no field '{name}'.{nearest(name, known)}")
        counts = {
            "user": np.bincount(data.interactions.users[data.interactions.users >= 0], minlength=data.num_users),
            "item": np.bincount(data.interactions.items[data.interactions.items >= 0], minlength=data.num_items),
            "context": None,
        }
        wanted = {"user": "categorical", "item": "categorical", **(kinds or {})}
        coders: dict[str, Any] = {
            group: Coder.learn(
                {k: v for k, v in own.items() if not chosen or k in chosen},
                kinds={k: v for k, v in wanted.items() if k in own},
                weights=counts[group],
                min_count=min_count,
                max_values=max_values,
            )
            for group, own in columns.items()
        }
        if not any(len(c.fields) for c in coders.values()):
            raise DataError(f"'{data.name}' has no column that can be a field: nothing but constants, keys or vectors.")
        return cls(**coders, **_tables(coders, data))

    @property
    def layout(self) -> Layout:
        """All fields: user, item, context."""
        return self.user.layout + self.item.layout + self.context.layout

    def sizes(self) -> dict[str, int]:
        """What a model is built from, for `Schema.sizes`."""
        return {k: v for g in GROUPS for k, v in getattr(self, g).layout.sizes(g).items()}

    def over(self, data: Dataset) -> RowCoder:
        """The same vocabularies over the tables of `data` (newer features of the same users and items)."""
        coders: dict[str, Any] = {g: getattr(self, g) for g in GROUPS}
        return RowCoder(**coders, **_tables(coders, data))

    def facts(self) -> dict[str, NDArray[Any]]:
        """Arrays that are saved beside the weights."""
        out = {f"{g}/{k}": v for g in GROUPS for k, v in getattr(self, g).facts().items()}
        for name in ("users", "items"):
            out[f"{name}/codes"], out[f"{name}/values"] = getattr(self, name)
        return out

    @classmethod
    def from_facts(cls, sizes: Mapping[str, int], facts: Mapping[str, NDArray[Any]]) -> RowCoder:
        """The inverse of `sizes` and `facts`."""
        coders: dict[str, Any] = {
            g: Coder.from_facts(
                Layout.from_sizes(sizes, g), {k[len(g) + 1 :]: v for k, v in facts.items() if k.startswith(f"{g}/")}
            )
            for g in GROUPS
        }
        tables: dict[str, Any] = {
            name: (facts[f"{name}/codes"], facts[f"{name}/values"]) for name in ("users", "items")
        }
        return cls(**coders, **tables)

    def encode(self, log: Interactions) -> tuple[Codes, Values]:
        """Slots of the rows of a log over the codes of the training data: int32 and float32 [n, slots].

        Raises `DataError` where the rows have nothing that a field reads: no column of the context, nobody and nothing known.
        """
        own = [f.name for f in self.context.fields]
        strange = not (self.user.fields and (log.users >= 0).any()) and not (
            self.item.fields and (log.items >= 0).any()
        )
        if len(log) and own and strange and not any(name in log.fields for name in own):
            raise DataError(
                f"These rows have none of the columns that the model reads ({_listed(own)}) and no user or item that it knows; "
                f"name the columns as in training (they have: {_listed(list(log.fields)) or 'none'})."
            )
        return self.join(log.users, log.items, *self.context.encode(log.fields, len(log)))

    def remarks(self, log: Interactions) -> tuple[str, ...]:
        """What these rows lack and what training did not know of them, in a sentence each."""
        out = []
        lacking = [f.name for f in self.context.fields if f.name not in log.fields]
        if lacking:
            out.append(
                f"The rows have no column {_listed(lacking)}, which the model reads: it takes the values as missing."
            )
        shares = []
        for name, codes in (("user", log.users), ("item", log.items)):
            if name in self.layout.names and (codes < 0).any():
                shares.append((float((codes < 0).mean()), name, ""))
        for field in self.context.fields:
            if field.name in log.fields and field.kind != "numeric":
                unknown = (field.encode(log.fields[field.name])[0] == UNKNOWN).any(1)
                if unknown.any():
                    first = log.fields[field.name][int(np.flatnonzero(unknown)[0])]
                    shares.append((float(unknown.mean()), field.name, f" (first: {str(first)!r})"))
        if shares:
            said = [f"{name} in {share:.1%} of the rows{first}" for share, name, first in sorted(shares, reverse=True)]
            out.append(
                f"Values that training did not know, or met too seldom, share one vector a field: {_listed(said, 5)}."
            )
        return tuple(out)

    def join(self, users: Ids, items: Ids, codes: Codes, values: Values) -> tuple[Codes, Values]:
        """Slots of users and items (codes [n], -1 unknown) beside slots of the context [n, slots]."""
        u, i = _take(self.users, self.user, users, "user"), _take(self.items, self.item, items, "item")
        return np.concatenate([u[0], i[0], codes], 1), np.concatenate([u[1], i[1], values], 1)


def columns_of(data: Dataset) -> dict[str, dict[str, Any]]:
    """The columns that may be fields, by group: one cell a user, an item, a row."""
    out: dict[str, dict[str, Any]] = {"user": {}, "item": {}, "context": {}}
    taken: set[str] = set()

    def put(group: str, name: str, column: Any) -> None:
        new = name if name not in taken else f"{group}_{name}"
        taken.add(new)
        out[group][new] = column

    for group, vocabulary in (("user", data.users), ("item", data.items)):
        if len(vocabulary):
            put(group, group, pl.Series(np.arange(len(vocabulary), dtype=np.int64)))
    for group, table in (("user", data.tables.get("users")), ("item", data.tables.get("items"))):
        if table is not None and out[group]:
            for name in table.columns:
                put(group, name, table[name])
    for name, column in data.interactions.fields.items():
        if name not in _NOT_CONTEXT:
            put("context", name, column)
    return out


def labels_of(log: Interactions, positive_from: float | None, name: str = "log") -> NDArray[np.float32]:
    """Labels 0 or 1 of the rows: the values as they are, or whether they reach `positive_from`."""
    if log.values is None:
        raise DataError(
            f"'{name}' has no label: a column of 0 and 1 (click, label) is what a model of rows learns from and is measured "
            "on. Name it with value=NAME."
        )
    if positive_from is not None:
        return (log.values >= positive_from).astype(np.float32)
    wrong = (log.values != 0) & (log.values != 1)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"The label of row {int(log.rows[at]) + 1} of '{name}' is {log.values[at]:g}, and labels are 0 or 1. Say from "
            "which value on a row is positive: positive_from=4, for example."
        )
    return log.values


def _listed(names: Sequence[str], most: int = 8) -> str:
    """'a, b and 3 more'."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _tables(coders: Mapping[str, Coder], data: Dataset) -> dict[str, Any]:
    columns = columns_of(data)
    sizes = {"users": ("user", data.num_users), "items": ("item", data.num_items)}
    return {name: coders[group].encode(columns[group], n) for name, (group, n) in sizes.items()}


def _take(table: tuple[Codes, Values], coder: Coder, which: Ids, own: str) -> tuple[Codes, Values]:
    """Rows of a table by code; for -1 the id is unknown and all else missing."""
    codes, values = table
    if not codes.shape[1]:
        return np.zeros((len(which), 0), np.int32), np.zeros((len(which), 0), np.float32)
    known = which >= 0
    if known.all():
        return codes[which], values[which]
    safe = np.where(known, which, 0)
    if not len(codes):
        codes, values = np.zeros((1, codes.shape[1]), np.int32), np.zeros((1, codes.shape[1]), np.float32)
    blank, weight = coder.encode({}, 1)
    if coder.layout.names[0] == own:
        blank[0, 0] = UNKNOWN
    assert MISSING == 0
    return np.where(known[:, None], codes[safe], blank), np.where(known[:, None], values[safe], weight)
