"""A log with everything that hangs on it: vocabularies, tables of features, relations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.interactions import Interactions, ones
from oakum.data.ragged import Ids, Ragged
from oakum.data.vocabulary import Vocabulary
from oakum.errors import DataError

if TYPE_CHECKING:
    import polars as pl
    from scipy import sparse


@dataclass(frozen=True, slots=True)
class Schema:
    """The sizes a model is built from; all that a saved model needs to be rebuilt. Never data."""

    num_users: int
    num_items: int
    has_times: bool = False
    has_values: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)  # further numbers that only data can tell, by name

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "num_users": self.num_users,
            "num_items": self.num_items,
            "has_times": self.has_times,
            "has_values": self.has_values,
            "sizes": dict(self.sizes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """The inverse of `to_json`."""
        return cls(**value)


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Typed edges between two named tables: social links, bundles, knowledge graphs.

    sources, targets: int32 codes into the tables `source` and `target` ("users", "items" or a named table).
    """

    source: str
    target: str
    sources: Ids
    targets: Ids
    weights: NDArray[np.float32] | None = None
    times: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions plus vocabularies, feature tables and relations. Immutable: changes make new values.

    tables: polars frames by name; "users" and "items" have one row a code, in code order (columns: numbers,
    categories, lists, text, vectors). notes: what the reader guessed, in sentences. truth: what only a simulated
    market knows (latent tastes, who is planted), by name; empty for real data and never read by models.
    """

    interactions: Interactions
    users: Vocabulary
    items: Vocabulary
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    relations: Mapping[str, Relation] = field(default_factory=dict)
    name: str = "log"
    notes: tuple[str, ...] = ()
    truth: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.interactions)

    @property
    def num_users(self) -> int:
        """Size of the user vocabulary (users of every part of the log, also those without events here)."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """Size of the item vocabulary."""
        return len(self.items)

    @property
    def schema(self) -> Schema:
        """The sizes models are built from."""
        log = self.interactions
        return Schema(self.num_users, self.num_items, log.times is not None, log.values is not None)

    @property
    def has_pairs(self) -> bool:
        """Whether rows say who had what; a log of labelled rows may lack users or items."""
        return len(self.users) > 0 and len(self.items) > 0

    @cached_property
    def pairs(self) -> Ragged:
        """The distinct items of each user, rising. Shared: do not write to it."""
        if not self.has_pairs:
            absent = "users" if not len(self.users) else "items"
            raise DataError(
                f"'{self.name}' has no {absent}: its rows say what happened, not who had what. Name the columns when "
                "reading (user=NAME, item=NAME), or use a system that predicts rows."
            )
        return self.interactions.pairs(self.num_users, self.num_items)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """Binary CSR [users, items], float32, duplicates merged. Shared: do not write to it."""
        return ones(self.pairs, self.num_items)

    @cached_property
    def histories(self) -> Ragged:
        """Events of each user, oldest first."""
        return self.interactions.histories(self.num_users)

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Distinct users of each item, int64 [items]."""
        return np.bincount(self.pairs.items, minlength=self.num_items).astype(np.int64)

    @cached_property
    def user_counts(self) -> NDArray[np.int64]:
        """Distinct items of each user, int64 [users]."""
        return self.pairs.lengths

    def with_pairs(self, pairs: Ragged | None) -> Dataset:
        """The same, told its distinct pairs where they were found already."""
        out = replace(self)
        if pairs is not None:
            out.__dict__["pairs"] = pairs
        return out

    def with_interactions(self, interactions: Interactions) -> Dataset:
        """The same vocabularies, tables and relations over other events."""
        return replace(self, interactions=interactions)

    def without_users(self, codes: Ids) -> Dataset:
        """The log as if these users had never been in it: their events, ids, features and edges are gone, and the users
        after them have other codes. What only a simulated market knows is dropped."""
        import polars as pl

        stays = np.ones(self.num_users, bool)
        stays[np.asarray(codes, np.int64)] = False
        place = np.where(stays, np.cumsum(stays) - 1, -1).astype(np.int32)
        log = self.interactions.take(place[self.interactions.users] >= 0)
        tables = {n: t.filter(pl.Series(stays)) if n == "users" else t for n, t in self.tables.items()}
        relations = {}
        for name, edges in self.relations.items():
            ends = [
                place[codes] if side == "users" else codes
                for side, codes in ((edges.source, edges.sources), (edges.target, edges.targets))
            ]
            kept = (ends[0] >= 0) & (ends[1] >= 0)
            pick = lambda a, kept=kept: None if a is None else a[kept]
            relations[name] = replace(
                edges,
                sources=ends[0][kept],
                targets=ends[1][kept],
                weights=pick(edges.weights),
                times=pick(edges.times),
            )
        users = Vocabulary(self.users.ids.filter(pl.Series(stays)))
        events = replace(log, users=place[log.users])
        return replace(self, interactions=events, users=users, tables=tables, relations=relations, truth={})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the events, the ids, the tables and the relations: the identity that run records name."""
        import polars as pl

        sha = hashlib.sha256(self.interactions.digest().encode())
        for ids in (self.users.ids, self.items.ids):
            sha.update(ids.cast(pl.String).str.join("\x1f").item().encode())
        for name in sorted(self.tables):
            sha.update(name.encode())
            sha.update(repr(self.tables[name].hash_rows(seed=1).to_list()).encode())
        for name in sorted(self.relations):
            edges = self.relations[name]
            sha.update(f"{name}:{edges.source}:{edges.target}".encode())
            for column in (edges.sources, edges.targets, edges.weights, edges.times):
                sha.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        return sha.hexdigest()
