"""Live figures and the findings of an audit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import Response

from oakum.audits.record import AuditReport
from oakum.metrics.drift import MODERATE, STRONG, Shift
from oakum.metrics.estimate import Estimate
from oakum.serve.problems import Problem
from oakum.serve.web.shell import Page, Visit

_read: dict[tuple[str, int, int], AuditReport] = {}


async def live(visit: Visit) -> dict[str, Any]:
    service, look = visit.service, visit.service.looked
    times = service.metrics.times("oakum_request_seconds")
    trial = service.trial
    return {
        "routes": sorted(((route, *row) for route, row in times.items() if "/v1/" in route), key=lambda r: -r[1]),
        "answered": _by(service.metrics.numbers("oakum_requests_total"), "status"),
        "refused": _by(service.metrics.numbers("oakum_refused_total"), "reason"),
        "look": look,
        "shifts": [] if look is None else _shifts(look),
        "bounds": (MODERATE, STRONG),
        "moves": list(reversed(service.panel.moves)),
        "trial": trial,
        "trial_model": "" if trial is None else trial.now[0].id,
        "drawn": None if look is None or look.standing is None else _drawn(look.standing.effect),
        "people": None if look is None else look.counts,
    }


def _by(numbers: Any, label: str) -> list[tuple[str, int]]:
    out: dict[str, int] = {}
    for labels, value in numbers.items():
        name = dict(labels).get(label, "")
        out[name] = out.get(name, 0) + int(value)
    return sorted(out.items())


def _shifts(look: Any) -> list[dict[str, Any]]:
    said = {
        "items": ("Which items", "Share of the events on ten groups of items, the most popular first", "Group"),
        "rates": ("How often", "Share of the days of a person with so many events", "Events"),
    }
    out = []
    for name, (title, about, head) in said.items():
        shift: Shift = getattr(look, name)
        rows = list(zip(shift.bins, shift.expected, shift.actual, strict=True))
        top = max((max(r[1:]) for r in rows), default=1.0)
        out.append({"title": title, "about": about, "head": head, "shift": shift, "rows": rows, "top": top})
    return out


def _drawn(effect: Estimate | None) -> dict[str, float] | None:
    """Places of an interval on a line from −reach to reach, 0 to 100, zero in the middle."""
    if effect is None or not (math.isfinite(effect.low) and math.isfinite(effect.high)):
        return None
    reach = 1.15 * max(abs(effect.low), abs(effect.high)) or 1.0
    place = lambda x: round(50 + 50 * x / reach, 2)
    return {"low": place(effect.low), "high": place(effect.high), "value": place(effect.value), "reach": reach}


def _report(visit: Visit) -> AuditReport:
    from oakum.report import read

    folder = visit.service.settings.audit
    if folder is None:
        raise Problem("not-found", "No audit is shown here: start the service with --audit FOLDER.")
    file = Path(folder)
    file = file / "report.json" if file.is_dir() else file
    try:
        told = file.stat()
    except OSError:
        raise Problem("not-found", f"There is no report.json in {folder} any more.") from None
    mark = (str(file), told.st_mtime_ns, told.st_size)
    if mark not in _read:
        found = read(file)
        _read.clear()
        _read[mark] = found
    return _read[mark]


async def audit(visit: Visit) -> dict[str, Any]:
    from oakum.report import words

    report = await visit.service.work(_report, visit)
    plank = words.plank_of(report)
    order = {"weak": 0, "notice": 1, "fine": 2, "not measured": 3}
    found = sorted(report.findings, key=lambda f: (f is not plank, order[f.verdict], -(f.loss or 0)))
    return {
        "report": report,
        "line": words.verdict_line(report),
        "started": words.started(report.started),
        "findings": [
            {"f": f, "loss": None if f.loss is None or not math.isfinite(f.loss) else min(1.0, max(0.0, f.loss)), "plank": f is plank}
            for f in found
        ],
        "ours": any(f.subject == visit.served.fitted.spec.slug for f in report.findings),
        "system": visit.served.fitted.spec.slug,
    }  # fmt: skip


async def whole(visit: Visit) -> Response:
    """The whole report, written anew from its figures, so that nothing in a folder is shown as it lies there."""
    from oakum.report.page import render, style

    report = await visit.service.work(_report, visit)
    text = await visit.service.work(render, report)
    policy = f"{style()['policy']}; frame-ancestors 'none'"
    return Response(
        text.encode("utf-8", "replace"), 200, {"Content-Security-Policy": policy}, "text/html; charset=utf-8"
    )


async def figures(visit: Visit) -> Response:
    report = await visit.service.work(_report, visit)
    return Response(msgspec.json.encode(report.to_json()), media_type="application/json")


PAGES = [
    Page(path="/live", does=live, template="live.html.jinja"),
    Page(path="/audit", does=audit, template="audit.html.jinja"),
    Page(path="/audit/report.html", does=whole),
    Page(path="/audit/report.json", does=figures),
]
