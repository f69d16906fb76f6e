"""What a system needs of a log, what a log has, and which systems would work on it: one sentence before any training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from oakum.catalogue import entries
from oakum.errors import DataError, ParameterError

if TYPE_CHECKING:
    from oakum.data import Dataset
    from oakum.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a log may have. words: how it is called in a sentence; cure: how to give it."""

    words: str
    cure: str
    found: Callable[[Dataset], bool]


def _text(data: Dataset) -> bool:
    from oakum.data.texts import text_columns

    table = data.tables.get("items")
    return table is not None and bool(text_columns(table))


def _binary(data: Dataset) -> bool:
    values = data.interactions.values
    return values is not None and bool(np.isin(values, (0.0, 1.0)).all()) and len(np.unique(values)) == 2


def _columns(data: Dataset) -> bool:
    table = data.tables.get("items")
    return table is not None and table.width > 0


def _domains(data: Dataset) -> bool:
    table = data.tables.get("items")
    return table is not None and "domain" in table.columns and table["domain"].n_unique() >= 2


#: The closed list of what an entry of the catalogue may need.
NEEDS: Mapping[str, Need] = {
    "interactions": Need(
        "events of users with items", "give a log of user_id and item_id", lambda d: len(d) > 0 and d.has_pairs
    ),
    "times": Need(
        "the order of events (a time or a position)",
        "add a column 'timestamp', or 'position' within a history",
        lambda d: d.interactions.times is not None,
    ),
    "values": Need(
        "ratings, labels or other values",
        "add a column 'rating' or 'label'",
        lambda d: d.interactions.values is not None,
    ),
    "labels": Need("labels 0 and 1 on its rows", "add a column 'label' with both", _binary),
    "fields": Need(
        "context columns on its rows",
        "keep the columns of the context in the log",
        lambda d: bool({*d.interactions.fields} - {"part"}),
    ),
    "text": Need("a text column for its items", "give a table of items with item_id and title", _text),
    "metadata": Need("columns that describe its items", "give a table of items with categories or text", _columns),
    "domains": Need("items of two domains", "give the items a column 'domain'", _domains),
    "slates": Need(
        "what was shown together (a slate column)",
        "add a column 'slate', one row an item shown",
        lambda d: "slate" in d.interactions.fields,
    ),
    "relations": Need("a relation between its users or items", "give one with relations", lambda d: bool(d.relations)),
}


def found(data: Dataset) -> set[str]:
    """The names of `NEEDS` that a data set has."""
    return {name for name, need in NEEDS.items() if need.found(data)}


def systems_for(data: Dataset, kind: str = "model") -> list[str]:
    """Slugs of the systems that this data set has everything for, in catalogue order."""
    has = found(data)
    return [slug for slug, e in entries().items() if e.kind == kind and set(e.needs) <= has]


def check(spec: Parameters, data: Dataset) -> None:
    """Raise `DataError` where the log lacks what the system's entry says it needs; systems outside the catalogue pass."""
    entry = entries().get(spec.slug)
    if entry is None:
        return
    unknown = [n for n in entry.needs if n not in NEEDS]
    if unknown:
        raise ParameterError(f"The entry '{spec.slug}' names an unknown need: {', '.join(unknown)}.")
    missing = [NEEDS[n] for n in entry.needs if not NEEDS[n].found(data)]
    if not missing:
        return
    has = [NEEDS[n].words for n in NEEDS if n in found(data)]
    able = systems_for(data, entry.kind)
    shown = ", ".join(able[:8]) + (f" and {len(able) - 8} more" if len(able) > 8 else "")
    raise DataError(
        f"The {'system' if entry.kind == 'model' else entry.kind} '{spec.slug}' needs {' and '.join(n.words for n in missing)}, and the log '{data.name}' has only "
        f"{', '.join(has) or 'nothing'}: {'; '.join(n.cure for n in missing)}. What works on this log: {shown or 'none'}."
    )
