"""A planner over all ways of search: it takes the cheapest that was measured to find enough, and always gives k."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ids, Ragged
from oakum.errors import ModelFileError, ParameterError
from oakum.index.base import Floats, Found, Geometry, Metric, Passing, recall_of
from oakum.index.hnsw import HNSW, complete
from oakum.index.ivf import IVF
from oakum.kernels.quantised import APART
from oakum.kernels.spread import by_itself
from oakum.seeds import generator

Way = Literal["exact", "graph blind", "graph inside", "lists"]
Come = Literal[
    "alone", "together", "first"
]  # how requests come: one by one, many at once, one with a filter never seen
SHARES = (1.0, 0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
WIDTHS = (32, 64, 128, 256, 512)  # beams tried
PROBES = (4, 8, 16, 24, 32, 48, 64, 96, 128)  # lists tried
SMALL = 4096  # vectors up to here are always scanned: a miss would buy less than what the clock can tell
TOGETHER = 64  # requests that share a filter and come at once, when it is measured
#: What costs are measured by: the own thread's time, which a busy machine does not stretch, where it is fine enough.
clock = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-5 else time.perf_counter
LOOKED_AT = 16_384  # items of a filter that tell whether it is even
NEARLY = 1.1  # times a share: what is measured there still holds
SPARE = 0.4  # of what the target allows to miss, kept back: it is measured on few requests


@dataclass(frozen=True)
class Measure:
    """One way at one setting under filters that let a share pass: drawn at random ("even"), or whole clusters drawn without
    regard to the requests ("uneven"). alone, together: milliseconds a request, coming one by one and 64 at once; first: of one
    whose filter was never seen, for which nothing is ready."""

    share: float
    filter: Literal["even", "uneven"]
    way: Way
    setting: int
    recall: float
    alone: float
    together: float
    first: float


class Planned:
    """Exact scan, exact scan of what passes, graph or lists: by selectivity, from costs measured on these vectors.

    When it is built, every way is tried under filters of eight selectivities, once drawn at random and once made of whole
    clusters. A filter that is spread evenly over the lists is planned for by the first kind, any other by the second: the
    cheapest way that reached `target` is taken wherever it beats the exact scan. What was measured is saved with the index,
    so a loaded one plans alike. Rows that come back with fewer than k although more pass are scanned.
    A graph is tried where one was built; without measuring there is only the exact scan.
    """

    kind: ClassVar[str] = "planned"

    def __init__(
        self,
        geometry: Geometry,
        *,
        graph: HNSW | None,
        lists: IVF | None,
        measures: Sequence[Measure] = (),
        target: float = 0.95,
        k: int = 10,
    ) -> None:
        self.geometry, self.graph, self.lists = geometry, graph, lists
        self.measures, self.target, self.k = tuple(measures), target, k
        self._plans: dict[tuple[int, Come, int, bool], Measure] = {}

    @classmethod
    def build(
        cls,
        vectors: Floats,
        metric: Metric = "dot",
        *,
        neighbours: int = 16,
        ef_build: int = 100,
        lists: int = 0,
        target: float = 0.95,
        k: int = 10,
        queries: Floats | None = None,
        graph: bool = False,
        threads: int = 1,
        seed: int = 0,
    ) -> Planned:
        """Build and measure. queries: what will be asked (default: some of the items). graph: whether to build one too,
        many times the work of all else, and try it beside the other ways (raises `MissingExtra` without faiss)."""
        if not 0 < target <= 1:
            raise ParameterError(f"target must be in (0, 1]. Got {target}.")
        own = Geometry(vectors, metric)
        made = HNSW(own, neighbours=neighbours, ef_build=ef_build, threads=threads) if graph else None
        out = cls(own, graph=made, lists=IVF(own, lists=lists, seed=seed), target=target, k=k)
        out.measures = out.calibrate(queries, seed=seed)
        return out

    @property
    def wanted(self) -> float:
        """What a way must reach when it is measured: a little more than the target."""
        return self.target + SPARE * (1 - self.target)

    # --- searching --------------------------------------------------------------------------------------------------
    def search(
        self, vectors: Floats, k: int, *, where: Filter | Passing | None = None, exclude: Ragged | None = None
    ) -> Found:
        """See `Index.search`. `Found.plan` says which way was taken, `Found.recall` what it reached when it was measured."""
        own = self.geometry
        asked, passing = own.asked(vectors), own.passing(where)
        if exclude is None and isinstance(where, Filter):
            exclude = where.exclude
        shut = own.excluded(exclude)
        # A filter keeps something with it from its first search on.
        come: Come = "together" if len(asked) > APART else "alone" if passing is None or passing.kept else "first"
        plan = self.plan(own.size if passing is None else len(passing), come, k, even=self.even(passing))
        items, scores, exact = self.run(plan.way, plan.setting, asked, k, passing, shut)
        return own.answer(asked, items, scores, plan.way, passing, exact, plan.recall)

    def plan(self, passing: int, come: Come, k: int, *, even: bool = False) -> Measure:
        """The way for a number of passing items, how the requests come, and a number of places; see `even`."""
        key = (passing, come, k, even)
        if key not in self._plans:
            if len(self._plans) > 100_000:
                self._plans.clear()
            self._plans[key] = self._planned(*key)
        return self._plans[key]

    def _planned(self, passing: int, come: Come, k: int, even: bool) -> Measure:
        share = passing / self.geometry.size
        kind: Literal["even", "uneven"] = "even" if even or passing == self.geometry.size else "uneven"
        mine = [m for m in self.measures if m.filter == kind]
        exact = Measure(share, kind, "exact", 0, 1.0, *_line([m for m in self.measures if m.way == "exact"], share))
        if passing <= max(k, 1) or k > 10 * self.k:
            return exact
        # What was measured at the next lower share is harder: what reached the target there reaches it here. A share that a
        # little is missing to is taken for the one measured: what was kept back is more than what this costs.
        harder = max((s for s in {m.share for m in mine} if s <= NEARLY * share), default=None)
        able = [m for m in mine if m.share == harder and m.way != "exact" and m.recall >= self.wanted]
        best = min([exact, *able], key=lambda m: float(getattr(m, come)))
        wider = max(1.0, k / self.k)
        return best if wider == 1 or best is exact else replace(best, setting=round(best.setting * wider))

    def even(self, passing: Passing | None) -> bool:
        """Whether a filter lets the same share pass in every list, as one drawn at random does; kept with the filter.

        The variance of the counts over that of random ones is at most 2, seen from `LOOKED_AT` of the items at most.
        """
        if passing is None or self.lists is None or len(passing) == self.geometry.size:
            return passing is None or len(passing) == self.geometry.size
        key = ("even", id(self))
        if key not in passing.kept:
            rows, sizes = passing.rows[:: len(passing) // LOOKED_AT + 1], np.diff(self.lists.starts)
            share = len(rows) / passing.total
            counts = np.bincount(self.lists.member[rows], minlength=len(sizes))
            held = sizes > 0
            expected, variance = share * sizes[held], share * (1 - share) * sizes[held]
            passing.kept[key] = bool((((counts[held] - expected) ** 2 / np.maximum(variance, 1e-9)).mean()) <= 2)
        return bool(passing.kept[key])

    def run(
        self,
        way: Way,
        setting: int,
        asked: Floats,
        k: int,
        passing: Passing | None,
        shut: Ragged | None,
        *,
        fill: bool = True,
    ) -> tuple[Ids, Floats, NDArray[np.bool_]]:
        """One way of search on prepared requests; `fill` scans for rows that end early. The last: proven rows [q]."""
        own = self.geometry
        proven = np.zeros(len(asked), bool)
        if way == "exact":
            items, scores = own.best(asked, k, passing, shut)
            return items, scores, ~proven
        if way == "lists":
            if self.lists is None:
                raise ParameterError("This index has no lists.")
            items, scores, proven, _ = self.lists.read(asked, k, passing, shut, setting)
        else:
            if self.graph is None:
                raise ParameterError("This index has no graph; build it with the extra 'index'.")
            items, scores, _ = self.graph.beam(
                asked, k, passing, shut, setting, "inside" if way == "graph inside" else "blind"
            )
        if fill:
            proven |= complete(own, asked, items, scores, k, passing, shut)
        return items, scores, proven

    # --- measuring --------------------------------------------------------------------------------------------------
    def calibrate(
        self, queries: Floats | None = None, *, shares: Sequence[float] = SHARES, seed: int = 0
    ) -> tuple[Measure, ...]:
        """Recall and time of every way on these vectors, on one core; see `Measure`."""
        with by_itself():
            return self._calibrated(queries, shares, seed)

    def _calibrated(self, queries: Floats | None, shares: Sequence[float], seed: int) -> tuple[Measure, ...]:
        own, rng = self.geometry, generator(seed, "calibration")
        if queries is None:
            rows = rng.choice(own.size, min(TOGETHER, own.size), replace=False)
            asked = own.asked(own.vectors[own.codes[np.sort(rows)]])
        else:
            told = own.asked(queries)
            told = told[np.isfinite(told).all(1)]
            asked = told[rng.choice(len(told), min(TOGETHER, len(told)), replace=False)] if len(told) else told
        out: list[Measure] = []
        if not len(asked):
            return ()
        k = min(self.k, own.size)
        self.run("exact", 0, asked[:1], k, None, None)  # compilation is no cost of searching
        least: dict[Way, int] = {}  # the fewer pass evenly, the more must be looked at: what was too little stays so
        for share in shares:
            count = round(share * own.size)
            if count <= k:
                break
            filters: dict[Literal["even", "uneven"], Passing | None] = {"even": None}
            if share < 1:
                filters = {"even": at_random(own, count, rng), "uneven": in_clusters(own, self.lists, count, rng)}
            for kind, passing in filters.items():
                truth = self.run("exact", 0, asked, k, passing, None)[0]
                exact = Measure(share, kind, "exact", 0, 1.0, *self._times("exact", 0, asked, k, passing))
                out.append(exact)
                if own.size <= SMALL or exact.alone < 0.05:  # nothing can be gained below
                    continue
                for way, settings in self.ways().items():
                    if share == 1 and way == "graph inside":  # without a filter both walks are one
                        continue
                    for setting in settings:
                        if kind == "even" and setting < least.get(way, 0):
                            continue
                        found = recall_of(self.run(way, setting, asked, k, passing, None, fill=False)[0], truth)
                        measure = Measure(
                            share, kind, way, setting, found, *self._times(way, setting, asked, k, passing)
                        )
                        out.append(measure)
                        dear = all(getattr(measure, come) > getattr(exact, come) for come in get_args(Come))
                        if kind == "even":
                            least[way] = setting
                        if found >= self.wanted or dear:
                            break
        return tuple(out)

    def ways(self) -> dict[Way, tuple[int, ...]]:
        """The approximate ways there are, each with the settings worth trying, rising."""
        out: dict[Way, tuple[int, ...]] = {}
        if self.graph is not None:
            out["graph blind"] = out["graph inside"] = WIDTHS
        if self.lists is not None:
            out["lists"] = tuple(p for p in PROBES if p < self.lists.lists)
        return out

    def _times(
        self, way: Way, setting: int, asked: Floats, k: int, passing: Passing | None
    ) -> tuple[float, float, float]:
        """Milliseconds a request: alone, together, and alone under a filter never seen; each the better of two runs."""
        few = min(8, len(asked))
        each = lambda where: [self.run(way, setting, asked[r : r + 1], k, where(), None) for r in range(few)]
        alone = _seconds(lambda: each(lambda: passing))
        together = _seconds(lambda: self.run(way, setting, asked, k, passing, None))
        first = alone if passing is None else _seconds(lambda: each(lambda: Passing(passing.rows, passing.total)))
        return round(alone / few * 1e3, 5), round(together / len(asked) * 1e3, 5), round(first / few * 1e3, 5)

    def recall(self, queries: Floats, k: int, *, where: Filter | Passing | None = None) -> float:
        """The share of the exact answer that `search` finds for these requests, measured now."""
        own = self.geometry
        passing = own.passing(where)
        truth, _ = own.best(own.asked(queries), k, passing, None)
        codes = np.where(truth >= 0, own.codes[np.maximum(truth, 0)], -1).astype(np.int32)
        return recall_of(self.search(queries, k, where=passing).items, codes)

    # --- saving -----------------------------------------------------------------------------------------------------
    def settings(self) -> dict[str, Any]:
        """What was measured, and the settings of the parts."""
        return {
            "target": self.target,
            "k": self.k,
            "measures": [asdict(m) for m in self.measures],
            "graph": None if self.graph is None else self.graph.settings(),
            "lists": None if self.lists is None else self.lists.settings(),
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays of the parts."""
        out: dict[str, NDArray[Any]] = {}
        for name, part in (("graph", self.graph), ("lists", self.lists)):
            if part is not None:
                out.update({f"{name}/{k}": v for k, v in part.state().items()})
        return out

    @classmethod
    def restored(cls, geometry: Geometry, settings: Mapping[str, Any], state: Mapping[str, NDArray[Any]]) -> Planned:
        """Put a saved index back."""
        part = lambda name: {k.partition("/")[2]: v for k, v in state.items() if k.startswith(f"{name}/")}
        graph = None if settings["graph"] is None else HNSW.restored(geometry, settings["graph"], part("graph"))
        lists = None if settings["lists"] is None else IVF.restored(geometry, settings["lists"], part("lists"))
        measures = [Measure(**{"first": m["alone"], **m}) for m in settings["measures"]]  # once it was not measured
        known = {"exact", *(("graph blind", "graph inside") if graph else ()), *(("lists",) if lists else ())}
        for m in measures:
            if m.way not in known:
                raise ModelFileError(f"The index plans by the way '{m.way}', which it has no part for; build it again.")
        return cls(
            geometry,
            graph=graph,
            lists=lists,
            measures=measures,
            target=float(settings["target"]),
            k=int(settings["k"]),
        )


