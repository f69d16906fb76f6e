"""A log in figures, and checked for what would spoil a training."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from oakum.data.dataset import Dataset


def describe(data: Dataset) -> dict[str, Any]:
    """Rows, users, items, density, span, activity, concentration, repeats, features; plain JSON values."""
    log = data.interactions
    users = data.user_counts[data.user_counts > 0]
    items = np.sort(data.item_counts[data.item_counts > 0])
    n = len(items)
    gini = float((2 * np.arange(1, n + 1) - n - 1) @ items / max(1, n * items.sum())) if n else 0.0
    out: dict[str, Any] = {
        "name": data.name,
        "events": len(log),
        "users": len(users),
        "items": n,
        "density": data.matrix.nnz / max(1, len(users) * n),
        "events_a_user": _quantiles(users),
        "users_an_item": _quantiles(items),
        "gini_of_popularity": round(gini, 4),
        "repeated_pairs": len(log) - data.matrix.nnz,
        "notes": list(data.notes),
        "digest": data.digest,
    }
    if log.times is not None and len(log):
        out["from"], out["to"] = (_date(int(t)) for t in (log.times.min(), log.times.max()))
        out["distinct_times"] = len(np.unique(log.times))
    if log.values is not None and len(log):
        values, counts = np.unique(log.values, return_counts=True)
        if len(values) <= 20:
            out["values"] = {f"{v:g}": int(c) for v, c in zip(values, counts, strict=True)}
        else:
            out["values"] = _quantiles(log.values)
    for name, table in data.tables.items():
        filled = {c: round(1 - table[c].null_count() / max(1, len(table)), 4) for c in table.columns}
        out[f"{name}_features"] = filled
    for name, edges in data.relations.items():
        out[f"relation_{name}"] = len(edges.sources)
    return out


def _quantiles(x: Any) -> dict[str, float]:
    if not len(x):
        return {}
    names = ("min", "median", "mean", "p95", "max")
    values = (np.min(x), np.median(x), np.mean(x), np.quantile(x, 0.95), np.max(x))
    return {k: round(float(v), 3) for k, v in zip(names, values, strict=True)}


def _date(microseconds: int) -> str:
    try:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return f"{microseconds / 1e6:g} s"
