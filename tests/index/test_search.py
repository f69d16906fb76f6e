"""Every index against loops: exactness, the promise of k items, and never an item that a filter shuts out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data import Filter, Ragged
from oakum.errors import DataError, MissingExtra, ParameterError
from oakum.index.base import Geometry, Index, Passing, recall_of
from oakum.index.building import build
from oakum.index.exact import Exact
from oakum.index.filtered import Measure, Planned, at_random, in_clusters
from oakum.index.ivf import IVF
from oakum.kernels.walk import BLIND, walk
from tests.oracles.search import beam, nearest

FAISS = find_spec("faiss") is not None
graphs = pytest.mark.skipif(not FAISS, reason="a graph is built by faiss (the extra 'index')")
#: Kinds of index as they are tested: with all their parts where faiss is there.
KINDS: dict[str, dict[str, Any]] = {
    "exact": {},
    "ivf": {},
    "planned": {"graph": FAISS},
    **({"hnsw": {}} if FAISS else {}),
}
METRICS = ["dot", "cosine", "l2"]


def whole(n: int, d: int, seed: int) -> np.ndarray:
    """Small integers: every product is exact, ties and duplicates abound."""
    return np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(np.float32)


def clusters(n: int = 2000, d: int = 16, c: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors in clusters, the cluster of each, and queries beside some of them."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(c, d))
    member = rng.integers(0, c, n)
    x = middles[member] + 0.4 * rng.normal(size=(n, d))
    q = middles[rng.integers(0, c, 60)] + 0.4 * rng.normal(size=(60, d))
    unit = lambda a: (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.float32)
    return unit(x), member, unit(q)


def allow(mask: np.ndarray) -> Filter:
    return Filter(allow=np.flatnonzero(mask).astype(np.int32))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(METRICS),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_the_exact_index_is_the_loop(metric: Any, n: int, d: int, k: int, seed: int, filtered: bool) -> None:
    rng = np.random.default_rng(seed)
    x, q = whole(n, d, seed), whole(4, d, seed + 1)
    x[rng.random(n) < 0.1] = np.nan
    if not np.isfinite(x).all(1).any() or (metric == "cosine" and not np.nan_to_num(x).any()):
        return
    q[0] = np.nan
    mask = rng.random(n) < rng.random()
    excluded = [set(rng.choice(n, rng.integers(0, n), replace=False).tolist()) for _ in q]
    where = allow(mask) if filtered else None
    found = Exact(x, metric).search(q, k, where=where, exclude=Ragged.of([sorted(e) for e in excluded]))
    wanted = nearest(q, x, k, metric, set(np.flatnonzero(mask).tolist()) if filtered else set(range(n)), excluded)
    for r, pairs in enumerate(wanted):
        kept = found.items[r][found.items[r] >= 0]
        assert len(kept) == len(pairs)
        np.testing.assert_allclose(found.scores[r, : len(pairs)], [s for _, s in pairs], atol=1e-5)
        if metric != "cosine":  # lengths are no whole numbers: ties part in the last bit
            assert kept.tolist() == [i for i, _ in pairs]
    assert found.exact.all()


def test_a_thousand_cases_of_the_planner_are_brute_force() -> None:
    x = whole(300, 4, 0)
    index = Planned(Geometry(x), graph=None, lists=None)
    rng = np.random.default_rng(1)
    ties = index.geometry.ties
    for case in range(1000):
        share = (0.0, 0.005, 0.02, 0.1, 0.5, 1.0)[case % 6]
        mask = rng.random(300) < share
        q = whole(1, 4, 10_000 + case)
        found = index.search(q, 10, where=allow(mask))
        scores = np.where(mask, x @ q[0], -np.inf)
        wanted = np.lexsort((ties, -scores))[: min(10, int(mask.sum()))]
        assert found.items[0, : len(wanted)].tolist() == wanted.tolist()
        assert (found.items[0, len(wanted) :] == -1).all()
        assert found.passing == mask.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
def test_k_items_come_back_where_k_pass(kind: str, metric: Any) -> None:
    x, member, q = clusters()
    x[7] = np.nan
    index = build(x, kind, metric, **KINDS[kind])
    assert isinstance(index, Index)
    rng = np.random.default_rng(0)
    full = Ragged.of([rng.choice(2000, 30, replace=False) for _ in q])
    for mask in (
        np.ones(2000, bool), rng.random(2000) < 0.5, rng.random(2000) < 0.01, member < 3, member == 0, np.arange(2000) == 9,
        np.zeros(2000, bool),
    ):  # fmt: skip
        passes = mask & np.isfinite(x).all(1)
        found = index.search(q, 10, where=allow(mask), exclude=full)
        for r in range(len(q)):
            items = found.items[r][found.items[r] >= 0]
            left = passes.sum() - passes[full.row(r)].sum()
            assert len(items) == min(10, left) == len(set(items.tolist()))
            assert passes[items].all()
            assert not set(items.tolist()) & set(full.row(r).tolist())
            assert (np.diff(found.scores[r, : len(items)]) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_requests_that_say_nothing_find_nothing(kind: str) -> None:
    x, _, q = clusters(500)
    q[3] = np.nan
    found = build(x, kind, **KINDS[kind]).search(q[:5], 4)
    assert (found.items[3] == -1).all()
    assert (found.items[[0, 1, 2, 4]] >= 0).all()


@graphs
@pytest.mark.parametrize("metric", METRICS)
def test_a_wide_beam_finds_everything_and_filters_cross_alike(metric: Any) -> None:
    x, _, q = clusters(800)
    x = x * np.random.default_rng(0).uniform(0.5, 2, (800, 1)).astype(np.float32)
    index: Any = build(x, "hnsw", metric)
    truth = Exact(x, metric).search(q, 10)
    np.testing.assert_array_equal(index.search(q, 10, ef=800).items, truth.items)
    every = Passing(np.arange(800, dtype=np.int32), 800)
    blind = index.search(q, 10, ef=100, where=every).items
    np.testing.assert_array_equal(blind, index.search(q, 10, ef=100).items)
    assert recall_of(index.search(q, 10, ef=100, where=every, crossing="inside").items, truth.items) > 0.95


@graphs
def test_the_walk_is_the_papers() -> None:
    x, _, q = clusters(600)
    index: Any = build(x, "hnsw")
    g = index.graph
    start = int(np.flatnonzero(g["levels"] == 0)[0])
    mask = np.random.default_rng(2).random(600) < 0.3
    flat = np.zeros(600, np.int32)  # no layers above: both begin at the same node
    stamp = np.zeros(600, np.int32)
    nodes, _, counts, _ = walk(
        q, np.full(len(q), 20), index.geometry.table, g["base"], g["upper"], g["upper_at"], flat, start, mask, True,
        np.empty(0, np.int32), BLIND, stamp, 0,
    )  # fmt: skip
    for r in range(len(q)):
        wanted = beam(q[r], x, g["base"], start, 20, set(np.flatnonzero(mask).tolist()))
        assert set(nodes[r, : counts[r]].tolist()) == wanted


@graphs
def test_the_walk_finds_what_faiss_finds() -> None:
    import faiss

    x, _, q = clusters(1500)
    index: Any = build(x, "hnsw", ef=64)
    own = faiss.IndexHNSWFlat(17, 16)  # one column more, for dot products
    own.hnsw.efConstruction, own.hnsw.efSearch = 100, 64
    faiss.omp_set_num_threads(1)
    own.add(index.geometry.space)
    theirs = own.search(np.concatenate([q, np.zeros((len(q), 1), np.float32)], 1), 10)[1]
    assert recall_of(index.search(q, 10).items, theirs.astype(np.int32)) > 0.97


@graphs
def test_keeping_inside_the_filter_finds_more_than_crossing_blindly() -> None:
    x, _, q = clusters(4000)
    index: Any = build(x, "hnsw")
    mask = np.random.default_rng(3).random(4000) < 0.02
    passing = index.geometry.passing(allow(mask))
    truth = index.geometry.best(q, 10, passing, None)[0]
    found = {c: index.beam(q, 10, passing, None, 32, c)[0] for c in ("blind", "inside")}
    assert recall_of(found["inside"], truth) > 0.95 > recall_of(found["blind"], truth) + 0.2


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(METRICS), st.integers(30, 200), st.integers(1, 6), st.integers(0, 1000))
def test_proven_rows_of_lists_are_the_best(metric: Any, n: int, probes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 3)) * rng.uniform(0.2, 3, (n, 1))).astype(np.float32)
    q = rng.normal(size=(6, 3)).astype(np.float32)
    index = IVF(x, metric, lists=min(n, 12), probes=probes)
    found, truth = index.search(q, 5), Exact(index.geometry).search(q, 5)
    np.testing.assert_allclose(found.scores[found.exact], truth.scores[found.exact], rtol=1e-4, atol=1e-5)
    all_read = index.search(q, 5, probes=12)
    assert all_read.exact.all()
    np.testing.assert_allclose(all_read.scores, truth.scores, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(20, 150), st.integers(1, 7), st.integers(1, 6), st.integers(1, 9), st.integers(0, 10_000), st.booleans(),
    st.booleans(), st.integers(1, 8),
)  # fmt: skip
def test_lists_give_the_best_of_what_was_read(
    n: int, d: int, probes: int, k: int, seed: int, filtered: bool, excludes: bool, queries: int
) -> None:
    rng = np.random.default_rng(seed)
    x, q = whole(n, d, seed), whole(queries, d, seed + 1)
    index = IVF(x, lists=min(n, 12), probes=probes)
    own = index.geometry
    mask = rng.random(n) < 0.3 if filtered else np.ones(n, bool)
    shut = [set(rng.integers(0, n, rng.integers(0, 20) if excludes else 0).tolist()) for _ in q]
    passing = own.passing(allow(mask)) if filtered else None
    ragged = Ragged.of([list(s) for s in shut]) if excludes else None
    items, scores, proven, products = index.read(q, k, passing, ragged, probes)
    gaps = index.gaps(own.aims(q)[0])
    for r in range(len(q)):
        read: list[int] = []
        lists = 0
        for c in np.argsort(gaps[r], kind="stable"):
            inside = np.flatnonzero((index.member == c) & mask)
            enough = lists >= probes and len(set(read) - shut[r]) >= k
            if enough:
                break
            lists += len(inside) > 0
            read += inside.tolist()
        wanted = nearest(q[r : r + 1], x, k, "dot", set(read), shut[r : r + 1])[0]
        assert items[r][items[r] >= 0].tolist() == [i for i, _ in wanted]
        np.testing.assert_array_equal(scores[r, : len(wanted)], np.array([s for _, s in wanted], np.float32))
        assert products[r] <= len(read)
        if proven[r]:
            best = nearest(q[r : r + 1], x, k, "dot", set(np.flatnonzero(mask).tolist()), shut[r : r + 1])[0]
            assert [i for i, _ in best] == [i for i, _ in wanted]


def test_filters_over_read_only_arrays_are_made_ready_once() -> None:
    own = Exact(clusters(300)[0]).geometry
    where = allow(np.arange(300) % 3 == 0)
    assert own.passing(where) is not own.passing(where)
    assert where.allow is not None
    where.allow.flags.writeable = False
    assert own.passing(where) is own.passing(Filter(allow=where.allow))
    for _ in range(40):
        other = np.arange(5, dtype=np.int32)
        other.flags.writeable = False
        own.passing(Filter(allow=other))
    assert len(own._remembered) <= 16


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_asked_twice_gives_the_same(kind: str) -> None:
    x, _, q = clusters(1000)
    index = build(x, kind, **KINDS[kind])
    ready = index.geometry.passing(allow(np.arange(1000) % 10 == 0))
    first, second, third = (index.search(q[:n], 5, where=ready).items[:2] for n in (2, 2, 50))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_disturb_each_other(kind: str) -> None:
    x, member, q = clusters(1500)
    index = build(x, kind, **KINDS[kind])
    jobs = [(r, allow(member % 4 == r % 4)) for r in range(len(q))] * 4
    ask = lambda job: index.search(q[job[0] : job[0] + 1], 8, where=job[1]).items
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, jobs))
    for found, job in zip(together, jobs, strict=True):
        np.testing.assert_array_equal(found, ask(job))


@graphs
def test_the_same_vectors_give_the_same_graph() -> None:
    x, _, _ = clusters(700)
    a, b = (build(x, "hnsw").state() for _ in range(2))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_the_planner_takes_the_cheapest_that_reaches_the_target() -> None:
    own = Geometry(clusters(1000)[0])
    at = lambda share, way, recall, ms, kind="uneven": Measure(share, kind, way, 64, recall, ms, ms, ms)
    measures = [
        at(1.0, "exact", 1, 10, "even"), at(1.0, "graph blind", 0.99, 1, "even"),
        at(0.1, "exact", 1, 1.0), at(0.1, "graph blind", 0.5, 0.1), at(0.1, "lists", 0.975, 0.5),
        at(0.1, "exact", 1, 1.0, "even"), at(0.1, "graph blind", 0.98, 0.1, "even"),
        at(0.01, "exact", 1, 0.1), at(0.01, "graph inside", 0.99, 0.2),
    ]  # fmt: skip
    index = Planned(own, graph=None, lists=None, measures=measures)
    assert [index.plan(n, "alone", 10).way for n in (1000, 999, 200, 100, 50, 11, 5)] == [
        "graph blind", "lists", "lists", "lists", "graph inside", "exact", "exact",
    ]  # fmt: skip
    assert index.plan(200, "alone", 10, even=True).way == "graph blind"
    assert index.plan(1000, "alone", 30).setting == 192  # three times the places, three times the beam
    assert index.plan(1000, "alone", 300).way == "exact"
    stricter = Planned(own, graph=None, lists=None, measures=measures, target=0.98)
    assert stricter.plan(200, "alone", 10).way == "exact"


def test_a_filter_never_seen_is_planned_for_by_what_its_first_request_costs() -> None:
    x, _, q = clusters(1000)
    own = Geometry(x)
    measures = [
        Measure(0.1, kind, way, 8, recall, alone, alone, first)
        for kind in ("even", "uneven")
        for way, recall, alone, first in (("exact", 1.0, 1.0, 8.0), ("lists", 0.99, 2.0, 2.5))
    ]
    index = Planned(own, graph=None, lists=IVF(own), measures=measures)  # type: ignore[arg-type]
    passing = at_random(own, 200, np.random.default_rng(0))
    assert [index.search(q[:1], 5, where=passing).plan for _ in range(2)] == ["lists", "exact"]
    assert index.search(q, 5, where=at_random(own, 200, np.random.default_rng(0))).plan == "exact"


def test_even_filters_are_told_from_uneven_ones() -> None:
    x, member, _ = clusters(3000)
    index = Planned(Geometry(x), graph=None, lists=IVF(x))
    rng = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.5, 0.9):
        assert index.even(at_random(index.geometry, round(share * 3000), rng))
        assert not index.even(in_clusters(index.geometry, index.lists, round(share * 3000), rng))
    assert not index.even(index.geometry.passing(allow(member < 10)))
    assert index.even(None)


@graphs
def test_what_is_measured_holds_on_new_requests() -> None:
    x, _, q = clusters(6000, 16, 60)
    index: Any = Planned.build(x, queries=q, target=0.9, graph=True)
    kinds = {(m.share, m.way) for m in index.measures}
    assert (1.0, "exact") in kinds
    assert all(0 <= m.recall <= 1 and m.alone > 0 and m.together > 0 for m in index.measures)
    rng = np.random.default_rng(5)
    for share in (1.0, 0.4, 0.1, 0.01):
        count = round(share * 6000)
        for passing in (at_random(index.geometry, count, rng), in_clusters(index.geometry, index.lists, count, rng)):
            assert index.recall(clusters(6000, 16, 60, seed=0)[2][::-1], 10, where=passing) > 0.85


def test_a_small_catalogue_is_scanned_however_slow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**9))
    monkeypatch.setattr("oakum.index.filtered.clock", lambda: float(next(ticks)))
    x, _, q = clusters(2000)
    index: Any = Planned.build(x, queries=q)
    assert {m.way for m in index.measures} == {"exact"}
    assert index.search(q, 5).plan == "exact"


def test_mistakes_are_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, q = clusters(50)
    index = build(x, "exact")
    with pytest.raises(ParameterError, match="width 16"):
        index.search(q[:, :5], 3)
    with pytest.raises(ParameterError, match="'deny' names an item outside 0 … 49"):
        index.search(q, 3, where=Filter(deny=np.array([50], np.int32)))
    with pytest.raises(ParameterError, match="'exclude' names an item"):
        index.search(q, 3, exclude=Ragged.of([[-1]] * len(q)))
    with pytest.raises(ParameterError, match="Did you mean 'cosine'"):
        build(x, "exact", "cosin")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="Did you mean 'planned'"):
        build(x, "planed")
    with pytest.raises(ParameterError, match="no such setting: 'efs'"):
        build(x, "ivf", efs=3)
    with pytest.raises(DataError, match="at least one item"):
        build(np.full((3, 2), np.nan, np.float32), "exact")
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"oakum\[index\]"):
        build(x, "hnsw")
    with pytest.raises(MissingExtra, match=r"oakum\[index\]"):
        build(x, "planned", graph=True)
    assert build(x, "planned").search(q, 3).items.shape == (60, 3)