def at_random(own: Geometry, count: int, rng: np.random.Generator) -> Passing:
    """A filter that lets `count` items pass, drawn at random."""
    return Passing(np.sort(rng.choice(own.size, count, replace=False)).astype(np.int32), own.size)


def in_clusters(own: Geometry, lists: IVF | None, count: int, rng: np.random.Generator) -> Passing:
    """A filter that lets whole clusters pass, drawn at random, until there are `count` items: most requests are far off."""
    if lists is None:
        return at_random(own, count, rng)
    rank = rng.permutation(lists.lists)
    rows = np.argsort(rank[lists.member], kind="stable")[:count]
    return Passing(np.sort(rows).astype(np.int32), own.size)


def _line(known: Sequence[Measure], share: float) -> tuple[float, float, float]:
    """Milliseconds at a share, on the line between those measured, however requests come; the dearer where filters differ."""
    shares = sorted({m.share for m in known})
    if not shares:
        return 0.0, 0.0, 0.0
    alone, together, first = (
        float(np.interp(share, shares, [max(getattr(m, come) for m in known if m.share == s) for s in shares]))
        for come in ("alone", "together", "first")
    )
    return alone, together, first


def _seconds(work: Callable[[], object]) -> float:
    """The better of two."""
    taken = []
    for _ in range(2):
        began = clock()
        work()
        taken.append(clock() - began)
    return min(taken)
