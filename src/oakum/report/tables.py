"""Tables of the page: rows of words that know which of their columns are numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oakum.audits.record import AuditReport, SystemResult
from oakum.metrics.estimate import Estimate
from oakum.report import words

NUMBER = re.compile(r"^[−+]?[\d,.]+(e[−+]?\d+)?( %)?( ?[\[(].*)?$|^–$")
SIGNED = re.compile(r"^-[\d.,]+( %)?( \[[-\d., %]+\])?$|^[\d.]+ \[-[\d., %]+\]$")  # negative numbers written in ASCII


@dataclass(frozen=True)
class Table:
    """A table ready to be drawn: head, rows of text, and which columns hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]


def tables(rows: Iterable[Mapping[str, Any]]) -> list[Table]:
    """Rows as tables: rows with the same columns stand together."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(map(str, row)), []).append(row)
    return [
        table(list(head), [[words.cell(v) for v in row.values()] for row in found]) for head, found in groups.items()
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table that knows its columns of numbers."""
    rows = [[c.replace("-", "−") if SIGNED.match(c) else c for c in row] for row in rows]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(head)
    numeric = [bool(c) and all(NUMBER.match(v) for v in c) and any(v != words.ABSENT for v in c) for c in columns]
    return Table([h.replace("_", " ") for h in head], rows, numeric)


def pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A mapping as words."""
    return [(str(k).replace("_", " "), words.cell(v)) for k, v in values.items()]


def cell_of(value: Any) -> str:
    """One setting as a line."""
    return "; ".join(f"{k} = {v}" for k, v in flat(value)) if isinstance(value, Mapping) else words.cell(value)


def accuracy(report: AuditReport, *, newcomers: bool = False) -> dict[str, Any]:
    """The accuracy table: an interval on every number, 'best' only where it holds."""

    def of(s: SystemResult) -> Mapping[str, Estimate]:
        return s.newcomers if newcomers else s.metrics

    metrics = list(dict.fromkeys(m for s in report.systems for m in of(s)))
    digits = {m: words.digits_of([of(s).get(m) for s in report.systems]) for m in metrics}
    best = {} if newcomers else {m: words.leader_of(report, m) for m in metrics}
    beats: dict[str, list[str]] = {}
    for c in report.comparisons:
        if words.holds(c) > 0 and any(s.slug == c["b"] and s.baseline for s in report.systems):
            beats.setdefault(str(c["a"]), []).append(str(c["metric"]))
    rows = []
    for s in report.systems:
        if not of(s):
            continue
        cells = []
        for m in metrics:
            e = of(s).get(m)
            value, _, bounds = words.interval(e, digits[m]).partition(" ")
            noise = s.seed_noise.get(m) if not newcomers else None
            seed = f"seed ± {words.number(noise, digits[m])}" if noise is not None else ""
            cells.append({"value": value, "bounds": bounds, "best": best.get(m) == s.slug, "noise": seed})
        rows.append(
            {
                "s": s,
                "cells": cells,
                "beats": [] if newcomers else beats.get(s.slug, []),
                "seconds": words.duration(s.seconds),
            }
        )
    return {"metrics": metrics, "rows": rows, "any_best": any(best.values())}


def comparisons(report: AuditReport) -> list[dict[str, Any]]:
    """The paired differences, in words."""
    out = []
    title = {s.slug: s.title for s in report.systems}
    for c in report.comparisons:
        gap = c.get("difference") or {}
        low, high = gap.get("low"), gap.get("high")
        bounds = f"[{words.number(low, 4, sign=True)}, {words.number(high, 4, sign=True)}]"
        sign = words.holds(c)
        out.append(
            {
                "a": title.get(c.get("a", ""), c.get("a")),
                "b": title.get(c.get("b", ""), c.get("b")),
                "metric": c.get("metric"),
                "difference": f"{words.number(gap.get('value'), 4, sign=True)} {bounds}",
                "p": _p(c.get("p_corrected", c.get("p"))),
                "says": {1: "the first is better", -1: "the second is better", 0: "not told apart"}[sign],
            }
        )
    return out


def _p(value: float | None) -> str:
    return words.ABSENT if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def flat(value: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines: 'plan.epochs', '14'."""
    out: list[tuple[str, str]] = []
    for k, v in value.items():
        name = f"{before}{k}"
        if isinstance(v, Mapping) and v:
            out += flat(v, f"{name}.")
        else:
            out.append((name, words.cell(v)))
    return out
