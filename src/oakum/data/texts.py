"""The words of items: one function decides which columns of a table are text and how they are joined."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from oakum.data.columns import plain
from oakum.data.dataset import Dataset
from oakum.errors import DataError, ParameterError, nearest

#: Names of columns by what they say of an item, in the order in which a text tells it.
KINDS = {
    "title": ("title", "name", "item_title", "item_name", "product_title", "product_name", "movie_title", "headline"),
    "description": ("description", "plot", "summary", "overview", "abstract", "synopsis", "content", "text", "body", "about"),
    "categories": ("categories", "category", "genres", "genre", "tags", "topics", "keywords", "brand", "subject"),
}  # fmt: skip


_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Lower-case runs of letters and digits."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True, slots=True)
class Texts:
    """One text a code (empty where nothing is known), the columns it is made of, and a sentence that says so."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]
    note: str


def text_columns(table: pl.DataFrame, kinds: Sequence[str] = tuple(KINDS)) -> list[tuple[str, str]]:
    """(kind, column) of the text columns of a table, in the order of a text; the first column by name of each kind.

    Where none of the asked kinds is there, all kinds are taken; where no column has a known name, columns of words
    (a blank in most of their values, most values distinct) count as descriptions. Other types never count.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ParameterError(f"There is no kind of text '{kind}'.{nearest(kind, KINDS)}")
    named = {plain(c): c for c in reversed(table.columns) if _is_text(table.schema[c])}
    for asked in (kinds, KINDS):
        first = {kind: next((named[n] for n in KINDS[kind] if n in named), None) for kind in asked}
        found = [(kind, column) for kind, column in first.items() if column is not None]
        if found:
            return found
    return [("description", c) for c in table.columns if table.schema[c] == pl.String and _is_prose(table[c])]


def item_texts(data: Dataset, kinds: Sequence[str] = tuple(KINDS)) -> Texts:
    """The text of every item of a data set, in code order: "title. description. category, category".

    Lists and values parted by "|" become "a, b"; blanks are closed up; what is null or empty is left out, so an item
    of which nothing is said has the text "". Raises `DataError` where the table of items has no text at all.
    """
    table = data.tables.get("items")
    if table is None:
        raise _absent(data.name, "there is none", kinds)
    return item_texts_of(table, data.name, kinds)


def item_texts_of(table: pl.DataFrame, name: str, kinds: Sequence[str] = tuple(KINDS)) -> Texts:
    """`item_texts` of a table of items; `name` is whose table it is, for messages."""
    columns = text_columns(table, kinds)
    if not columns:
        raise _absent(name, f"it has {', '.join(table.columns)[:200] or 'no columns'}", kinds)
    parts = [_cells(table[column]) for _, column in columns]
    joined = tuple(". ".join(p.rstrip(" .") for p in row if p) for row in zip(*parts, strict=True))
    empty = sum(not t for t in joined)
    lacking = f" {empty:,} of {len(joined):,} items have none." if empty else ""
    names = [c for _, c in columns]
    how = ", joined by full stops" if len(names) > 1 else ""
    note = f"The text of an item is its {', then its '.join(names)}{how}.{lacking}"
    return Texts(joined, tuple(names), note)


def _absent(name: str, held: str, kinds: Sequence[str]) -> DataError:
    return DataError(
        f"Item text is needed, and the table of items of '{name}' gives none ({held}): read the log with "
        f"items=TABLE that has a column called {' or '.join(KINDS[k][0] for k in kinds)}."
    )


def _is_text(kind: pl.DataType) -> bool:
    inner = kind.inner if isinstance(kind, pl.List) else kind
    return inner in (pl.String, pl.Categorical) or isinstance(inner, pl.Enum)


def _is_prose(column: pl.Series) -> bool:
    known = column.drop_nulls()
    if not len(known):
        return False
    words = known.str.strip_chars().str.contains(" ", literal=True).mean()
    return float(words or 0) > 0.5 and known.n_unique() > 0.5 * len(known)  # type: ignore[arg-type]


def _cells(column: pl.Series) -> list[str]:
    out = []
    for value in column.to_list():
        parts = value if isinstance(value, list) else [] if value is None else [value]
        words = (re.sub(r"\s+", " ", str(p)).strip() for p in parts if p is not None)
        out.append(", ".join(dict.fromkeys(w.replace("|", ", ") for w in words if w)))
    return out
