"""Bundles: a log in which a bundle stands where a user stands elsewhere, and what shoppers do beside it.

Such a log has a row for each item of a bundle. What shoppers had is the relation "feedback" (shoppers → items); it says
how popular an item is, and it may be absent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oakum.data.dataset import Dataset, Relation
from oakum.data.interactions import Interactions
from oakum.data.vocabulary import Vocabulary
from oakum.errors import DataError

FEEDBACK = "feedback"


def bundle_log(data: Dataset, relation: str = "bundles") -> Dataset:
    """A log of shoppers with a relation of bundles and items, turned round: its bundles in place of its users.

    A row says that an item belongs to a bundle; the events become the relation "feedback", weighed by how often. Bundles
    with fewer than two known items teach nothing and are left out, which a note says. Raises `DataError` where there is no
    such relation, or where none of its bundles has two items that the log knows.
    """
    if relation not in data.relations:
        have = ", ".join(data.relations) or "none"
        raise DataError(
            f"'{data.name}' has no relation '{relation}' of bundles and items (it has {have}): read the log with "
            f"relations={{'{relation}': TABLE}}, a table of bundle_id and item_id."
        )
    edges = data.relations[relation]
    if (edges.source == "items") == (edges.target == "items"):
        raise DataError(
            f"The relation '{relation}' of '{data.name}' joins {edges.source} with {edges.target}; bundles need items at "
            "one end: a table of bundle_id and item_id."
        )
    turned = edges.source == "items"
    table = data.tables[edges.target if turned else edges.source]
    bundles, items = (edges.targets, edges.sources) if turned else (edges.sources, edges.targets)
    pairs = np.unique(np.stack([bundles, items], 1), axis=0) if len(items) else np.empty((0, 2), np.int32)
    sizes = np.bincount(pairs[:, 0], minlength=len(table))
    kept = np.flatnonzero(sizes >= 2)
    if not len(kept):
        raise DataError(
            f"None of the {len(table):,} bundles of '{relation}' has two items that the log '{data.name}' knows (first "
            f"bundle: {table['id'][0]!r}): use the item ids of the log in both."
            if len(table)
            else f"The relation '{relation}' of '{data.name}' names no bundle with a known item: use the item ids of the "
            "log in both."
        )
    place = np.full(len(table), -1, np.int32)
    place[kept] = np.arange(len(kept), dtype=np.int32)
    pairs = pairs[place[pairs[:, 0]] >= 0]
    log = data.interactions
    counts = log.matrix(data.num_users, data.num_items, weights="count").tocoo()
    feedback = Relation("shoppers", "items", counts.row, counts.col, counts.data)
    rest = {n: r for n, r in data.relations.items() if n != relation and {r.source, r.target} == {"items"}}
    import polars as pl

    tables = {"shoppers": pl.DataFrame({"id": data.users.ids}), "users": table[kept]}
    if "items" in data.tables:
        tables["items"] = data.tables["items"]
    notes = data.notes
    if len(kept) < len(table):
        notes += (
            f"{len(table) - len(kept):,} of {len(table):,} bundles have fewer than two known items and were left out.",
        )
    rows = Interactions(place[pairs[:, 0]], pairs[:, 1].astype(np.int32))
    ids = Vocabulary(table["id"].gather(kept).rename("id"))
    return Dataset(rows, ids, data.items, tables, {**rest, FEEDBACK: feedback}, f"bundles of {data.name}", notes)


def feedback_log(data: Dataset) -> Dataset | None:
    """What shoppers had, as a log of its own over the same items; None where nothing is known of them.

    Raises `DataError` where the relation names the bundles themselves as shoppers.
    """
    edges = data.relations.get(FEEDBACK)
    if edges is None or not len(edges.sources):
        return None
    ends = {edges.source: edges.sources, edges.target: edges.targets}
    other = next((name for name in ends if name != "items"), None)
    if "items" not in ends or other in (None, "users"):
        raise DataError(
            f"The relation '{FEEDBACK}' of '{data.name}' joins {edges.source} with {edges.target}; it should join shoppers "
            "with items, and the users of this log are its bundles: call the column of people shopper_id."
        )
    import polars as pl

    people = int(ends[other].max()) + 1
    log = Interactions(ends[other], ends["items"])
    ids = Vocabulary(pl.Series("id", np.arange(people, dtype=np.int64)))
    return Dataset(log, ids, data.items, {}, {}, f"feedback of {data.name}")


def feedback_counts(data: Dataset) -> NDArray[np.int64]:
    """How many shoppers had each item, int64 [items]; without feedback, how many bundles have it."""
    feedback = feedback_log(data)
    return (data if feedback is None else feedback).item_counts


def without_feedback(data: Dataset) -> Dataset:
    """The same bundles, and nothing known of shoppers."""
    return replace(data, relations={n: r for n, r in data.relations.items() if n != FEEDBACK})
