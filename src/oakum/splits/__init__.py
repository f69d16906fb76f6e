"""Splits: who is trained on, who is asked, and under which protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oakum.data import Dataset
from oakum.errors import ParameterError, nearest
from oakum.splits.bundles import split_popular_given
from oakum.splits.protocol import Protocol, Split, Truth, rolling_truth
from oakum.splits.rules import (
    kfold,
    published_parts,
    split_by_time,
    split_by_user,
    split_cold_items,
    split_from_parts,
    split_holdout,
    split_last_share,
    split_leave_last,
    split_none,
    split_published,
    split_rows,
)
from oakum.splits.target import split_for

__all__ = ["Protocol", "Split", "Truth", "kfold", "rolling_truth", "split", "split_from_parts"]

RULES: dict[str, Callable[..., Split]] = {
    "time": split_by_time,
    "leave-last": split_leave_last,
    "last-share": split_last_share,
    "holdout": split_holdout,
    "users": split_by_user,
    "cold-items": split_cold_items,
    "popular-given": split_popular_given,
    "rows": split_rows,
    "published": split_published,
    "none": split_none,
}


def split(data: Dataset, rule: str = "auto", *, target: str | None = None, seed: int = 0, **options: Any) -> Split:
    """Cut a log by a rule: time, leave-last, last-share, holdout, users, cold-items, popular-given, rows, published, none.

    auto takes time where times differ, else holdout; a log of labelled rows without users or items is cut by its published
    parts where a column names them, and by rows else.
    target: the domain whose events are asked for and whose items are ranked; what happened in other domains is known up to
    the events asked for.

    Times that are mere positions (fewer than two days in all) do not order people against each other: auto then
    leaves the last event of each user out.
    """
    if rule == "auto":
        rule = _auto(data)
    if rule not in RULES:
        raise ParameterError(f"There is no split rule '{rule}'.{nearest(rule, RULES)}")
    if rule in ("holdout", "users", "cold-items", "popular-given", "rows"):
        options["seed"] = seed
    if target is not None:
        return split_for(data, target, rule, RULES[rule], **options)
    return RULES[rule](data, **options)


def _auto(data: Dataset) -> str:
    times = data.interactions.times
    if not data.has_pairs and published_parts(data) is not None:
        return "published"
    if times is None or not len(times) or times.min() == times.max():
        return "holdout" if data.has_pairs else "rows"
    if not data.has_pairs:
        return "time"
    return "leave-last" if times.max() - times.min() < 2 * 86_400_000_000 else "time"
