"""Changes as values: what an attack would alter, and what it costs."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data import Dataset, Interactions, Ragged, Vocabulary
from oakum.parameters import Parameters, Range
from oakum.seeds import generator


class Budget(Parameters):
    """What an attack may spend, or has spent."""

    users: Annotated[int, Range(0), "fake accounts"] = 0
    items: Annotated[int, Range(0), "added items"] = 0
    clicks: Annotated[int, Range(0), "events of fake accounts"] = 0
    edits: Annotated[int, Range(0), "changed rows of the log"] = 0
    queries: Annotated[int, Range(0), "looks at the victim"] = 0
    norm: Annotated[float, Range(0), "size of a perturbation"] = 0.0

    def shortfalls(self, cost: Budget) -> list[str]:
        """Where a cost exceeds this budget, in words."""
        names = ("users", "items", "clicks", "edits", "queries", "norm")
        return [f"{n}: {getattr(cost, n)} of {getattr(self, n)}" for n in names if getattr(cost, n) > getattr(self, n)]


class Change(Protocol):
    """What an attack would alter, as a value. `apply` is pure: undoing is dropping the result."""

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
        if target.users.ids.dtype == pl.Int64:
            top = int(target.users.ids.max() or 0)  # type: ignore[arg-type]
            ids: list[Any] = [top + 1 + i for i in range(fresh)]
        else:
            known = set(target.users.ids.to_list())
            ids = []
            number = 0
            while len(ids) < fresh:
                number += 1
                if (name := f"added-{number}") not in known:
                    ids.append(name)
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


@dataclass(frozen=True, eq=False)
class EditEvents:
    """Removed rows of the log, by row id."""

    remove: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def apply(self, target: Dataset) -> Dataset:
        """The log without them; all other rows keep their ids."""
        log = target.interactions
        return target.with_interactions(log.take(~np.isin(log.rows, self.remove)))

    def cost(self) -> Budget:
        """One edit a row."""
        return Budget(edits=len(self.remove))

    def digest(self) -> str:
        """SHA-256 of the row ids."""
        return hashlib.sha256(np.sort(self.remove).tobytes()).hexdigest()
