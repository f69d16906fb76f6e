"""`check`: everything that is wrong with a log, or that would make results worth less."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.dataset import Dataset
from oakum.data.issues import Issue, Judge, Refusal
from oakum.data.read import read_judged
from oakum.errors import OakumError

__all__ = ["Issue", "check", "judge_dataset"]

_EXAMPLES = 3


def check(source: Any, **options: Any) -> list[Issue]:
    """What is wrong with a log: errors (reading it raises the first of them), warnings, notes; in that order.

    source and options are those of `read`. Faults of different columns are all reported, each with its first
    row and the number of rows; a file that cannot be parsed gives one. An empty list of errors means that
    `read` takes it.

    """
    judge = Judge(collect=True)
    found: list[Issue] = []
    given = {role: options.pop(role, None) for role in ("user", "item", "value", "time")}
    where = str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else "the frame"
    try:
        data = read_judged(source, given, judge, **options)
        found = judge_dataset(data, where)
    except Refusal as error:
        found = [error.issue]
    except OakumError as error:
        found = [Issue(where, str(error).rstrip("."))]
    issues = [*(judge.issues or []), *found]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(issues, key=lambda issue: order[issue.level])


def judge_dataset(data: Dataset, where: str) -> list[Issue]:
    """Warnings and notes on a log that could be read."""
    log, out = data.interactions, list[Issue]()
    if len(log) == 0:
        return out
    same = duplicate_rows(data)
    if len(same):
        share = len(same) / len(log)
        out.append(
            Issue(
                where,
                f"{len(same):,} of {len(log):,} rows repeat an earlier row in every column ({share:.1%})",
                "They count as further events; remove them if they come from a faulty export.",
                level="warning",
                count=len(same),
                examples=tuple(_row(data, int(i)) for i in same[:_EXAMPLES]),
            )
        )
    single = int((data.user_counts == 1).sum()) if data.has_pairs else 0
    if single > data.num_users / 2:
        out.append(
            Issue(
                where,
                f"{single:,} of {data.num_users:,} users have one item only",
                "They can be trained on or tested on, never both; most measures will rest on the others.",
                level="warning",
                count=single,
            )
        )
    if log.times is not None:
        moments = len(np.unique(log.times))
        if moments == 1:
            out.append(Issue(where, "every event has the same time", "Splits by time are impossible.", level="warning"))
        ahead = _impossible(log.times)
        if ahead:
            out.append(
                Issue(
                    where,
                    f"{ahead:,} events lie after the year 2100",
                    "Check the unit of the times.",
                    level="warning",
                )
            )
    if log.values is not None and float(np.ptp(log.values)) == 0:
        out.append(
            Issue(
                where,
                f"every value is {log.values[0]:g}",
                "It says nothing; value='' leaves it out.",
                level="note",
            )
        )
    out.extend(Issue(where, note.rstrip("."), level="note") for note in data.notes)
    return out


def duplicate_rows(data: Dataset) -> NDArray[np.int64]:
    """Positions of events that equal an earlier one in user, item, time and value; int64, ascending."""
    log = data.interactions
    pairs = log.users.astype(np.int64) * max(1, data.num_items) + log.items
    keys: list[NDArray[Any]] = [np.arange(len(log)), pairs]
    if not data.has_pairs:
        keys += [np.unique(column, return_inverse=True)[1] for column in log.fields.values()]
    if log.times is not None:
        keys.insert(1, log.times)
    if log.values is not None:
        keys.insert(1, log.values)
    order = np.lexsort(keys)
    same = np.ones(max(0, len(order) - 1), bool)
    for key in keys[1:]:
        ranked = key[order]
        same &= ranked[1:] == ranked[:-1]
    return np.sort(order[1:][same])


def _row(data: Dataset, at: int) -> str:
    log = data.interactions
    if not data.has_pairs:
        return f"row {int(log.rows[at]) + 1}"
    user, item = data.users.ids[int(log.users[at])], data.items.ids[int(log.items[at])]
    return f"row {int(log.rows[at]) + 1}: user {user!r}, item {item!r}"


def _impossible(times: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(times > 4_102_444_800_000_000))
