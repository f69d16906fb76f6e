"""The log: immutable columns of events, ids already coded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.ragged import Ids, Ragged
from oakum.errors import DataError

if TYPE_CHECKING:
    from scipy import sparse

_BLOCK = 1 << 16
MANY = 500_000  # events from which on linear kernels repay that they must be loaded; results are the same


def rising(key: NDArray[np.int64]) -> bool:
    """Whether a column never falls."""
    for start in range(0, len(key) - 1, _BLOCK):
        block = key[start : start + _BLOCK + 1]
        if (block[1:] < block[:-1]).any():
            return False
    return True


def by_user(users: Ids, *keys: NDArray[Any]) -> NDArray[np.int64]:
    """Positions sorted by user, then by each key in turn (int64 or uint64), then by position."""
    if len(users) < MANY or users.min() < 0:
        return np.lexsort((*reversed(keys), users))
    from oakum.data.grouping import grouped_order

    signed = [k if k.dtype == np.int64 else (k ^ np.uint64(1 << 63)).view(np.int64) for k in keys]
    return grouped_order(users, int(users.max()) + 1, tuple(signed))[0]


def distinct_pairs(users: Ids, items: Ids, num_users: int, num_items: int) -> Ragged:
    """The distinct items of each user, rising, of pairs in any order; those without a user or an item (-1) are left out."""
    for name, codes, size in (("user", users, num_users), ("item", items, num_items)):
        if len(codes) and codes.max() >= size:
            raise DataError(f"There is the {name} code {codes.max()} where there are {size} of them.")
    if len(users) >= MANY:
        from oakum.data.grouping import distinct_items

        return Ragged(*distinct_items(users, items, num_users, num_items))
    known = (users >= 0) & (items >= 0)
    keys = users[known].astype(np.int64) * num_items + items[known]
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) != 0]
    offsets = np.searchsorted(keys, np.arange(num_users + 1, dtype=np.int64) * num_items)
    return Ragged(offsets, (keys % max(1, num_items)).astype(np.int32))


def ones(pairs: Ragged, num_items: int) -> sparse.csr_matrix:
    """CSR [rows, num_items] float32 of ones at distinct items that rise in every row."""
    from scipy import sparse

    kind = np.int32 if len(pairs.items) < 2**31 else np.int64
    out = sparse.csr_matrix((len(pairs), num_items), dtype=np.float32)
    out.indptr, out.indices = pairs.offsets.astype(kind), pairs.items.astype(kind, copy=False)
    out.data = np.ones(len(pairs.items), np.float32)
    out.has_sorted_indices = out.has_canonical_format = True
    return out


def _frozen(array: Any, dtype: Any) -> Any:
    out = np.ascontiguousarray(array, dtype=dtype)
    if out is array and out.flags.writeable:
        out = out.view()
    out.flags.writeable = False
    return out


def _stretch(mask: NDArray[np.bool_]) -> NDArray[Any] | slice:
    """The mask as a slice where it is one, else as positions."""
    first, count = int(mask.argmax()), int(np.count_nonzero(mask))
    return slice(first, first + count) if mask[first : first + count].all() else np.flatnonzero(mask)


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Events as columns of equal length. Nothing here can be written to; every change makes a new value.

    users, items: int32 codes, -1 in every row where the log has no users or no items (labelled rows). values: float32 (rating, count, 0/1 label) or None. times: int64 microseconds since
    1970 (a bare counter in the source is read as seconds) or None. rows: int64 row ids, unique, kept for life: a row
    that is added later gets an id above all old ones, and a row that is removed leaves a hole.
    fields: further context columns by name (behaviour, slate, position, propensity, ...).
    """

    users: Ids
    items: Ids
    values: NDArray[np.float32] | None = None
    times: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    fields: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.users)
        put = lambda name, value: object.__setattr__(self, name, value)
        put("users", _frozen(self.users, np.int32))
        put("items", _frozen(self.items, np.int32))
        if self.values is not None:
            put("values", _frozen(self.values, np.float32))
        if self.times is not None:
            put("times", _frozen(self.times, np.int64))
        rows = np.arange(n, dtype=np.int64) if len(self.rows) == 0 and n else self.rows
        put("rows", _frozen(rows, np.int64))
        put("fields", MappingProxyType({k: _frozen(v, np.asarray(v).dtype) for k, v in self.fields.items()}))
        for name, column in self.columns().items():
            if len(column) != n:
                raise DataError(f"Column '{name}' has {len(column)} rows where 'user' has {n}; all must be equal.")

    def __len__(self) -> int:
        return len(self.users)

    def __reduce__(self) -> tuple[Any, ...]:
        """How worker processes receive a log: the constructor and its columns."""
        columns = (self.users, self.items, self.values, self.times, self.rows, dict(self.fields))
        return Interactions, columns

    def columns(self) -> dict[str, NDArray[Any]]:
        """All present columns by name: user, item, value, time, row and the context fields."""
        out: dict[str, NDArray[Any]] = {"user": self.users, "item": self.items}
        if self.values is not None:
            out["value"] = self.values
        if self.times is not None:
            out["time"] = self.times
        return {**out, "row": self.rows, **self.fields}

    def take(self, index: NDArray[Any] | slice) -> Interactions:
        """The events at `index` (positions or a mask), row ids kept. One unbroken stretch is not copied."""
        if isinstance(index, np.ndarray) and index.dtype == bool and len(index) == len(self):
            index = _stretch(index)
        pick = lambda a: None if a is None else a[index]
        return Interactions(
            self.users[index],
            self.items[index],
            pick(self.values),
            pick(self.times),
            self.rows[index],
            {k: v[index] for k, v in self.fields.items()},
        )

    def append(self, other: Interactions) -> Interactions:
        """These events, then the others under new row ids; columns that one side lacks are filled with 0 / the last time."""
        start = int(self.rows.max()) + 1 if len(self) else 0

        def both(a: Any, b: Any, fill: float) -> Any:
            if a is None and b is None:
                return None
            a = np.full(len(self), fill) if a is None else a
            b = np.full(len(other), fill) if b is None else b
            return np.concatenate([a, b])

        last = 0 if self.times is None or not len(self) else int(self.times.max())
        names = sorted({*self.fields, *other.fields})
        return Interactions(
            np.concatenate([self.users, other.users]),
            np.concatenate([self.items, other.items]),
            both(self.values, other.values, 1.0),
            None if self.times is None else both(self.times, other.times, last),
            np.concatenate([self.rows, np.arange(start, start + len(other))]),
            {k: both(self.fields.get(k), other.fields.get(k), 0) for k in names},
        )

    def _at(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        order = np.argsort(self.rows, kind="stable")
        rows = np.asarray(rows, np.int64)
        at: NDArray[np.int64] = (
            order[np.minimum(np.searchsorted(self.rows[order], rows), max(0, len(self) - 1))] if len(self) else order
        )
        missing = rows[self.rows[at] != rows] if len(self) else rows
        if len(missing):
            raise DataError(
                f"There is no row {int(missing[0])} in this log of {len(self)} rows; name rows that it has."
            )
        return at

    def without(self, rows: NDArray[np.integer]) -> Interactions:
        """The events but those of these row ids; all others keep their ids. Rows that are not there are no error."""
        return self.take(~np.isin(self.rows, rows))

    def with_items(self, rows: NDArray[np.integer], items: NDArray[np.integer]) -> Interactions:
        """The same events, those of these row ids with other items. `DataError` for a row that is not there."""
        changed = self.items.copy()
        changed[self._at(rows)] = items
        return replace(self, items=changed)

    def with_before(self, rows: NDArray[np.integer], items: NDArray[np.integer], *, above: int = -1) -> Interactions:
        """An event more just before each of these rows: same person, one microsecond earlier, with the item given.

        All else is as in the row it precedes. The new row ids lie above all of this log, and above `above`. `DataError`
        where the log has no times (there is no "just before" then) or lacks a row.
        """
        if self.times is None:
            raise DataError(
                "An event can be put just before another only where the log has times; give a column of them."
            )
        copies = self.take(self._at(rows))
        start = max(above, int(self.rows.max(initial=-1))) + 1
        added = replace(
            copies,
            items=np.asarray(items, np.int32),
            times=None if copies.times is None else copies.times - 1,
            rows=np.arange(start, start + len(copies), dtype=np.int64),
        )
        both = lambda a, b: None if a is None or b is None else np.concatenate([a, b])
        return Interactions(
            np.concatenate([self.users, added.users]),
            np.concatenate([self.items, added.items]),
            both(self.values, added.values),
            both(self.times, added.times),
            np.concatenate([self.rows, added.rows]),
            {k: np.concatenate([v, added.fields[k]]) for k, v in self.fields.items()},
        )

    def order(self) -> NDArray[np.int64]:
        """Positions sorted by user, then time, then row id: the one order that histories follow."""
        keys = (self.rows,) if self.times is None else (self.times, self.rows)
        return by_user(self.users, *keys)

    def histories(self, num_users: int) -> Ragged:
        """One row a user, oldest first (log order where there are no times). A log that lies so already is not copied."""
        order = self.order()
        offsets = np.zeros(num_users + 1, np.int64)
        if (self.users < 0).any():
            order = order[self.users[order] >= 0]
            np.cumsum(np.bincount(self.users[order], minlength=num_users), out=offsets[1:])
        else:
            np.cumsum(np.bincount(self.users, minlength=num_users), out=offsets[1:])
        index = slice(None) if len(order) == len(self) and rising(order) else order
        pick = lambda a: None if a is None else a[index]
        return Ragged(offsets, self.items[index], pick(self.times), pick(self.values), self.rows[index])

    def pairs(self, num_users: int, num_items: int) -> Ragged:
        """The distinct items of each user, rising; events without a user or an item are left out."""
        return distinct_pairs(self.users, self.items, num_users, num_items)

    def matrix(self, num_users: int, num_items: int, *, weights: str = "binary") -> sparse.csr_matrix:
        """CSR [users, items] float32; `weights`: binary (duplicates merged), count (events) or value (summed)."""
        if weights == "binary":
            return ones(self.pairs(num_users, num_items), num_items)
        from scipy import sparse

        data = np.ones(len(self), np.float32)
        if weights == "value" and self.values is not None:
            data = self.values
        out = sparse.csr_matrix((data, (self.users, self.items)), shape=(num_users, num_items), dtype=np.float32)
        out.sort_indices()
        return out

    def with_times(self, times: NDArray[np.int64] | None) -> Interactions:
        """The same events under other times."""
        return replace(self, times=times)

    def digest(self) -> str:
        """SHA-256 over all columns, as 64 hexadecimal digits; changes with any value or any order."""
        sha = hashlib.sha256()
        for name, column in self.columns().items():
            sha.update(f"{name}:{column.dtype.str}:{len(column)};".encode())
            sha.update(np.ascontiguousarray(column).data if column.dtype != object else repr(column.tolist()).encode())
        return sha.hexdigest()
