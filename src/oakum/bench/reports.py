"""The form in which all benchmarks answer: a report of one finding."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from oakum.audits.record import AuditReport, Finding
from oakum.engine.record import versions


def report_of(
    title: str,
    data: Mapping[str, Any],
    audited: Sequence[Sequence[str]],
    finding: Finding,
    settings: Mapping[str, Any],
    seed: int,
    began: float,
) -> AuditReport:
    """audited: what was run on what, [name, sentence]. began: of `time.monotonic`."""
    return AuditReport(
        title=title, data=dict(data), protocol={"audited": [list(a) for a in audited], "left_out": []},
        lint=[], systems=[], comparisons=[], findings=[finding],
        plank=f"{finding.slug} {finding.subject}" if finding.verdict in ("weak", "notice") else "",
        settings={"mode": "bench", "seed": seed, **settings}, versions=versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"), seconds=round(time.monotonic() - began, 1),
    )  # fmt: skip
