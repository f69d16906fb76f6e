"""Views of threat reports: parents in place of sub-techniques, and one report in place of several on the same source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oakum.data.dataset import Dataset
from oakum.data.vocabulary import Vocabulary
from oakum.errors import DataError


def roll_up(data: Dataset) -> Dataset:
    """Sub-techniques counted as their parents: T1059.001 becomes T1059; a report names each parent once.

    The first row of a report and parent stays. Tables of items are dropped, since they are of other items now.
    """
    parents = [str(i).partition(".")[0] for i in data.items.ids.to_list()]
    items = Vocabulary.of(sorted(set(parents)))
    log = data.interactions
    codes = items.encode(parents)[log.items]
    pairs = log.users.astype(np.int64) * len(items) + codes
    first = np.sort(np.unique(pairs, return_index=True)[1])
    kept = replace(log, items=codes).take(first)
    tables = {k: v for k, v in data.tables.items() if k != "items"}
    return replace(data, interactions=kept, items=items, tables=tables)


def distinct_reports(data: Dataset, column: str = "references") -> Dataset:
    """Events of reports that share no reference with a longer one: the same campaign told twice would leak.

    Of reports that name one reference the one with most techniques stays (the earlier of equals); reports without
    references all stay. Raises `DataError` where the reports have no such column.
    """
    table = data.tables.get("users")
    if table is None or column not in table.columns:
        raise DataError(f"'{data.name}' has no column '{column}' in its table of reports to tell doubles by.")
    taken: set[str] = set()
    drop = np.zeros(data.num_users, bool)
    for user in np.argsort(-data.user_counts, kind="stable").tolist():
        cell = table[column][user]
        found = set() if cell is None else {cell} if isinstance(cell, str) else {str(c) for c in cell}
        drop[user] = bool(found & taken)
        if not drop[user]:
            taken |= found
    return data.with_interactions(data.interactions.take(~drop[data.interactions.users]))
