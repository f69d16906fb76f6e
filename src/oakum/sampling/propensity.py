"""How likely an item was shown: from its popularity, or as the log says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset
from oakum.errors import DataError

COLUMN = "propensity"


def popularity_propensities(item_counts: NDArray[Any], power: float = 0.5) -> NDArray[np.float32]:
    """θ_i = (n_i / max_j n_j)^power, float32 [items] in (0, 1]; items without an event get the θ of a single one.

    Indexed by item code, so items that nobody had shift nothing. Only ratios are known this way: the scale, and the
    exponent, are a choice.
    """
    counts = np.maximum(np.asarray(item_counts, np.float64), 1)
    return ((counts / counts.max()) ** power).astype(np.float32)


def logged_propensities(data: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """What the data say: (by item [items], by distinct pair of the log in the order of its matrix, or None), float32.

    The column is called "propensity", in the table of items, in the log (the chance of each event; the first of a repeated
    pair counts), or in both; items get the mean over their events where only the log has it. `DataError` where there is
    neither or where a value is not in (0, 1].
    """
    log, table = data.interactions, data.tables.get("items")
    by_event: Any = log.fields.get(COLUMN)
    by_item: Any = None if table is None or COLUMN not in table.columns else table[COLUMN].to_numpy()
    if by_event is None and by_item is None:
        raise DataError(
            f"'{data.name}' has no column '{COLUMN}' in the log or in the table of items, so logged exposure cannot be "
            'used. Add one with values in (0, 1], or set propensity to "popularity".'
        )
    for place, values in (("log", by_event), ("table of items", by_item)):
        if values is not None:
            found = np.asarray(values, np.float64)
            wrong = np.flatnonzero(~((found > 0) & (found <= 1)))
            if len(wrong):
                raise DataError(
                    f"The column '{COLUMN}' of the {place} of '{data.name}' must lie in (0, 1]. Row {wrong[0]} has "
                    f"{found[wrong[0]]:g} ({len(wrong):,} rows in all): what has a chance of 0 cannot have been seen."
                )
    if by_event is None:
        return np.array(by_item, np.float32), None
    _, first = np.unique(log.users.astype(np.int64) * data.num_items + log.items, return_index=True)
    if by_item is None:
        count = np.bincount(log.items, minlength=data.num_items)
        total = np.bincount(log.items, by_event, minlength=data.num_items)
        by_item = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    return np.array(by_item, np.float32), np.array(by_event[first], np.float32)
