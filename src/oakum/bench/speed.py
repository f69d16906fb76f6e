"""How quick this machine is on one's own log: reading, fitting, ranking, evaluating, beside what it could do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from oakum.api import spec_from_text
from oakum.audits.record import AuditReport, Finding
from oakum.bench import Tell
from oakum.bench.machine import FITS, Peak, facts, products, rates
from oakum.bench.reports import report_of
from oakum.data import Filter
from oakum.engine.fit import fit as fit_spec
from oakum.engine.fit import plan_of
from oakum.errors import ParameterError
from oakum.parameters import Parameters, Range, fields
from oakum.recommending import rank as rank_all
from oakum.seeds import generator

ANSWERS = 500  # requests that are asked one by one
LONG = 20.0  # seconds on the clock after which nothing is done a second time


class SpeedSettings(Parameters):
    """What is timed. Other names are settings of the system and its plan."""

    system: Annotated[str, "the system that is fitted"] = "item-knn"
    k: Annotated[int, Range(1, 1000), "places of a list"] = 20
    split: Annotated[str, "how evaluate cuts the log"] = "auto"
    events: Annotated[int, Range(1000, 100_000_000), "events of the simulated market, where no log is named"] = 200_000
    scale: Annotated[float, Range(above=0, high=1), "size of the tables that the machine is measured with"] = 1.0


@dataclass
class Timed:
    """Rows of a table: what was done, how long it took, beside what the machine allows."""

    what: str
    amount: float
    limit: float | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def run(self, work: Callable[[], Any]) -> Any:
        """Once, and once more where the first time was short: the first also loads compiled code."""
        for turn in ("first", "again"):
            with Peak() as peak:
                wall, cpu = time.perf_counter(), time.process_time()
                out = work()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            self.rows.append(
                {
                    "run": turn,
                    "CPU s": round(cpu, 4),
                    "seconds": round(wall, 4),
                    f"{self.what} a CPU second": round(self.amount / max(cpu, 1e-9)),
                    "peak MB": round(peak.megabytes),
                    "of the machine's limit": "" if self.limit is None else f"{self.limit / max(cpu, 1e-9):.1%}",
                }
            )
            if wall > LONG:
                break
        return out

    @property
    def best(self) -> dict[str, Any]:
        """The quickest row."""
        return min(self.rows, key=lambda r: float(r["CPU s"]))


class Session:
    """One call: settings, the machine's rates, the log."""

    def __init__(self, source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> None:
        own = {f.name for f in fields(SpeedSettings)}
        self.settings = SpeedSettings.parse({k: v for k, v in settings.items() if k in own})
        self.spec, self.plan = spec_from_text(self.settings.system, {k: v for k, v in settings.items() if k not in own})
        self.source, self.seed, self.began = source, seed, time.monotonic()
        tell("Measuring the machine.")
        self.rates = rates(self.settings.scale)

    def log(self) -> Any:
        """The log, or a simulated one."""
        from oakum.data.read import read
        from oakum.data.simulate import Market, simulate

        if self.source is not None:
            return read(self.source)
        n = self.settings.events
        return simulate(Market(users=max(10, n // 50), items=max(10, n // 65), events=n), seed=self.seed)

    def make(self, data: Any) -> Any:
        """The system fitted on a log."""
        return fit_spec(self.spec, data, plan=self.plan or None, seed=self.seed)

    def asked(self) -> tuple[Any, Any, Any]:
        """The log, the system fitted on it, and a request of everybody."""
        data = self.log()
        model = self.make(data)
        return data, model, model.queries(np.flatnonzero(model.histories.lengths > 0).astype(np.int32))

    def products_of(self, model: Any, requests: int) -> float | None:
        """Seconds of the dot products of so many requests, where the model scores by them."""
        if not hasattr(model.scorer, "item_vectors") or hasattr(model.scorer, "recommend_lists"):
            return None
        return products(self.rates, requests, *model.scorer.item_vectors().shape)

    def report(self, slug: str, title: str, data: Any, timed: Timed, measure: str, said: str = "") -> AuditReport:
        """One finding with the rows."""
        best = timed.best
        share = best["of the machine's limit"]
        sentence = (
            f"{timed.amount:,.0f} {timed.what} in {best['CPU s']:g} CPU seconds, {best['peak MB']:,} MB at the most."
        )
        finding = Finding(
            slug=slug, title=title, subject=self.settings.system if slug != "load" else data.name, verdict="fine",
            sentence=sentence + (f" {share} of what the machine could do." if share else "") + said, measure=measure,
            evidence=timed.rows,
            budget={
                "users, items, events": f"{data.num_users:,}, {data.num_items:,}, {len(data):,}",
                "the machine, a CPU second": f"{self.rates['flop'] / 1e9:.0f} GFLOP, {self.rates['bytes'] / 1e9:.0f} GB copied, "
                f"{self.rates['rows'] / 1e6:.0f} M random rows of 256 bytes",
            },
        )  # fmt: skip
        about = {"name": data.name, "users": data.num_users, "items": data.num_items, "events": len(data)}
        audited = [
            ["Log", f"{data.name}: {len(data):,} events of {data.num_users:,} users and {data.num_items:,} items."]
        ]
        return report_of(
            f"{title}: {data.name}", about, audited, finding, self.settings.to_json(), self.seed, self.began
        )


def load(source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
    """The task `load`: reading a log, beside only decoding its columns."""
    from oakum.data.read import frame_of, read

    if source is None:
        raise ParameterError("The benchmark 'load' reads a file: oakum bench load LOG.")
    session = Session(source, settings, seed, tell)
    decode = Timed("rows", 0, None)
    frame = decode.run(lambda: frame_of(source))
    timed = Timed("rows", len(frame), decode.best["CPU s"])
    del frame
    data = timed.run(lambda: read(source))
    measure = (
        "CPU seconds from the file to coded events; the limit is reading the same columns and doing nothing to them."
    )
    return session.report("load", "Loading", data, timed, measure)


def fit(source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
    """The task `fit`: training a system on the whole log."""
    session = Session(source, settings, seed, tell)
    data = session.log()
    bound, limit = FITS.get(session.spec.slug), None
    if bound is not None and session.spec.slug != "lightgcn":  # a step of it has a bound, a whole training has none
        values = {**plan_of(session.spec, session.plan).to_json(), **session.spec.to_json()}
        limit = bound(session.rates, facts(data.matrix), values)
    timed = Timed("events", len(data), limit)
    timed.run(lambda: session.make(data))
    measure = (
        "CPU seconds of a whole fit; the limit counts the additions, products and rows that its mathematics asks for."
    )
    return session.report("fit", f"Fitting {session.settings.system}", data, timed, measure)


def rank(source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
    """The task `rank`: lists for everybody, without what they have had."""
    session = Session(source, settings, seed, tell)
    data, model, queries = session.asked()
    timed = Timed("users", len(queries), session.products_of(model, len(queries)))
    timed.run(lambda: rank_all(model.scorer, queries, session.settings.k, where=Filter(exclude=queries.histories)))
    measure = "CPU seconds of lists for all; the limit is the dot products alone, where the model has any."
    return session.report("rank", f"Ranking by {session.settings.system}", data, timed, measure)


def answer(source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
    """The task `answer`: one request after the other, as a service gets them, without HTTP."""
    session = Session(source, settings, seed, tell)
    data, model, queries = session.asked()
    drawn = generator(seed, "asked").choice(len(queries), min(ANSWERS, len(queries)), replace=False)
    one_by_one = [queries.take(drawn[n : n + 1]) for n in range(len(drawn))]
    taken = np.zeros(len(drawn))

    def ask() -> None:
        for n, q in enumerate(one_by_one):
            began = time.perf_counter()
            rank_all(model.scorer, q, session.settings.k, where=Filter(exclude=q.histories))
            taken[n] = time.perf_counter() - began

    timed = Timed("requests", len(drawn), session.products_of(model, len(drawn)))
    timed.run(ask)
    p50, p99 = 1e3 * np.quantile(taken, (0.5, 0.99))
    said = f" On the clock one takes {p50:.3f} ms in the middle, and one in a hundred more than {p99:.3f} ms."
    title, measure = f"Answering by {session.settings.system}", "CPU seconds of single requests, without HTTP."
    return session.report("answer", title, data, timed, measure, said)


def evaluate(source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
    """The task `evaluate`: ranking and measuring all test users, with intervals."""
    from oakum.evaluation import evaluate as measure_all
    from oakum.splits import split

    session = Session(source, settings, seed, tell)
    data = session.log()
    parts = split(data, session.settings.split, seed=seed)
    model = session.make(parts.train)
    timed = Timed("users", len(parts.truth()), None)
    timed.run(lambda: measure_all(model, parts, k=(10, session.settings.k)))
    measure = "CPU seconds of full ranking and all metrics of accuracy with their intervals."
    return session.report("evaluate", f"Evaluating {session.settings.system}", data, timed, measure)
