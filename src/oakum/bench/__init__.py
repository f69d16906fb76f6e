"""Benchmarks that bring their own cases: one registry, one form of answer."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oakum.errors import ParameterError, nearest

if TYPE_CHECKING:
    from oakum.audits.record import AuditReport

Tell = Callable[[str], None]
LOG = "a log, as `oakum.read` takes it; none: a simulated market"


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark. code: "module:function" of (source, settings, seed, tell) -> AuditReport, where source is what the user
    named (or None) and settings are name=value texts. source: what may be named, for help."""

    slug: str
    title: str
    code: str
    source: str

    def run(self, source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
        """Run it."""
        module, _, name = self.code.partition(":")
        made: AuditReport = getattr(importlib.import_module(module), name)(source, settings, seed, tell)
        return made


TASKS = {
    t.slug: t
    for t in (
        Task(
            "fanns",
            "Filtered nearest-neighbour search: recall and requests a second of every way of search, on your vectors.",
            "oakum.bench.vectors:run",
            "a folder with vectors.parquet, queries.parquet and item_filters.parquet; or a table of items with texts; none: "
            "simulated clusters",
        ),
        Task(
            "load", "Reading a log: rows a second, memory.", "oakum.bench.speed:load", "a log, as `oakum.read` takes it"
        ),
        Task("fit", "Training a system (--set system=ials, its settings).", "oakum.bench.speed:fit", LOG),
        Task("rank", "Lists for everybody, without what they have had.", "oakum.bench.speed:rank", LOG),
        Task("answer", "One request at a time, without HTTP.", "oakum.bench.speed:answer", LOG),
        Task("evaluate", "Ranking and measuring all test users, with intervals.", "oakum.bench.speed:evaluate", LOG),
    )
}


def task(slug: str) -> Task:
    """One benchmark by slug; a wrong name suggests the nearest."""
    if slug not in TASKS:
        raise ParameterError(f"There is no benchmark '{slug}'.{nearest(slug, TASKS)}")
    return TASKS[slug]
