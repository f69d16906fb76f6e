"""An audit as one self-contained HTML page: no network, no script, a style sheet named by its digest."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from oakum.audits.record import AuditReport, Finding
from oakum.report import plots, words
from oakum.report.glossary import terms_in
from oakum.report.palette import DARK, LIGHT, variables


@dataclass(frozen=True)
class Table:
    """A table ready to be drawn: head, rows of text, and which columns hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]


def render(report: AuditReport) -> str:
    """The page."""
    return environment().get_template("report.html.jinja").render(**view(report), **style())


def environment() -> Any:
    """Templates that escape everything and refuse unknown names."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    out = Environment(
        loader=FileSystemLoader(str(resources.files("oakum.report").joinpath("templates"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    out.filters.update(
        cell=words.cell,
        number=words.number,
        interval=words.interval,
        duration=words.duration,
        metric=words.metric,
    )
    out.globals.update(marks=words.MARKS)
    return out


def style() -> dict[str, Any]:
    """The style sheet and the policy that allows it alone: nothing is loaded, nothing runs."""
    from markupsafe import Markup

    css = resources.files("oakum.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    css = css.replace("/*light*/", variables(LIGHT)).replace("/*dark*/", variables(DARK))
    css += "".join(f".f-{r}{{fill:var(--{r})}}.s-{r}{{stroke:var(--{r})}}" for r in plots.ROLES)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return {"css": Markup(css), "policy": policy}


def view(report: AuditReport) -> dict[str, Any]:
    """Everything that the template says, in words."""
    plank = words.plank_of(report)
    names = anchors(report.findings)
    findings = [_finding(f, names[i], f is plank) for i, f in enumerate(report.findings)]
    text = json.dumps(report.to_json())
    cure, price = words.cure_words(plank) if plank else ("", "")
    protocol = report.protocol
    return {
        "report": report,
        "started": words.started(report.started),
        "verdict_line": words.verdict_line(report),
        "plank": next((f for f in findings if f["is_plank"]), None),
        "cure": cure,
        "price": price,
        "audited": _audited(report),
        "left_out": [str(s) for s in protocol.get("left_out", ())],
        "staves": _staves(findings),
        "findings": findings,
        "accuracy": _accuracy(report),
        "newcomers": _accuracy(report, newcomers=True) if any(s.newcomers for s in report.systems) else None,
        "lint": [{**x, "verdict": words.SEVERITIES.get(str(x.get("severity")), "notice")} for x in report.lint],
        "comparisons": _comparisons(report),
        "protocol": pairs(
            {k: v for k, v in protocol.items() if k != "left_out"} | {"cut": words.moment(protocol.get("cut"))}
        ),
        "data": pairs(report.data),
        "settings": pairs({k: v for k, v in report.settings.items() if k not in ("systems", "audits")}),
        "system_settings": [(s.title, _flat(s.settings)) for s in report.systems],
        "audit_settings": [cell_of(a) for a in report.settings.get("audits", ())],
        "versions": pairs(report.versions),
        "runs": tables(report.runs),
        "terms": terms_in(text),
        "seconds": words.duration(report.seconds),
    }


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
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(head)
    shape = re.compile(r"^[−+]?[\d,.]+([e][−+-]?\d+)?( %)?( ?[\[(].*)?$|^–$")
    numeric = [bool(c) and all(shape.match(v) for v in c) and any(v != words.ABSENT for v in c) for c in columns]
    return Table([h.replace("_", " ") for h in head], rows, numeric)


def pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A mapping as words."""
    return [(str(k).replace("_", " "), words.cell(v)) for k, v in values.items()]


def cell_of(value: Any) -> str:
    """One setting as a line."""
    return "; ".join(f"{k} = {v}" for k, v in _flat(value)) if isinstance(value, Mapping) else words.cell(value)


def anchors(findings: Sequence[Finding]) -> list[str]:
    """A fragment id for each finding: only letters, digits and hyphens, never the same twice."""
    out: list[str] = []
    for f in findings:
        stem = re.sub(r"[^a-z0-9]+", "-", f"finding {f.slug} {f.subject}".lower()).strip("-")[:80]
        name, i = stem, 2
        while name in out:
            name, i = f"{stem}-{i}", i + 1
        out.append(name)
    return out


