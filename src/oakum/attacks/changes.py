"""Changes as values: what an attack would alter, and what it costs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data import Dataset, Interactions, Ragged, Vocabulary
from oakum.data.texts import text_columns
from oakum.engine.federation import Hostile, federated
from oakum.engine.plan import Plan
from oakum.errors import DataError, OakumError
from oakum.parameters import Parameters, Range
from oakum.seeds import generator

#: What of a budget adds up over changes.
_ADDED = ("users", "items", "clicks", "edits", "queries", "rounds")


class Budget(Parameters):
    """What an attack may spend, or has spent."""

    users: Annotated[int, Range(0), "fake accounts, or hostile clients of a federation"] = 0
    items: Annotated[int, Range(0), "added items"] = 0
    clicks: Annotated[int, Range(0), "events of fake accounts"] = 0
    edits: Annotated[int, Range(0), "changed rows of the log"] = 0
    queries: Annotated[int, Range(0), "looks at the victim"] = 0
    rounds: Annotated[int, Range(0), "rounds of a federation in which hostile clients answer"] = 0
    norm: Annotated[float, Range(0), "size of a perturbation; of a rewritten text 1 − its cosine with what it was"] = (
        0.0
    )
    perplexity: Annotated[float, Range(0), "largest perplexity of a written text, in medians of the catalogue's"] = 0.0

    def covers(self, cost: Budget) -> bool:
        """Whether nothing of a cost exceeds this budget."""
        return not self.shortfalls(cost)

    def __add__(self, other: Budget) -> Budget:
        """What two changes spend together; sizes of perturbations do not add up, the larger one counts."""
        sums = {n: getattr(self, n) + getattr(other, n) for n in _ADDED}
        return Budget(**sums, norm=max(self.norm, other.norm), perplexity=max(self.perplexity, other.perplexity))

    def shortfalls(self, cost: Budget) -> list[str]:
        """Where a cost exceeds this budget, in words."""
        names = (*_ADDED, "norm", "perplexity")
        return [f"{n}: {getattr(cost, n)} of {getattr(self, n)}" for n in names if getattr(cost, n) > getattr(self, n)]


class Change(Protocol):
    """What an attack would alter, as a value. `apply` is pure: undoing is dropping the result.

    Changes alter the log; one with `alters = "plan"` takes a plan and gives a plan, and never meets the log.
    """

    def apply(self, target: Any) -> Any:
        """A changed copy."""
        ...

    def cost(self) -> Budget:
        """What it spends, counted from the change itself."""
        ...

    def digest(self) -> str:
        """Its identity."""
        ...


@dataclass(frozen=True, eq=False)
class AddProfiles:
    """Fake accounts. profiles: one row of item codes an account; values and times are taken from it where the log
    has such columns (missing values become the log's maximum, missing times are spread over the log's span)."""

    profiles: Ragged
    knowledge: str = "none"

    def apply(self, target: Dataset) -> Dataset:
        """The log with the accounts at its end, under new user ids and new row ids."""
        fresh = len(self.profiles)
        if not fresh:
            return target
        ids = _fresh_ids(target.users.ids, fresh)
        users = Vocabulary(pl.concat([target.users.ids, pl.Series("id", ids, dtype=target.users.ids.dtype)]))
        log = target.interactions
        owners = (self.profiles.owners() + len(target.users)).astype(np.int32)
        values = times = None
        if log.values is not None:
            values = self.profiles.values
            if values is None:
                values = np.full(len(owners), log.values.max(), np.float32)
        if log.times is not None:
            times = self.profiles.times
            if times is None:
                rng = generator(0, "times of added events", self.digest())
                times = rng.integers(log.times.min(), log.times.max() + 1, len(owners))
        added = Interactions(owners, self.profiles.items, values, times)
        tables = dict(target.tables)
        if "users" in tables:
            blank = pl.DataFrame({c: pl.Series([None] * fresh, dtype=t) for c, t in tables["users"].schema.items()})
            tables["users"] = pl.concat([tables["users"], blank])
        return dataclasses.replace(target, interactions=log.append(added), users=users, tables=tables)

    def cost(self) -> Budget:
        """Accounts and events."""
        return Budget(users=len(self.profiles), clicks=len(self.profiles.items))

    def digest(self) -> str:
        """SHA-256 of the profiles."""
        sha = hashlib.sha256(np.ascontiguousarray(self.profiles.offsets).data)
        for column in (self.profiles.items, self.profiles.values, self.profiles.times):
            if column is not None:
                sha.update(np.ascontiguousarray(column).data)
        return sha.hexdigest()


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


def _no_items() -> NDArray[np.int32]:
    return np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class EditEvents:
    """Edited rows of the log, all by row id: removed; given another item (`items`); preceded by a new event of the same
    person (`before`, with the items `added`). Rows that stay keep their ids, new ones get ids above all old ones."""

    remove: NDArray[np.int64] = field(default_factory=_no_rows)
    replace: NDArray[np.int64] = field(default_factory=_no_rows)
    items: NDArray[np.int32] = field(default_factory=_no_items)
    before: NDArray[np.int64] = field(default_factory=_no_rows)
    added: NDArray[np.int32] = field(default_factory=_no_items)

    def apply(self, target: Dataset) -> Dataset:
        """The edited log, over the same people and items."""
        log = target.interactions
        if len(self.before):
            log = log.with_before(self.before, self.added)
        if len(self.replace):
            log = log.with_items(self.replace, self.items)
        return target.with_interactions(log.without(self.remove) if len(self.remove) else log)

    def cost(self) -> Budget:
        """One edit a row."""
        return Budget(edits=len(self.remove) + len(self.replace) + len(self.before))

    def digest(self) -> str:
        """SHA-256 of what is edited, whatever the order it was named in."""
        sha = hashlib.sha256(np.sort(self.remove).tobytes())
        for rows, items in ((self.replace, self.items), (self.before, self.added)):
            order = np.argsort(rows, kind="stable")
            sha.update(b"|" + rows[order].astype(np.int64).tobytes() + items[order].astype(np.int32).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class HostileClients:
    """Clients of a federation that upload what they like. Applied to a plan; the log stays as it is."""

    hostile: Hostile
    alters = "plan"

    def apply(self, target: Plan) -> Plan:
        """The plan whose federation has these clients in it."""
        return target.replace(step=federated(target.step).replace(hostile=self.hostile))

    def cost(self) -> Budget:
        """Clients, and the rounds in which they may answer."""
        return Budget(users=self.hostile.clients, rounds=self.hostile.rounds)

    def digest(self) -> str:
        """SHA-256 of the clients' description."""
        return hashlib.sha256(json.dumps(self.hostile.to_json(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class AddItems:
    """New items that say something: one text each, put into the first text column of the table of items; their other
    columns are null and nobody has them."""

    texts: tuple[str, ...]

    def apply(self, target: Dataset) -> Dataset:
        """The log with the items at the end of its catalogue, under new ids."""
        fresh = len(self.texts)
        if not fresh:
            return target
        column = text_column(target)
        table = target.tables["items"]
        blank: dict[str, pl.Series] = {c: pl.Series([None] * fresh, dtype=t) for c, t in table.schema.items()}
        blank[column] = pl.Series(list(self.texts), dtype=pl.String)
        tables = {**target.tables, "items": pl.concat([table, pl.DataFrame(blank)])}
        ids = pl.Series("id", _fresh_ids(target.items.ids, fresh), dtype=target.items.ids.dtype)
        return dataclasses.replace(target, items=Vocabulary(pl.concat([target.items.ids, ids])), tables=tables)

    def cost(self) -> Budget:
        """One item a text."""
        return Budget(items=len(self.texts))

    def digest(self) -> str:
        """SHA-256 of the texts."""
        return hashlib.sha256("\x1f".join(self.texts).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class EditText:
    """Other words for items that exist: the first text column of the items `codes` becomes `texts`."""

    codes: tuple[int, ...]
    texts: tuple[str, ...]

    def apply(self, target: Dataset) -> Dataset:
        """The same log over a catalogue that reads differently."""
        if not self.codes:
            return target
        column = text_column(target)
        table = target.tables["items"]
        words = table[column].to_list()
        for code, text in zip(self.codes, self.texts, strict=True):
            words[code] = text
        changed = table.with_columns(pl.Series(column, words, dtype=pl.String))
        return dataclasses.replace(target, tables={**target.tables, "items": changed})

    def cost(self) -> Budget:
        """One edit a text."""
        return Budget(edits=len(self.codes))

    def digest(self) -> str:
        """SHA-256 of codes and texts."""
        rows = sorted(zip(self.codes, self.texts, strict=True))
        return hashlib.sha256("\x1f".join(f"{c} {t}" for c, t in rows).encode()).hexdigest()


def text_column(target: Dataset) -> str:
    """The column that a written text goes into: the first in which the catalogue speaks in plain strings; `DataError`
    where there is none."""
    table = target.tables.get("items")
    plain = [] if table is None else [c for _, c in text_columns(table) if table.schema[c] == pl.String]
    if not plain:
        raise DataError(
            f"'{target.name}' has no column of plain text for its items, so no text can be written: give a table of "
            "items with item_id and title."
        )
    return plain[0]


def _fresh_ids(known: pl.Series, count: int) -> list[Any]:
    """Ids that nobody has: the next numbers, or added-1, added-2, …"""
    if known.dtype == pl.Int64:
        top = int(known.max() or 0)  # type: ignore[arg-type]
        return [top + 1 + i for i in range(count)]
    taken, number = set(known.to_list()), 0
    out: list[Any] = []
    while len(out) < count:
        number += 1
        if (name := f"added-{number}") not in taken:
            out.append(name)
    return out


@dataclass(frozen=True, eq=False)
class Nothing:
    """No change."""

    def apply(self, target: Any) -> Any:
        """The same value."""
        return target

    def cost(self) -> Budget:
        """Nothing."""
        return Budget()

    def digest(self) -> str:
        """The same for every nothing."""
        return hashlib.sha256(b"nothing").hexdigest()


def counted_plan(before: Plan, after: Plan, name: str) -> Budget:
    """What a change of a plan spent: the hostile clients that its federation now has, and the rounds given to them, which
    are the ones that the simulator will let them have. Raises `OakumError` where anything else was altered."""
    step, was = federated(after.step), federated(before.step)
    if after.replace(step=None) != before.replace(step=None) or step.replace(hostile=was.hostile) != was:
        raise OakumError(f"The change of '{name}' alters the plan beyond its hostile clients.")
    if step.hostile is None or step.hostile == was.hostile:
        return Budget()
    return Budget(users=step.hostile.clients, rounds=step.hostile.rounds)


def counted(before: Dataset, after: Dataset, name: str) -> Budget:
    """What a change spent, counted by comparing the log before with the log after.

    users, items: new ids. clicks: new events of new users. edits: everything that touches what was there: rows that
    were removed or altered, rows put under the names of existing people, altered rows of feature tables. Raises
    `OakumError` where old ids moved, row ids repeat, codes do not exist, or relations were changed.
    """
    for kind, old_ids, new_ids in (("user", before.users, after.users), ("item", before.items, after.items)):
        if old_ids is not new_ids and not new_ids.ids.head(len(old_ids)).equals(old_ids.ids):
            raise OakumError(
                f"The change of '{name}' moves {kind} ids that exist; new ids must come after the old ones."
            )
    if any(after.relations.get(n) is not r for n, r in before.relations.items()):
        raise OakumError(f"The change of '{name}' alters relations, which no budget counts yet.")
    old, new = before.interactions, after.interactions
    for kind, codes, size in (("user", new.users, after.num_users), ("item", new.items, after.num_items)):
        if len(codes) and not (codes.min() >= 0 and codes.max() < size):
            raise OakumError(f"The change of '{name}' adds events of a {kind} that does not exist (of {size} {kind}s).")
    if len(np.unique(new.rows)) < len(new):
        raise OakumError(f"The change of '{name}' uses a row id twice; added rows need ids above the old ones.")
    order = np.argsort(old.rows, kind="stable")
    at = np.searchsorted(old.rows[order], new.rows)
    known = (at < len(old)) & (old.rows[order[np.minimum(at, len(old) - 1)]] == new.rows) if len(old) else at < 0
    there, was = np.flatnonzero(known), order[at[known]]
    altered = np.zeros(len(there), bool)
    was_columns, columns = old.columns(), new.columns()
    for column, values in columns.items():
        if column in was_columns:
            a, b = was_columns[column][was], values[there]
            same = (a == b) | (np.not_equal(a, a) & np.not_equal(b, b))  # NaN where NaN was
            altered |= ~np.asarray(same, bool)
    if was_columns.keys() - columns.keys():
        altered[:] = True  # a column that is gone is an edit of every row
    edits = len(old) - len(there) + int(altered.sum())
    fresh_people = new.users[~known] >= before.num_users
    for table, frame in before.tables.items():
        found = after.tables.get(table)
        if found is not frame:
            rows = frame.hash_rows(seed=1)
            now = None if found is None else found.head(len(frame)).hash_rows(seed=1)
            edits += len(frame) if now is None or len(now) != len(rows) else int((rows != now).sum())
    return Budget(
        users=after.num_users - before.num_users,
        items=after.num_items - before.num_items,
        clicks=int(fresh_people.sum()),
        edits=edits + int((~fresh_people).sum()),
    )
