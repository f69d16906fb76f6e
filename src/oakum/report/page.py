"""An audit as one self-contained HTML page: no network, no script, a style sheet named by its digest."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from oakum.audits.record import AuditReport, Finding
from oakum.report import plots, words
from oakum.report.glossary import terms_in
from oakum.report.palette import DARK, LIGHT, variables
from oakum.report.tables import accuracy, cell_of, comparisons, flat, pairs, table, tables


def render(report: AuditReport) -> str:
    """The page."""
    return str(environment().get_template("report.html.jinja").render(**view(report), **style()))


def environment(*more: str) -> Any:
    """Templates that escape everything and refuse unknown names. more: folders that are looked into first."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    out = Environment(
        loader=FileSystemLoader([*more, str(resources.files("oakum.report").joinpath("templates"))]),
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

    css = sheet()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return {"css": Markup(css), "policy": policy}


def sheet() -> str:
    """The style sheet: the palette, light and dark, and the rules over it."""
    css = resources.files("oakum.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    css = css.replace("/*light*/", variables(LIGHT)).replace("/*dark*/", variables(DARK))
    return css + "".join(f".f-{r}{{fill:var(--{r})}}.s-{r}{{stroke:var(--{r})}}" for r in plots.ROLES)


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
        "accuracy": accuracy(report),
        "newcomers": accuracy(report, newcomers=True) if any(s.newcomers for s in report.systems) else None,
        "lint": [{**x, "verdict": words.SEVERITIES.get(str(x.get("severity")), "notice")} for x in report.lint],
        "comparisons": comparisons(report),
        "protocol": pairs(
            {k: v for k, v in protocol.items() if k not in ("left_out", "audited")}
            | {"cut": words.moment(protocol.get("cut"))}
        ),
        "data": pairs(report.data),
        "settings": pairs({k: v for k, v in report.settings.items() if k not in ("systems", "audits")}),
        "system_settings": [(s.title, flat(s.settings)) for s in report.systems],
        "audit_settings": [cell_of(a) for a in report.settings.get("audits", ())],
        "versions": pairs(report.versions),
        "runs": tables(report.runs),
        "terms": terms_in(text),
        "seconds": words.duration(report.seconds),
    }


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
    if "audited" in protocol:  # a benchmark says in its own words what it measured on
        return [(str(name), str(text)) for name, text in protocol["audited"]]
    span = f", from {data['from']} to {data['to']}" if data.get("from") and data.get("to") else ""
    events, users, items = (words.cell(data.get(k)) for k in ("events", "users", "items"))
    log = f"{data.get('name', 'the log')}: {events} events of {users} people on {items} items{span}"
    people, test = (words.cell(protocol.get(k)) for k in ("test_users", "test_events"))
    tested = f"{people} people, on {test} events that no model had seen; "
    ranked = protocol.get("candidates", "all")
    kind, _, domain = ranked.partition(":")
    every = f"every item of the domain {domain} ranked" if kind == "domain" else f"candidates: {ranked}"
    tested += "every item ranked for each of them" if ranked == "all" else every
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
    """The cask of the first screen: a stave a finding, as high as it is sound; water to the shortest."""
    width, top, foot = 12.0, 14.0, 104.0
    staves: list[dict[str, Any]] = []
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
    tops = [float(s["y"]) for s in staves if s["measured"]]
    return {
        "staves": staves,
        "width": width * len(staves) + 1,
        "level": max(tops, default=foot),
        "foot": foot,
        "stave": width - 2,
    }
