"""What is told of the items, as columns that filters choose by."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.expressions import Expression
from oakum.errors import ParameterError
from oakum.serve.models import Served

MASKS = 256


class ItemTable:
    """One row an item of the model: its id, the columns saved with the model, and over them what was told since.

    Immutable; masks of filters are kept, the least used one goes first.
    """

    def __init__(self, served: Served, told: Mapping[str, Mapping[str, Any]]) -> None:
        self.served = served
        table = served.fitted.item_table
        columns = {} if table is None or len(table) != len(served.item_ids) else {c.name: c for c in table}
        later: dict[str, dict[int, Any]] = {}
        for id, attributes in told.items():
            code = served.items.get(id)
            if code is not None:
                for name, value in attributes.items():
                    later.setdefault(name, {})[code] = value
        for name, values in later.items():
            columns[name] = _overlaid(name, columns.get(name), values, len(served.item_ids))
        columns["item_id"] = pl.Series("item_id", served.item_ids, dtype=pl.String)
        self.frame = pl.DataFrame(list(columns.values()))
        self._masks: OrderedDict[str, tuple[NDArray[np.bool_], NDArray[np.int32]]] = OrderedDict()
        self._lock = Lock()

    def mask(self, text: str) -> NDArray[np.bool_]:
        """The items that a filter chooses, bool [items]; do not write to it."""
        return self.chosen(text)[0]

    def chosen(self, text: str) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """The items that a filter chooses, as a mask and as codes: the same arrays each time, by which an index knows
        that it has met them."""
        with self._lock:
            if text in self._masks:
                self._masks.move_to_end(text)
                return self._masks[text]
        mask = Expression.parse(text).mask(self.frame)
        found = mask, np.flatnonzero(mask).astype(np.int32)
        for array in found:
            array.flags.writeable = False
        with self._lock:
            self._masks[text] = found
            while len(self._masks) > MASKS:
                self._masks.popitem(last=False)
        return found

    def row(self, code: int) -> dict[str, Any]:
        """What is known of one item, missing values left out."""
        return {k: v for k, v in self.frame.row(code, named=True).items() if v is not None and k != "item_id"}

    def check(self, told: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ParameterError` where an attribute is of another type than its column."""
        kinds = {c.name: _kind_of(c.dtype) for c in self.frame}
        for id, attributes in told.items():
            for name, value in attributes.items():
                if name == "item_id":
                    raise ParameterError("An attribute cannot be called item_id.")
                if value is None:
                    continue
                if kinds.setdefault(name, _kind(value)) != _kind(value):
                    raise ParameterError(
                        f"Item {id!r}: '{name}' holds {kinds[name]}s; got the {_kind(value)} {value!r:.60}."
                    )


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "list"


def _kind_of(dtype: Any) -> str:
    if dtype == pl.Boolean:
        return "truth"
    return "number" if dtype.is_numeric() else "list" if isinstance(dtype, pl.List) else "text"


def _overlaid(name: str, old: pl.Series | None, values: Mapping[int, Any], size: int) -> pl.Series:
    """A column with some values replaced. A value of another kind than the column's becomes missing."""
    kinds = [_kind(v) for v in values.values() if v is not None]
    kind = _kind_of(old.dtype) if old is not None else (kinds[0] if kinds else "text")
    types: dict[str, Any] = {"truth": pl.Boolean, "number": pl.Float64, "text": pl.String, "list": pl.List(pl.String)}
    if old is not None and old.dtype in (pl.Date, pl.Datetime):
        old = old.cast(pl.String)
    cells: list[Any] = [None] * size if old is None else old.cast(types[kind]).to_list()
    for code, value in values.items():
        fits = value is not None and _kind(value) == kind
        cells[code] = (float(value) if kind == "number" else value) if fits else None
    return pl.Series(name, cells, dtype=types[kind])
