"""Two audits side by side: what got better, what got worse, and what else is different between them.

The two runs are separate: nothing is paired. The interval of a difference is made of both intervals, as if
they were independent (half widths added in quadrature); where both runs tested the same people it is wider than
need be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oakum.audits.record import AuditReport, Finding
from oakum.metrics.estimate import Estimate
from oakum.report import words

STEP = 0.05  # a change of loss below this is not called a change
HOW = "not paired: two runs, half widths added in quadrature"


def compare(a: AuditReport, b: AuditReport) -> dict[str, Any]:
    """What changed from audit a (the first) to b (the second), as plain JSON values.

    accuracy: b − a of each system and metric that both have, with an interval and `says` (higher, lower, not
    told apart). cells: the same for every cell with an interval of the heat maps that both runs drew. findings: by plank and system; `change` is worse, better, same, new, gone or unclear (not
    measured in one). settings: [name, in a, in b] wherever the runs differ. notes: reasons for care.
    summary: one sentence.
    """
    accuracy = _accuracy(a, b)
    findings = _findings(a, b)
    cells = _cells(a, b)
    settings = _settings(a, b)
    notes = ["The two runs are not paired: the intervals of their differences are those of two separate samples."]
    if a.data.get("digest") != b.data.get("digest"):
        notes.append("The logs differ, so a difference may come from the data as well as from the systems.")
    if a.protocol.get("rule") != b.protocol.get("rule") or a.protocol.get("cut") != b.protocol.get("cut"):
        notes.append("The protocols differ (rule or cut): accuracy figures of the two runs answer different questions.")
    count = {c: sum(f["change"] == c for f in findings) for c in ("worse", "better", "new", "gone")}
    moved = {s: sum(r["says"] == s for r in accuracy) for s in ("lower", "higher")}
    summary = (
        f"{words.sentence(words.counted(count['worse'], 'plank', 'planks', 'no'))} got worse, "
        f"{words.counted(count['better'], 'got', 'got')} "
        f"better, {words.counted(count['new'], 'is', 'are')} new and "
        f"{words.counted(count['gone'], 'is', 'are')} gone; of "
        f"{len(accuracy)} accuracy figures {words.counted(moved['lower'], 'is', 'are')} lower and "
        f"{words.counted(moved['higher'], 'is', 'are')} higher beyond their intervals."
    )
    if cells:
        grid = {s: sum(c["says"] == s for c in cells) for s in ("higher", "lower")}
        summary += (
            f" Of {len(cells)} cells of heat maps that both hold, {words.counted(grid['higher'], 'is', 'are')} higher and "
            f"{words.counted(grid['lower'], 'is', 'are')} lower beyond their intervals."
        )
    return {
        "a": _head(a),
        "b": _head(b),
        "summary": summary,
        "notes": notes,
        "accuracy": accuracy,
        "findings": findings,
        "cells": cells,
        "settings": settings,
    }


def _head(r: AuditReport) -> dict[str, Any]:
    return {"title": r.title, "started": r.started, "plank": r.plank, "digest": r.data.get("digest")}


def page(found: Mapping[str, Any]) -> str:
    """The comparison as a page of the same make as the report."""
    from oakum.report.page import environment, style

    return str(environment().get_template("compare.html.jinja").render(found=found, of=_words_of, **style()))


def write(a: AuditReport, b: AuditReport, folder: str | Path) -> tuple[Path, Path]:
    """Write `comparison.html` and `comparison.json` into a folder; give their paths."""
    from oakum.report import write_pair

    found = compare(a, b)
    return write_pair(page(found), found, folder, "comparison")


def difference(a: Estimate, b: Estimate) -> Estimate:
    """b − a of two separate samples: half widths added in quadrature."""
    value = b.value - a.value
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(value, low, high, min(a.n, b.n), HOW)


def _json(e: Estimate | None) -> dict[str, Any] | None:
    if e is None:
        return None
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in e.to_json().items()}


def _accuracy(a: AuditReport, b: AuditReport) -> list[dict[str, Any]]:
    out = []
    before = {s.slug: s for s in a.systems}
    for s in b.systems:
        for metric, new in s.metrics.items():
            old = before[s.slug].metrics.get(metric) if s.slug in before else None
            if old is None:
                continue
            gap = difference(old, new)
            says = "higher" if gap.low > 0 else "lower" if gap.high < 0 else "not told apart"
            row = {"slug": s.slug, "title": s.title, "metric": metric, "a": _json(old), "b": _json(new)}
            out.append({**row, "difference": _json(gap), "says": says})
    return out


def _cells(a: AuditReport, b: AuditReport) -> list[dict[str, Any]]:
    """Cells of heat maps with intervals that both runs have, by audit, map, row and column."""
    out = []
    before = _heat_cells(a)
    for (audit, plot, row, column), new in _heat_cells(b).items():
        old = before.get((audit, plot, row, column))
        if old is None:
            continue
        gap = difference(old, new)
        says = "higher" if gap.low > 0 else "lower" if gap.high < 0 else "not told apart"
        place = {"audit": audit, "map": plot, "row": row, "column": column}
        out.append({**place, "a": _json(old), "b": _json(new), "difference": _json(gap), "says": says})
    return out


def _heat_cells(r: AuditReport) -> dict[tuple[str, str, str, str], Estimate]:
    out = {}
    for f in r.findings:
        for plot in (p for p in f.plots if p.kind == "heat"):
            title = plot.title.partition(" (n/a")[0]
            for s in plot.series:
                columns = zip(s["x"], s["y"], s.get("low", ()), s.get("high", ()), strict=False)
                for x, y, low, high in columns:
                    if all(v is not None and math.isfinite(v) for v in (y, low, high)):
                        out[f.slug, title, str(s["name"]), str(x)] = Estimate(float(y), float(low), float(high), 0)
    return out


def _findings(a: AuditReport, b: AuditReport) -> list[dict[str, Any]]:
    first = {(f.slug, f.subject): f for f in a.findings}
    second = {(f.slug, f.subject): f for f in b.findings}
    out = []
    for key in dict.fromkeys([*second, *first]):
        old, new = first.get(key), second.get(key)
        known = new or old
        assert known is not None
        out.append(
            {
                "slug": key[0],
                "subject": key[1],
                "title": known.title,
                "change": _change(old, new),
                "verdict_a": old.verdict if old else None,
                "verdict_b": new.verdict if new else None,
                "loss_a": _finite(old),
                "loss_b": _finite(new),
                "sentence_a": (old.sentence or old.reason) if old else "",
                "sentence_b": (new.sentence or new.reason) if new else "",
            }
        )
    order = ("worse", "new", "better", "gone", "unclear", "same")
    return sorted(out, key=lambda r: (order.index(str(r["change"])), -(r["loss_b"] or 0.0)))


def _finite(f: Finding | None) -> float | None:
    return f.loss if f is not None and f.loss is not None and math.isfinite(f.loss) else None


def _change(old: Finding | None, new: Finding | None) -> str:
    if old is None:
        return "new"
    if new is None:
        return "gone"
    before, after = _finite(old), _finite(new)
    if before is None or after is None:
        return "same" if before is after else "unclear"
    measured = [(f.attacked or f.clean) for f in (old, new)]
    if measured[0] is not None and measured[1] is not None and measured[0].overlaps(measured[1]):
        return "same"  # the intervals share a point: no more than sampling
    if abs(after - before) < STEP and old.verdict == new.verdict:
        return "same"
    return "worse" if after > before else "better" if after < before else "same"


def _settings(a: AuditReport, b: AuditReport) -> list[list[Any]]:
    left, right = _described(a), _described(b)
    return [[k, left.get(k), right.get(k)] for k in sorted({*left, *right}) if left.get(k) != right.get(k)]


def _described(r: AuditReport) -> dict[str, Any]:
    out: dict[str, Any] = {}
    value = r.to_json()
    for part in ("settings", "protocol", "versions"):
        _flatten(value[part], part, out)
    for key in ("name", "digest", "events", "users", "items"):
        out[f"data.{key}"] = value["data"].get(key)
    for s in value["systems"]:
        _flatten(s["settings"], f"systems.{s['slug']}", out)
    return out


def _flatten(value: Any, name: str, out: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for k, v in value.items():
            _flatten(v, f"{name}.{k}", out)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for i, v in enumerate(value):
            _flatten(v, f"{name}.{v.get('slug', i)}", out)
    else:
        out[name] = value


def _words_of(value: Mapping[str, Any] | None, *, sign: bool = False) -> str:
    if value is None:
        return words.ABSENT
    numbers = {k: float("nan") if value[k] is None else value[k] for k in ("value", "low", "high")}
    return words.interval(Estimate(n=int(value["n"]), how="", **numbers), 4, sign=sign)
