"""What several claims files measure with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def published(folder: Path) -> Any:
    """Published train and test files as a split without a validation part (the papers used none)."""
    from oakum.data.read import read_parts
    from oakum.splits import split_from_parts

    train, test, _ = read_parts(folder)
    return split_from_parts(train, test, carve=0)


def quality(fitted: Any, split: Any, names: tuple[str, ...] = ("recall@20", "ndcg@20")) -> dict[str, float]:
    """Means over the test users, all candidates ranked, training items removed."""
    from oakum.metrics import measure

    truth = split.truth().within(fitted.candidates)
    k = max(int(n.partition("@")[2]) for n in names)
    ranking = fitted.rank(truth.queries, k, where=truth.filter(), fallback=True)
    return {n: float(np.mean(v)) for n, v in measure(ranking, truth, names).items()}


def values_by_user(fitted: Any, split: Any, name: str = "ndcg@10") -> Any:
    """One value a test user, float [users]: as `quality`, before the mean."""
    from oakum.metrics import measure

    truth = split.truth().within(fitted.candidates)
    k = int(name.partition("@")[2])
    return np.asarray(measure(fitted.rank(truth.queries, k, where=truth.filter(), fallback=True), truth, [name])[name])


def chance_above(fitted: Any, split: Any, block: int = 256) -> Any:
    """AUC of each test user, float [users]: the share of the items not had that score below the one that came, ties one half.

    One relevant item a user (a split that leaves the last event out); items without a training event are left out.
    """
    truth = split.truth()
    out = np.full(len(truth), np.nan)
    for start in range(0, len(truth), block):
        part = truth.take(np.arange(start, min(len(truth), start + block)))
        scores = fitted.score(part.queries).astype(np.float64)
        scores[part.histories.owners(), part.histories.items] = np.nan
        own = scores[np.arange(len(part)), part.relevant.items[part.relevant.offsets[:-1]]][:, None]
        others = np.isfinite(scores).sum(1) - 1
        below = (scores < own).sum(1) + ((scores == own).sum(1) - 1) / 2
        out[start : start + len(part)] = np.where(np.isfinite(own[:, 0]), below / np.maximum(others, 1), np.nan)
    return out


def apart(a: Any, b: Any) -> Any:
    """Mean of a − b over the same users with its interval, pooled over seeds. a, b: one array of values by user a seed."""
    from oakum.metrics.over_seeds import pooled
    from oakum.metrics.statistics import estimate

    return pooled([estimate(x - y) for x, y in zip(a, b, strict=True)])


def mean(runs: Any) -> float:
    """The mean over users, then over seeds."""
    return float(np.mean([np.nanmean(r) for r in runs]))


def figures(values: dict[str, float], digits: int = 4) -> str:
    """'recall@20 0.2646, ndcg@20 0.2062'."""
    return ", ".join(f"{k} {v:.{digits}f}" for k, v in values.items())


def band(value: float, target: float, share: float) -> bool:
    """Within a relative band, or above it."""
    return value >= target * (1 - share)


def ten_core(frame: Any, n: int = 10) -> Any:
    """Events of users and items with at least `n` events each, repeated until it holds."""
    import polars as pl

    while True:
        size = len(frame)
        frame = frame.filter((pl.len().over("user_id") >= n) & (pl.len().over("item_id") >= n))
        if len(frame) == size:
            return frame


def folded(folder: Path, column: str, *, users: int | None = None) -> Any:
    """A log with a column of five test folds: fold 1 as the test part, no validation; the first `users` ids only.

    Returns (split, the whole log over the same ids).
    """
    import polars as pl

    from oakum.data.read import read
    from oakum.splits import split_from_parts

    frame = pl.read_parquet(folder / "interactions.parquet").sort("user_id", "item_id")
    if users is not None:
        frame = frame.filter(pl.col("user_id") <= users)
    whole = read(frame.select("user_id", "item_id", column))
    test = np.asarray(whole.interactions.fields[column]).astype(np.int64) == 1
    part = lambda rows: whole.interactions.take(rows)
    return split_from_parts(whole.with_interactions(part(~test)), part(test), carve=0), whole