def _shown(value: Any) -> Any:
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", words.clean(value)) if type(value) is str else value


def _audited(report: AuditReport) -> list[tuple[str, str]]:
    data, protocol = report.data, report.protocol
    span = f", from {data['from']} to {data['to']}" if data.get("from") and data.get("to") else ""
    count = lambda k, source: words.cell(source.get(k))
    log = f"{data.get('name', 'the log')}: {count('events', data)} events of {count('users', data)} people on {count('items', data)} items{span}"
    tested = (
        f"{count('test_users', protocol)} people, on {count('test_events', protocol)} events that no model had seen; "
    )
    ranked = protocol.get("candidates", "all")
    tested += "every item ranked for each of them" if ranked == "all" else f"candidates: {ranked}"
    cut = words.moment(protocol["cut"]) if protocol.get("cut") is not None else "no global date"
    rule = f"{cut}; rule '{protocol.get('rule', 'not stated')}'"
    return [("Data", log + "."), ("Tested", tested + "."), ("Cut", rule + ".")]


def _finding(f: Finding, anchor: str, is_plank: bool) -> dict[str, Any]:
    from markupsafe import Markup

    names = ("clean", "under attack") if f.threat or f.cures else ("undisturbed", "disturbed")
    rows = [(n, e) for n, e in zip(names, (f.clean, f.attacked), strict=True) if e]
    rows += [(f"with {c.slug}", c.after) for c in f.cures if c.after is not None]
    rows = [(n, e) for n, e in rows if math.isfinite(e.value)]
    digits = words.digits_of([e for _, e in rows])
    alt = "; ".join(f"{n}: {words.interval(e, digits)}" for n, e in rows)
    cure, price = words.cure_words(f)
    return {
        "f": f,
        "anchor": anchor,
        "is_plank": is_plank,
        "loss": None if f.loss is None or not math.isfinite(f.loss) else min(1.0, max(0.0, f.loss)),
        "estimates": [(n, words.interval(e, digits), f"{e.n:,}", e.how) for n, e in rows],
        # One number needs no drawing, and a finding without an attack brings its own.
        "picture": Markup(plots.intervals(rows, alt, f"{anchor}-i"))
        if len(rows) > 1 and (f.cures or not f.plots)
        else None,
        "first": words.first_sentence((f.reason or f.sentence) if f.verdict == "not measured" else f.sentence),
        "plots": [
            {"plot": p, "svg": Markup(plots.draw(p, f"{anchor}-{i}")), "table": table(*plots.table_of(p))}
            for i, p in enumerate(f.plots)
        ],
        "evidence": tables(f.evidence),
        "budget": pairs(f.budget),
        "cures": [
            (
                c.slug,
                words.interval(c.after, digits),
                words.interval(c.price, percent=True, sign=True),
                words.sentence(c.sentence),
            )
            for c in f.cures
        ],
        "cure": cure,
        "price": price,
        "seconds": words.duration(f.seconds),
    }


def _staves(findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The cask of the first screen: a stave a finding, as high as it is sound; water stands to the shortest."""
    width, top, foot = 12.0, 14.0, 104.0
    staves = []
    for i, x in enumerate(sorted(findings, key=lambda x: x["anchor"])):
        height = (foot - top) * (0.12 + 0.88 * (1 - x["loss"])) if x["loss"] is not None else foot - top
        staves.append(
            {
                "x": round(i * width + 1, 1),
                "y": round(foot - height, 1),
                "height": round(height, 1),
                "f": x,
                "measured": x["loss"] is not None,
            }
        )
    known = [float(str(s["y"])) for s in staves if s["measured"]]
    return {
        "staves": staves, "width": width * len(staves) + 1, "level": max(known, default=foot), "foot": foot, "stave": width - 2,
    }  # fmt: skip


def _accuracy(report: AuditReport, *, newcomers: bool = False) -> dict[str, Any]:
    of = (lambda s: s.newcomers) if newcomers else (lambda s: s.metrics)
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


def _comparisons(report: AuditReport) -> list[dict[str, Any]]:
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


def _flat(value: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for k, v in value.items():
        name = f"{before}{k}"
        if isinstance(v, Mapping) and v:
            out += _flat(v, f"{name}.")
        else:
            out.append((name, words.cell(v)))
    return out
