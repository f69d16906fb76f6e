"""Domains: product lines over one space of item ids. The column `domain` of the table of items says which item is where."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from oakum.data.dataset import Dataset
from oakum.data.interactions import Interactions
from oakum.data.ragged import Ids
from oakum.errors import DataError, ParameterError

if TYPE_CHECKING:
    import polars as pl

COLUMN = "domain"


@dataclass(frozen=True, slots=True, eq=False)
class Domains:
    """names: the domains in ascending order; codes: int32 [items], the domain of each item, -1 where none is known."""

    names: tuple[str, ...]
    codes: Ids

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str) -> int:
        """The code of a domain; `ParameterError` with the list of known ones where there is no such domain."""
        if name not in self.names:
            raise ParameterError(f"There is no domain '{name}'. Known: {', '.join(self.names)}.")
        return self.names.index(name)

    def items(self, name: str) -> Ids:
        """The items of a domain, int32 codes in ascending order."""
        return np.flatnonzero(self.codes == self.code(name)).astype(np.int32)


def has_domains(data: Dataset) -> bool:
    """Whether the items say which domain they are of."""
    return "items" in data.tables and COLUMN in data.tables["items"].columns


def domains(data: Dataset) -> Domains:
    """The domains of a data set. Raises `DataError` where its items have none."""
    if not has_domains(data):
        raise DataError(
            f"'{data.name}' has no domains: read it with a table of items that has a column '{COLUMN}' (items=TABLE), or "
            f"with a column '{COLUMN}' in the log."
        )
    column = data.tables["items"][COLUMN]
    if column.dtype.is_nested():
        column = column.list.unique(maintain_order=True)
        several = int((column.list.len() > 1).sum())
        if several:
            raise DataError(
                f"{several:,} items of '{data.name}' are of several domains; an item is of one, so give it an id in each."
            )
        column = column.list.first()
    import polars as pl

    text = column.cast(pl.String).replace("", None)
    names = text.drop_nulls().unique().sort()
    codes = text.replace_strict(names, np.arange(len(names)), default=-1, return_dtype=pl.Int32)
    return Domains(tuple(names.to_list()), codes.fill_null(-1).to_numpy().astype(np.int32))


def item_domain(data: Dataset) -> Ids:
    """The domain of each item, int32 [items]: places in `domains(data).names`, -1 where none is known."""
    return domains(data).codes


def domains_from_log(
    parts: Sequence[Interactions], frames: MutableMapping[str, pl.DataFrame], num_items: int, notes: list[str]
) -> list[Interactions]:
    """Move a column `domain` of the log to the table of items, where every item has one domain throughout.

    Returns the parts without the column; as they were, with a note, where an item changes its domain or the table of
    items has a domain of its own.
    """
    if not parts or any(COLUMN not in p.fields for p in parts):
        return list(parts)
    import polars as pl

    items = np.concatenate([p.items for p in parts])
    labels = np.concatenate([np.asarray(p.fields[COLUMN]).astype(np.str_) for p in parts])
    said = pl.DataFrame({"code": items, COLUMN: labels}).filter(~pl.col(COLUMN).is_in(["", "nan"])).unique()
    said = said.sort("code", COLUMN)
    twice = said.filter(pl.col("code").is_duplicated())["code"].n_unique()
    if twice:
        notes.append(
            f"The column '{COLUMN}' of the log stays a context field: {twice:,} items occur under several domains. Give such "
            "an item an id in each domain if it should be two."
        )
        return list(parts)
    own = frames.get("items")
    if own is not None and COLUMN in own.columns:
        notes.append(f"The table of items has a column '{COLUMN}', so that of the log stays a context field.")
        return list(parts)
    every = pl.DataFrame({"code": np.arange(num_items, dtype=np.int32)})
    column = every.join(said, on="code", how="left", maintain_order="left")[COLUMN]
    frames["items"] = pl.DataFrame({COLUMN: column}) if own is None else own.with_columns(column)
    counts = ", ".join(f"{n} ({c:,} items)" for n, c in said[COLUMN].value_counts().sort(COLUMN).iter_rows())
    notes.append(f"Took the column '{COLUMN}' of the log as the domain of its items: {counts}.")
    rest: list[Mapping[str, Any]] = [{k: v for k, v in p.fields.items() if k != COLUMN} for p in parts]
    return [replace(p, fields=f) for p, f in zip(parts, rest, strict=True)]
