"""A log in figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from oakum.data.dataset import Dataset
from oakum.data.validate import duplicate_rows

_BINS = 10
_LISTED = 20  # values up to so many are counted one by one


def describe(data: Dataset) -> dict[str, Any]:
    """Sizes, density, span, values, activity, concentration, repeats and feature coverage as plain JSON
    values.

    users, items: those with events. density: distinct pairs / (users · items). gini_of_popularity: Gini
    coefficient of the distinct users of each item, 0 when all are equally popular, near 1 when few have all.
    share_of_repeats: events on an item that the user had before, of all events. duplicates: rows equal to an
    earlier one in user, item, time and value. Cost: a sort of the log.

    """
    log = data.interactions
    nobody = np.empty(0, np.int64)
    users = data.user_counts[data.user_counts > 0] if data.has_pairs else nobody
    items = np.sort(data.item_counts[data.item_counts > 0]) if data.has_pairs else nobody
    n, pairs = len(items), len(data.pairs.items) if data.has_pairs else len(log)
    out: dict[str, Any] = {
        "name": data.name,
        "events": len(log),
        "users": len(users),
        "items": n,
        "density": pairs / max(1, len(users) * n),
        "events_a_user": _quantiles(users),
        "users_an_item": _quantiles(items),
        "gini_of_popularity": round(_gini(items), 4),
        "share_of_top_items": round(float(items[-max(1, n // 100) :].sum() / max(1, items.sum())), 4) if n else 0.0,
        "repeated_pairs": len(log) - pairs,
        "share_of_repeats": round((len(log) - pairs) / max(1, len(log)), 4),
        "duplicates": len(duplicate_rows(data)),
        "context": {k: str(v.dtype) for k, v in log.fields.items()},
        "notes": list(data.notes),
        "digest": data.digest,
    }
    if log.times is not None and len(log):
        first, last = int(log.times.min()), int(log.times.max())
        out["from"], out["to"] = _date(first), _date(last)
        out["days"] = round((last - first) / 86_400e6, 3)
        out["distinct_times"] = len(np.unique(log.times))
    if log.values is not None and len(log):
        out["values"] = _histogram(log.values)
        out["value_quantiles"] = _quantiles(log.values)
    for name, table in data.tables.items():
        out[f"{name}_features"] = {c: round(_coverage(table[c]), 4) for c in table.columns}
    for name, edges in data.relations.items():
        out[f"relation_{name}"] = {"from": edges.source, "to": edges.target, "edges": len(edges.sources)}
    return out


def _gini(ascending: Any) -> float:
    n = len(ascending)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / max(1, n * ascending.sum())) if n else 0.0


def _coverage(column: pl.Series) -> float:
    return 1 - column.null_count() / max(1, len(column))


def _histogram(values: Any) -> dict[str, int]:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _LISTED:
        return {f"{v:g}": int(c) for v, c in zip(distinct, counts, strict=True)}
    counts, edges = np.histogram(values.astype(np.float64), bins=_BINS)
    return {f"{edges[i]:g} to {edges[i + 1]:g}": int(c) for i, c in enumerate(counts)}


def _quantiles(x: Any) -> dict[str, float]:
    if not len(x):
        return {}
    names = ("min", "p25", "median", "mean", "p75", "p95", "max")
    x = np.asarray(x, np.float64)
    q25, q50, q75, q95 = np.quantile(x, (0.25, 0.5, 0.75, 0.95))
    values = (x.min(), q25, q50, x.mean(), q75, q95, x.max())
    return {k: round(float(v), 3) for k, v in zip(names, values, strict=True)}


def _date(microseconds: int) -> str:
    try:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return f"{microseconds / 1e6:g} s"
