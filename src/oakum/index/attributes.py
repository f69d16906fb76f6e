"""What is known of the items, laid out for filters: equal to, member of, between, and their and, or, not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data import Filter, Ids
from oakum.errors import ParameterError, nearest

DEEPEST = 32  # conditions inside conditions


@dataclass(frozen=True)
class Condition:
    """What items must fulfil; combined with `&`, `|` and `~`."""

    def __and__(self, other: Condition) -> Condition:
        return All((self, other))

    def __or__(self, other: Condition) -> Condition:
        return AnyOf((self, other))

    def __invert__(self) -> Condition:
        return Not(self)


@dataclass(frozen=True)
class Is(Condition):
    """The column has this value; for a column of sets, the value is a member."""

    column: str
    value: Any


@dataclass(frozen=True)
class Between(Condition):
    """low ≤ column ≤ high; None leaves an end open. Items without a value never fulfil it."""

    column: str
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class All(Condition):
    """Every one of them."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf(Condition):
    """At least one of them."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not(Condition):
    """Not that; an item without a value fulfils it."""

    part: Condition


@dataclass(frozen=True, eq=False)
class Members:
    """A column of values or sets: for each value the items that have it, rising."""

    values: dict[Any, int]
    offsets: NDArray[np.int64]
    items: Ids

    def of(self, value: Any) -> Ids:
        at = self.values.get(value, -1)
        return self.items[self.offsets[at] : self.offsets[at + 1]] if at >= 0 else self.items[:0]


@dataclass(frozen=True, eq=False)
class Ordered:
    """A column of numbers or times: its values in rising order and the item of each."""

    values: pl.Series
    items: Ids

    def span(self, low: Any, high: Any) -> tuple[int, int]:
        first = 0 if low is None else int(self.values.search_sorted(low, side="left"))
        last = len(self.values) if high is None else int(self.values.search_sorted(high, side="right"))
        return first, max(first, last)


class Attributes:
    """Item columns behind filters.

    table: one row an item, in code order. Numbers and times become ordered columns; text, truth values and categories
    become values; lists become sets, as does text that `sets` names with what parts it ({"genres": "|"}). Text that holds
    "|" is such a set by itself. Memory about 4 bytes an item and column, 8 for ordered ones.
    """

    def __init__(self, table: pl.DataFrame, *, sets: Mapping[str, str] | None = None) -> None:
        sets = dict(sets or {})
        self.num_items = len(table)
        for name in sets:
            if name not in table.columns:
                raise ParameterError(f"There is no column '{name}' of items.{nearest(name, table.columns)}")
        self.columns: dict[str, Members | Ordered] = {c: _column(table[c], sets.get(c)) for c in table.columns}

    def filter(self, condition: Condition) -> Filter:
        """The items that fulfil a condition, as the filter that indexes, `rank` and `recommend` take.

        Its array is read-only, so an index keeps the filter ready; hold on to it for further requests.
        """
        allow = np.flatnonzero(self.select(condition)).astype(np.int32)
        allow.flags.writeable = False
        return Filter(allow=allow)

    def select(self, condition: Condition) -> NDArray[np.bool_]:
        """Which items fulfil a condition, bool [items]."""
        match condition:
            case Is() | Between():
                out = np.zeros(self.num_items, bool)
                out[self._items(condition)] = True
                return out
            case Not(part):
                return ~self.select(part)
            case All(parts) | AnyOf(parts):
                found = [self.select(p) for p in parts]
                empty = np.full(self.num_items, isinstance(condition, All))
                join = np.logical_and if isinstance(condition, All) else np.logical_or
                return np.asarray(join.reduce([empty, *found]), bool)
        raise ParameterError(f"A filter is made of Is, Between, All, AnyOf and Not. Got {condition!r}.")

    def count(self, condition: Condition) -> int:
        """How many items fulfil a condition; single conditions without touching the items."""
        match condition:
            case Is() | Between():
                return len(self._items(condition))
            case Not(part):
                return self.num_items - self.count(part)
            case _:
                return int(self.select(condition).sum())

    def bounds(self, condition: Condition) -> tuple[int, int]:
        """The least and the most items that can fulfil a condition, from the counts of its parts alone."""
        n = self.num_items
        match condition:
            case All(parts):
                each = [self.bounds(p) for p in parts]
                low = max(0, sum(a for a, _ in each) - n * (len(each) - 1)) if each else n
                return low, min([n, *(b for _, b in each)])
            case AnyOf(parts):
                each = [self.bounds(p) for p in parts]
                return max([0, *(a for a, _ in each)]), min(n, sum(b for _, b in each))
            case Not(part):
                low, high = self.bounds(part)
                return n - high, n - low
            case _:
                found = self.count(condition)
                return found, found

    def values(self, column: str) -> list[Any]:
        """The values of a column of values or sets, most frequent first."""
        own = self._column(column)
        if isinstance(own, Ordered):
            return own.values.unique(maintain_order=True).to_list()
        counts = np.diff(own.offsets)
        names = list(own.values)
        return [names[i] for i in np.argsort(-counts, kind="stable")]

    def _items(self, condition: Is | Between) -> Ids:
        own = self._column(condition.column)
        if isinstance(condition, Between):
            if not isinstance(own, Ordered):
                raise ParameterError(f"The column '{condition.column}' has no order, so nothing lies between in it.")
            low, high = condition.low, condition.high
        elif isinstance(own, Members):
            return own.of(condition.value)
        else:
            low = high = condition.value
        try:
            first, last = own.span(low, high)
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            raise ParameterError(
                f"The column '{condition.column}' holds {own.values.dtype}; {low!r} and {high!r} cannot be compared with it."
            ) from None
        return own.items[first:last]

    def _column(self, name: str) -> Members | Ordered:
        if name not in self.columns:
            raise ParameterError(f"There is no column '{name}' of items.{nearest(name, self.columns)}")
        return self.columns[name]


def condition_of(value: Any, *, depth: int = 0) -> Condition:
    """A condition from JSON: {"is": [column, value]}, {"between": [column, low, high]}, {"all": […]}, {"any": […]} or
    {"not": …}. Raises `ParameterError` for anything else."""
    if depth > DEEPEST:
        raise ParameterError(f"A filter nests more than {DEEPEST} conditions.")
    if isinstance(value, Mapping) and len(value) == 1:
        name, inner = next(iter(value.items()))
        listed = isinstance(inner, Sequence) and not isinstance(inner, str)
        plain = (str, int, float, bool)
        if name == "not":
            return Not(condition_of(inner, depth=depth + 1))
        if name in ("all", "any") and listed:
            parts = tuple(condition_of(part, depth=depth + 1) for part in inner)
            return All(parts) if name == "all" else AnyOf(parts)
        if name == "is" and listed and len(inner) == 2 and isinstance(inner[0], str) and isinstance(inner[1], plain):
            return Is(*inner)
        ends = listed and len(inner) == 3 and isinstance(inner[0], str)
        if name == "between" and ends and all(e is None or isinstance(e, plain) for e in inner[1:]):
            return Between(*inner)
    raise ParameterError(
        f'A filter is {{"is": [column, value]}}, {{"between": [column, low, high]}}, {{"all": […]}}, {{"any": […]}} or '
        f'{{"not": …}}. Got {str(value)[:200]}.'
    )


def _column(column: pl.Series, parted_by: str | None) -> Members | Ordered:
    kind = column.dtype
    items = pl.Series("item", np.arange(len(column), dtype=np.int32))
    if kind == pl.String and (parted_by or column.str.contains("|", literal=True).any()):
        column = column.str.split(parted_by or "|").list.eval(pl.element().str.strip_chars()).list.drop_nulls()
        kind = column.dtype
    if kind.is_numeric() or kind.is_temporal():
        column = column.fill_nan(None) if kind.is_float() else column
        known = column.is_not_null()
        values, own = column.filter(known), items.filter(known)
        order = values.arg_sort()
        return Ordered(values.gather(order), own.gather(order).to_numpy().astype(np.int32))
    frame = pl.DataFrame({"value": column, "item": items})
    if isinstance(kind, pl.List):
        frame = frame.explode("value", empty_as_null=True)
    if isinstance(frame["value"].dtype, pl.Categorical | pl.Enum):
        frame = frame.with_columns(pl.col("value").cast(pl.String))
    frame = frame.drop_nulls().filter(pl.col("value").cast(pl.String) != "").unique(maintain_order=True)
    grouped = frame.group_by("value", maintain_order=True).agg(pl.col("item").sort())
    counts = grouped["item"].list.len().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    flat = (
        grouped["item"].explode(empty_as_null=False).to_numpy().astype(np.int32)
        if len(grouped)
        else np.empty(0, np.int32)
    )
    return Members({v: i for i, v in enumerate(grouped["value"].to_list())}, offsets, flat)
