"""Filtered nearest-neighbour search, measured on one's own vectors: which way of search finds what is asked, how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.audits.base import Audit, Subject, goodness, verdict_of
from oakum.audits.record import Finding, Plot
from oakum.audits.trials import Result
from oakum.errors import DataError
from oakum.index.base import Floats, Geometry, Metric, Passing, recall_of
from oakum.index.filtered import PROBES, WIDTHS, Planned, Way, clock
from oakum.metrics.statistics import estimate
from oakum.parameters import Range
from oakum.seeds import generator

SHARES = ((0.3, "30 % or more pass"), (0.1, "10 to 30 % pass"), (0.01, "1 to 10 % pass"), (0.0, "under 1 % pass"))
CLASSES = ("near", "anywhere", "far")


@dataclass(frozen=True, eq=False)
class Case:
    """What is searched. requests: each the row of its query vector, its filter (int32 codes) and what kind of filter it is
    ("equal", "range", "member", "clusters", …). note: where the vectors come from, in a sentence."""

    name: str
    vectors: Floats
    queries: Floats
    requests: Sequence[tuple[int, NDArray[np.int32], str]]
    metric: Metric = "cosine"
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class FilteredSearch(Audit):
    """Recall and requests a second of every way of search, by how many items pass and how near they are to the request.

    The paper's protocol (ETH Zürich 2025) with three kinds of filters: equal to a value, within a range, member of a set. Averages over
    selectivities hide collapses, so requests are grouped by the share that passes and by correlation: the place of the k-th
    neighbour among all items, over its place were the filter drawn at random (near: under 1/2, far: over 2). A list that ends early counts as
    missing the rest; brute force stands beside every curve. Memory 4 n d bytes and the graph, time requests · settings.
    """

    slug = "fanns"
    title = "Nearest items under a filter"
    k: Annotated[int, Range(1, 1000), "neighbours asked for"] = 10
    requests: Annotated[int, Range(1, 100_000), "requests of each group, at most"] = 60
    target: Annotated[float, Range(above=0, high=1), "share of the true neighbours that the planner is to find"] = 0.95
    neighbours: Annotated[int, Range(2, 256), "links of the graph an item"] = 16
    ef_build: Annotated[int, Range(1, 10_000), "width of the beam when the graph is built"] = 100
    graph: Annotated[bool, "whether a graph is built, where faiss is there"] = True

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """The texts of the log's items, hashed, filtered by the columns of their table."""
        from oakum.bench.vectors import case_of_table

        table = subject.data.tables.get("items")
        try:
            if table is None:
                raise DataError("The log has no table of items.")
            case = case_of_table(table, subject.data.name, encoder="hashed:64", seed=subject.seed)
        except DataError as error:
            absent = Finding(
                slug=self.slug, title=self.title, subject=subject.data.name, verdict="not measured", reason=str(error),
                sentence="There are no vectors or attributes of items to search.", measure=f"recall@{self.k}",
            )  # fmt: skip
            return [absent]
        return [self.measure(case, seed=subject.seed)]

    def measure(self, case: Case, *, seed: int = 0) -> Finding:
        """Build, search every way, and judge the planner by its worst group."""
        began = time.monotonic()
        own = Geometry(case.vectors, case.metric)
        built = time.perf_counter()
        index = Planned.build(
            case.vectors, case.metric, neighbours=self.neighbours, ef_build=self.ef_build, target=self.target, k=self.k,
            queries=case.queries, graph=self.graph and find_spec("faiss") is not None, seed=seed,
        )  # fmt: skip
        built = time.perf_counter() - built
        groups = self.groups(case, own, seed)
        rows = [row for name, group in groups.items() for row in self._rows(name, group, index)]
        planner = [r for r in rows if r["way"] == "planner"]
        if not planner:
            raise DataError(f"No request of '{case.name}' lets an item pass; give filters that some items fulfil.")
        worst = min(planner, key=lambda r: r["recall"])
        per_request = np.concatenate([g["planner"] for g in groups.values()])
        blind = [r for r in rows if r["way"] == "graph blind" and r["setting"] == max(WIDTHS)]
        low = min(blind, key=lambda r: r["recall"], default=None)
        loss = 1 - goodness(worst["recall"], 0.5, self.target)
        size = sum(a.nbytes for a in index.state().values())
        fell = "" if low is None else (
            f" The widest beam over the same graph that crosses filters blindly falls to {low['recall']:.0%} ({low['group']})."
        )  # fmt: skip
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=case.name,
            verdict=verdict_of(loss, notice=0.02, weak=0.3),
            loss=loss,
            sentence=(
                f"In each of {len(planner)} groups of requests the planner finds {worst['recall']:.1%} of the {self.k} nearest or "
                f"more (least: {worst['group']}), at {min(r['per second'] for r in planner):,.0f} to "
                f"{max(r['per second'] for r in planner):,.0f} requests a second on one thread.{fell}"
            ),
            measure=f"recall@{self.k}: share of the exact {self.k} nearest passing items; by selectivity and correlation",
            clean=estimate(per_request, seed=seed),
            evidence=[
                *rows,
                *(
                    {"measured when built": m.way, "share": m.share, "filter": m.filter, "setting": m.setting, "recall": round(m.recall, 4),
                     "ms alone": m.alone, "ms together": m.together}
                    for m in index.measures
                ),
            ],
            plots=[self._plot(name, [r for r in rows if r["group"] == name]) for name in groups],
            budget={
                "vectors": f"{own.size:,} × {own.dim}", "measure": case.metric, "seed": seed, "threads": 1,
                "build and calibration, seconds": round(built, 2), "index, bytes beside the vectors": size,
                "graph": "none" if index.graph is None else f"{self.neighbours} links, beam {self.ef_build} when built",
                "lists": 0 if index.lists is None else index.lists.lists, **case.facts,
            },
            advice="Filters that repeat (a segment, what is in stock) are made ready once; ask with the same read-only array.",
            power=f"{sum(len(g['planner']) for g in groups.values())} requests in {len(groups)} groups; {case.note}".strip("; "),
            seconds=round(time.monotonic() - began, 1),
        )  # fmt: skip

    def groups(self, case: Case, own: Geometry, seed: int) -> dict[str, dict[str, Any]]:
        """Requests by selectivity and correlation, `requests` of each at most: asked [q, d], filters, truth [q, k]."""
        asked = own.asked(case.queries)
        ready: dict[bytes, Passing] = {}
        members: dict[str, list[tuple[int, Passing, str, NDArray[np.int32]]]] = {}
        order = generator(seed, "requests").permutation(len(case.requests))
        for i in order:
            row, codes, kind = case.requests[int(i)]
            rows = own.place_of[codes]
            rows = np.sort(rows[rows >= 0])
            if not len(rows) or not np.isfinite(asked[row]).all():
                continue
            passing = ready.setdefault(rows.tobytes(), Passing(rows, own.size))
            share = next(text for least, text in SHARES if passing.share >= least)
            # The place of the last neighbour among all items, over the place it would have were the filter drawn at random.
            one = asked[row : row + 1]
            truth, scores = own.best(one, self.k, passing, None)
            last = float(np.nanmin(scores))
            place_of_last = int((own.table @ asked[row] >= last).sum())
            ratio = place_of_last * passing.share / int((truth >= 0).sum())
            group = f"{share}, {CLASSES[0 if ratio < 0.5 else 2 if ratio > 2 else 1]}"
            if len(held := members.setdefault(group, [])) < self.requests:
                held.append((row, passing, kind, truth))
        out: dict[str, dict[str, Any]] = {}
        ordered = [f"{s}, {c}" for _, s in SHARES for c in CLASSES]
        for name in sorted(members, key=ordered.index):
            rows_, filters, kinds, truths = zip(*members[name], strict=True)
            part, truth = np.ascontiguousarray(asked[list(rows_)]), np.concatenate(truths)
            out[name] = {
                "asked": part,
                "filters": filters,
                "truth": truth,
                "kinds": sorted(set(kinds)),
                "planner": np.empty(0),
            }
        return out

    def _rows(self, name: str, group: dict[str, Any], index: Planned) -> list[dict[str, Any]]:
        """One row a way and setting; keeps the planner's recall of each request in the group."""
        ways: dict[str, tuple[int, ...]] = {"planner": (0,), "brute force": (0,)}
        if index.graph is not None:
            ways |= {"graph blind": WIDTHS, "graph inside": WIDTHS}
        if index.lists is not None:
            ways["lists"] = tuple(p for p in PROBES if p < index.lists.lists)
        out = []
        asked, filters, truth = group["asked"], group["filters"], group["truth"]
        for way, settings in ways.items():
            for setting in settings:
                run = lambda r, w=way, s=setting: self._one(index, w, s, asked[r : r + 1], filters[r])
                for r in range(len(asked)):  # once before the clock: filters are ready, as for whoever asks again
                    run(r)
                began = clock()
                found = np.concatenate([run(r) for r in range(len(asked))])
                taken = clock() - began
                each = np.array([recall_of(found[r : r + 1], truth[r : r + 1]) for r in range(len(asked))])
                if way == "planner":
                    group["planner"] = each
                short = int(((found < 0).sum(1) > (truth < 0).sum(1)).sum())
                out.append(
                    {"group": name, "filters": ", ".join(group["kinds"]), "requests": len(asked), "way": way, "setting": setting,
                     "recall": round(float(each.mean()), 4), "lists cut short": short, "ms": round(1e3 * taken / len(asked), 4),
                     "per second": round(len(asked) / max(taken, 1e-9), 1)}
                )  # fmt: skip
        return out

    def _one(self, index: Planned, way: str, setting: int, asked: Floats, passing: Passing) -> NDArray[np.int32]:
        if way == "planner":
            plan = index.plan(len(passing), "alone", self.k, even=index.even(passing))
            return index.run(plan.way, plan.setting, asked, self.k, passing, None)[0]
        known: dict[str, Way] = {
            "brute force": "exact",
            "graph blind": "graph blind",
            "graph inside": "graph inside",
            "lists": "lists",
        }
        return index.run(known[way], setting, asked, self.k, passing, None, fill=False)[0]

    def _plot(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Plot:
        series = []
        for way in dict.fromkeys(str(r["way"]) for r in rows):
            mine = [r for r in rows if r["way"] == way]
            series.append({"name": way, "x": [r["per second"] for r in mine], "y": [r["recall"] for r in mine]})
        return Plot(
            kind="lines",
            title=name,
            alt="; ".join(f"{s['name']}: recall {', '.join(f'{y:.3f}' for y in s['y'])}" for s in series),
            x_label="requests a second, one thread",
            y_label=f"recall@{self.k}",
            series=series,
            log_x=True,
        )
