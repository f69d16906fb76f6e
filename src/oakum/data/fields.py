"""Columns as codes: categories, lists, numbers and words, under vocabularies of the training rows.

Every field takes one or more *slots* of a row; a slot is a code and a value. Code 0 is "missing", 1 is "unknown or rare",
what was seen in training follows. The value is 1 for a category, 1/n for each of the n members of a list or text (so that
their vectors are averaged), the scaled number for a number, and 0 where a slot is empty. No torch here: `nn.fields` turns
slots into vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.coding import as_ids
from oakum.data.vocabulary import Vocabulary
from oakum.errors import DataError, ParameterError

MISSING, UNKNOWN, FIRST = 0, 1, 2
KINDS = ("categorical", "multi", "numeric", "text")
FEW = 256  # whole numbers with at most so many values are categories
_NAMES_OF_CATEGORIES = ("id", "code", "feature", "type", "zip", "class", "group", "hash")
_SEPARATORS = ("|", ";", ", ")

Codes = NDArray[np.int32]
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FieldSize:
    """What an embedding must know of a field: its kind, the rows of its table, and how many slots it takes."""

    name: str
    kind: str
    rows: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The fields of a row in order. All of it is sizes, so it goes into `Schema.sizes` and back."""

    fields: tuple[FieldSize, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(f.name for f in self.fields)

    @property
    def slots(self) -> int:
        """Slots of all fields together."""
        return sum(f.width for f in self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __add__(self, other: Layout) -> Layout:
        return Layout(self.fields + other.fields)

    def sizes(self, group: str) -> dict[str, int]:
        """As named numbers, for `Schema.sizes`; `group` keeps several layouts apart."""
        out = {}
        for f in self.fields:
            out[f"{group}/{f.kind}/{f.name}"] = f.rows
            out[f"{group}/width/{f.name}"] = f.width
        return out

    @classmethod
    def from_sizes(cls, sizes: Mapping[str, int], group: str) -> Layout:
        """The inverse of `sizes`."""
        out = []
        for key, rows in sizes.items():
            own, _, rest = key.partition("/")
            kind, _, name = rest.partition("/")
            if own == group and kind in KINDS:
                out.append(FieldSize(name, kind, rows, sizes[f"{group}/width/{name}"]))
        return cls(tuple(out))


@dataclass(frozen=True, slots=True)
class FieldCoder:
    """One field: how its cells become slots. vocabulary: of all kinds but numeric; shift, scale, log: of numeric."""

    name: str
    kind: str
    vocabulary: Vocabulary | None
    width: int = 1
    shift: float = 0.0
    scale: float = 1.0
    log: bool = False

    @property
    def size(self) -> FieldSize:
        """Its place in a layout."""
        rows = FIRST + len(self.vocabulary) if self.vocabulary is not None else 2
        return FieldSize(self.name, self.kind, rows, self.width)

    @classmethod
    def learn(
        cls,
        name: str,
        column: Any,
        *,
        kind: str | None = None,
        weights: NDArray[Any] | None = None,
        min_count: int = 2,
        max_values: int = 16,
    ) -> FieldCoder:
        """Vocabulary or scale of a column of training rows.

        weights: how many training rows each cell stands for (a table of users or items), int [n]; cells of weight 0
        are not looked at. min_count: values in fewer rows share the code "rare". max_values: slots of a list, at most.
        Codes follow the order of the values, never that of the rows. kind None: `kind_of` the column.
        """
        series = plain_column(column)
        heavy = np.ones(len(series), np.int64) if weights is None else np.asarray(weights)
        if (heavy <= 0).any():
            series, heavy = series.filter(pl.Series(heavy > 0)), heavy[heavy > 0]
        kind = kind or kind_of(name, series)
        if kind not in KINDS:
            raise ParameterError(f"A field is {', '.join(KINDS)}. Got {kind!r} for '{name}'.")
        if kind == "numeric":
            return _scaled(name, series, heavy)
        lists = _members(series, kind) if kind != "categorical" else None
        owners = np.arange(len(series)) if lists is None else np.repeat(np.arange(len(series)), _lengths(lists))
        flat = as_ids(series if lists is None else _flat(lists))
        counted = pl.DataFrame({"value": flat, "n": heavy[owners]}).drop_nulls("value")
        counted = counted.group_by("value").agg(pl.col("n").sum())
        vocabulary = Vocabulary(counted.filter(pl.col("n") >= min_count)["value"].sort().rename("id"))
        width = 1
        if lists is not None:
            known = np.bincount(owners, weights=vocabulary.encode(flat) >= 0, minlength=1) if len(owners) else [1]
            width = int(np.clip(np.max(known), 1, max_values))
        return cls(name, kind, vocabulary, width)

    def encode(self, column: Any) -> tuple[Codes, Values]:
        """Slots of a column: codes int32 [n, width], values float32 [n, width].

        A cell without anything is MISSING with value 1; a value that training did not know is UNKNOWN. Unknown members
        of a list are left out unless nothing else is known of it.
        """
        series = plain_column(column)
        n = len(series)
        if self.vocabulary is None:
            numbers = series.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
            there = np.isfinite(numbers)
            scaled = (_bend(np.where(there, numbers, 0.0), self.log) - self.shift) / self.scale
            values = np.where(there, scaled, 1.0).astype(np.float32)
            return there.astype(np.int32)[:, None], values[:, None]
        if self.kind == "categorical":
            codes = self._lookup(as_ids(series))
            return codes[:, None], np.ones((n, 1), np.float32)
        lists = _members(series, self.kind)
        lengths = _lengths(lists)
        owners = np.repeat(np.arange(n), lengths)
        found = self._lookup(as_ids(_flat(lists)))
        codes, values = np.zeros((n, self.width), np.int32), np.zeros((n, self.width), np.float32)
        known = found >= FIRST
        owner, code = owners[known], found[known]
        count = np.bincount(owner, minlength=n)
        place = np.arange(len(owner)) - (np.cumsum(count) - count)[owner]
        kept = place < self.width
        codes[owner[kept], place[kept]] = code[kept]
        values[owner[kept], place[kept]] = (1.0 / np.minimum(count, self.width)[owner[kept]]).astype(np.float32)
        bare = count == 0
        codes[bare, 0] = np.where(lengths[bare] > 0, UNKNOWN, MISSING)
        values[bare, 0] = 1.0
        return codes, values

    def absent(self, n: int) -> tuple[Codes, Values]:
        """Slots of `n` rows of which nothing is known: MISSING."""
        values = np.zeros((n, self.width), np.float32)
        values[:, 0] = 1.0
        return np.zeros((n, self.width), np.int32), values

    def _lookup(self, series: pl.Series) -> Codes:
        assert self.vocabulary is not None
        codes = self.vocabulary.encode(series) + FIRST
        codes[codes < FIRST] = UNKNOWN
        codes[series.is_null().to_numpy()] = MISSING
        return codes.astype(np.int32)

    def facts(self) -> dict[str, NDArray[Any]]:
        """All that `encode` needs, as arrays that are saved beside the weights."""
        if self.vocabulary is None:
            return {f"{self.name}/scale": np.array([self.shift, self.scale, float(self.log)])}
        ids = self.vocabulary.ids
        if ids.dtype == pl.Int64:
            return {f"{self.name}/ids": ids.to_numpy().astype(np.int64)}
        words = [word.encode() for word in ids.to_list()]
        ends = np.cumsum([len(w) for w in words], dtype=np.int64)
        return {f"{self.name}/text": np.frombuffer(b"".join(words), np.uint8).copy(), f"{self.name}/ends": ends}

    @classmethod
    def from_facts(cls, size: FieldSize, facts: Mapping[str, NDArray[Any]]) -> FieldCoder:
        """The inverse of `facts`."""
        name = size.name
        if size.kind == "numeric":
            shift, scale, log = (float(v) for v in facts[f"{name}/scale"])
            return cls(name, size.kind, None, 1, shift, scale, bool(log))
        if f"{name}/ids" in facts:
            ids = pl.Series("id", facts[f"{name}/ids"], dtype=pl.Int64)
        else:
            ends = facts[f"{name}/ends"].tolist()
            raw = facts[f"{name}/text"].tobytes()
            words = [raw[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)] if ends else []
            ids = pl.Series("id", words, dtype=pl.String)
        return cls(name, size.kind, Vocabulary(ids), size.width)


@dataclass(frozen=True, slots=True)
class Coder:
    """Several fields of one table or log."""

    fields: tuple[FieldCoder, ...]

    @property
    def layout(self) -> Layout:
        """The sizes of the fields, in order."""
        return Layout(tuple(f.size for f in self.fields))

    @classmethod
    def learn(
        cls,
        columns: Mapping[str, Any],
        *,
        kinds: Mapping[str, str] | None = None,
        weights: NDArray[Any] | None = None,
        min_count: int = 2,
        max_values: int = 16,
    ) -> Coder:
        """Learn every column (names to polars series or arrays of one length); those that cannot be a field (vectors,
        keys of single rows) are left out. kinds: kinds by name that replace the guess; "" leaves a column out."""
        fields = []
        seen = None if weights is None else pl.Series(np.asarray(weights) > 0)
        for name, column in columns.items():
            series = plain_column(column)
            kind = (kinds or {}).get(name)
            if kind is None:
                kind = kind_of(name, series if seen is None else series.filter(seen))
            if kind:
                own = FieldCoder.learn(
                    name, series, kind=kind, weights=weights, min_count=min_count, max_values=max_values
                )
                fields.append(own)
        return cls(tuple(fields))

    def encode(self, columns: Mapping[str, Any], n: int) -> tuple[Codes, Values]:
        """Slots of `n` rows: codes int32 [n, slots], values float32 [n, slots]. A column that is not given is missing."""
        parts = []
        for field in self.fields:
            if field.name not in columns:
                parts.append(field.absent(n))
                continue
            if len(columns[field.name]) != n:
                raise DataError(f"The field '{field.name}' has {len(columns[field.name])} cells for {n} rows.")
            parts.append(field.encode(columns[field.name]))
        if not parts:
            return np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32)
        return np.concatenate([c for c, _ in parts], 1), np.concatenate([v for _, v in parts], 1)

    def facts(self) -> dict[str, NDArray[Any]]:
        """Arrays that are saved beside the weights."""
        return {k: v for f in self.fields for k, v in f.facts().items()}

    @classmethod
    def from_facts(cls, layout: Layout, facts: Mapping[str, NDArray[Any]]) -> Coder:
        """The inverse of `facts` for a known layout."""
        return cls(tuple(FieldCoder.from_facts(size, facts) for size in layout.fields))


def plain_column(column: Any) -> pl.Series:
    """A polars series with nulls where nothing is known (NaN, empty text)."""
    series = column if isinstance(column, pl.Series) else pl.Series("", np.asarray(column))
    if series.dtype.is_float():
        return series.fill_nan(None)
    if series.dtype in (pl.Categorical, pl.Enum, pl.Object):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        return series.set(series == "", None) if bool((series == "").any()) else series
    if series.dtype in (pl.Date, pl.Datetime):
        return series.cast(pl.Datetime("us")).dt.epoch("us")
    return series


def kind_of(name: str, column: pl.Series) -> str:
    """What kind of field a column is, or "" where it is none (a vector, a constant, a key that no two rows share).

    Lists are multi; numbers with a fraction are numeric; whole numbers are categories where they have at most 256 values
    or a name that says so (ending in id, code, type ...); text is a list where most cells hold a separator, words where
    cells are sentences that seldom repeat, else a category.
    """
    kind = column.dtype
    if not kind.is_nested() and column.n_unique() <= 1:
        return ""
    if isinstance(kind, pl.List):
        return "" if kind.inner.is_float() or kind.inner.is_nested() else "multi"  # type: ignore[union-attr]
    if kind.is_nested() or kind in (pl.Binary, pl.Null, pl.Duration, pl.Time):
        return ""
    there = column.drop_nulls()
    distinct = there.n_unique()
    single = len(there) >= 100 and distinct > 0.95 * len(there)
    named = name.lower().rsplit("_", 1)[-1] in _NAMES_OF_CATEGORIES or name.lower().endswith("id")
    if kind.is_numeric():
        if kind.is_float() and not bool((there == there.round()).all()):
            return "numeric"
        if named:
            return "" if single else "categorical"
        return "categorical" if distinct <= FEW else "numeric"
    if kind == pl.String and len(there):
        if _separator(there) is not None:
            return "multi"
        if _share(there.str.contains(r"\S\s+\S")) > 0.5 and distinct > 0.5 * len(there):
            return "text"
        return "" if single else "categorical"
    return "categorical"


def _separator(column: pl.Series) -> str | None:
    """The separator of a text column of lists: in a tenth of its cells or more, with fewer members than cells differ."""
    for mark in _SEPARATORS:
        if _share(column.str.contains(mark, literal=True)) >= 0.1:
            members = column.head(20_000).str.split(mark).explode().n_unique()
            return mark if members < 0.5 * column.head(20_000).n_unique() + 30 else None
    return None


def _share(mask: pl.Series) -> float:
    return float(mask.sum()) / max(1, len(mask))


def _members(column: pl.Series, kind: str) -> pl.Series:
    """The members of every cell, without repeats, in order: a list column without nulls."""
    if kind == "text":
        lists = column.cast(pl.String).str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    elif isinstance(column.dtype, pl.List):
        lists = column
    else:
        # The separator is read off each cell, so that one cell alone is understood as the column was.
        lists = column.cast(pl.String).str.replace_all(r"\s*[|;]\s*|,\s+", "\x1f").str.split("\x1f")
        lists = lists.list.eval(pl.element().filter(pl.element() != ""))
    return lists.list.drop_nulls().list.unique(maintain_order=True)


def _lengths(lists: pl.Series) -> NDArray[np.int64]:
    return lists.list.len().fill_null(0).to_numpy().astype(np.int64)


def _flat(lists: pl.Series) -> pl.Series:
    """All members one after the other; rows without any take no place."""
    return lists.filter(lists.list.len().fill_null(0) > 0).explode()


def _bend(numbers: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    return np.sign(numbers) * np.log1p(np.abs(numbers)) if log else numbers


def _scaled(name: str, series: pl.Series, weights: NDArray[Any]) -> FieldCoder:
    """Mean 0 and deviation 1 over the training rows; counts that span orders of magnitude are bent by a logarithm first."""
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise DataError(f"The field '{name}' is to be numeric and holds {series.dtype}: name it as a category instead.")
    numbers = series.cast(pl.Float64).to_numpy()
    there = np.isfinite(numbers)
    numbers, weights = numbers[there], weights[there]
    if not len(numbers):
        return FieldCoder(name, "numeric", None)
    size = np.abs(numbers)
    log = bool((numbers == np.round(numbers)).all() and size.max() > 100 * max(1.0, float(np.median(size)) / 10))
    bent = _bend(numbers, log)
    shift = float(np.average(bent, weights=weights))
    scale = float(np.sqrt(np.average((bent - shift) ** 2, weights=weights)))
    return FieldCoder(name, "numeric", None, 1, shift, scale if scale > 1e-12 else 1.0, log)


def union(columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of several tables under one name space; a later one whose name is taken is called `name_2`."""
    out: dict[str, Any] = {}
    for part in columns:
        for name, column in part.items():
            new, n = name, 2
            while new in out:
                new, n = f"{name}_{n}", n + 1
            out[new] = column
    return out
