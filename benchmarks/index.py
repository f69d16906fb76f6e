"""Latency of the planned index: python benchmarks/index.py [ITEMS] [WIDTH] [THREADS] [FOLDER]

A million items by default. Requests come one by one to each of the threads, each for ten items without fifty that were seen;
filters are ready beforehand, except in the last row, which brings a filter never seen before. Recall is against the exact
answer for 200 requests. In FOLDER the index is kept, and found when the benchmark is run again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oakum.bench.vectors import simulated
from oakum.data import Filter, Ragged
from oakum.index.base import recall_of
from oakum.index.filtered import Planned
from oakum.store.indexes import load_index, save_index

REQUESTS, SEEN, K = 400, 50, 10


def stream(
    index: Planned, queries: np.ndarray, filters: Callable[[int], Filter | None], threads: int, n: int
) -> np.ndarray:
    """Seconds of every request on the clock and of the own thread's work [2, threads, n]; `threads` ask at a time."""
    taken = np.zeros((2, threads, n))
    rng = np.random.default_rng(0)
    seen = [Ragged.of([rng.choice(index.geometry.size, SEEN, replace=False)]) for _ in range(n)]
    barrier = threading.Barrier(threads)

    def ask(t: int) -> None:
        for i in range(-20, n):
            if i == 0:
                barrier.wait()
            began = np.array([time.perf_counter(), time.thread_time()])
            index.search(queries[(i + t * 17) % len(queries)][None], K, where=filters(i + t * n), exclude=seen[i])
            taken[:, t, max(i, 0)] = np.array([time.perf_counter(), time.thread_time()]) - began

    workers = [threading.Thread(target=ask, args=(t,)) for t in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return taken


def main() -> None:
    """Print one line a kind of filter and number of threads."""
    given = [int(a) for a in sys.argv[1:4]]
    n, dim, threads = [*given, *(1_000_000, 64, 4)[len(given) :]]
    case = simulated(n, dim, max(200, n // 1000), queries=500)
    folder = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    began = time.perf_counter()
    if folder is not None and folder.exists():
        index: Any = load_index(folder)
    else:
        index = Planned.build(case.vectors, case.metric, threads=threads, queries=case.queries)
        if folder is not None:
            save_index(index, folder)
    print(
        f"{n:,} items x {dim}: built or loaded in {time.perf_counter() - began:.0f} s with {threads} threads",
        flush=True,
    )
    index.measures = index.calibrate(case.queries)
    for m in index.measures:
        print(
            f"  {m.share:6} {m.filter:6} {m.way:13} {m.setting:4}  recall {m.recall:.3f}  {m.alone:8.3f} ms alone {m.together:8.3f} ms together"
        )
    rng = np.random.default_rng(1)

    def drawn(share: float, rows: np.ndarray | None = None) -> Filter:
        allow = np.flatnonzero(rng.random(n) < share).astype(np.int32) if rows is None else rows
        allow.flags.writeable = False
        return Filter(allow=allow)

    assert index.lists is not None
    order = rng.permutation(index.lists.lists)[index.lists.member]
    far = np.sort(np.argsort(order, kind="stable")[: n // 10]).astype(np.int32)
    ten, one, clusters = drawn(0.1), drawn(0.01), drawn(0.1, far)
    fresh = [np.sort(rng.choice(n, n // 100, replace=False)).astype(np.int32) for _ in range(50)]
    kinds: dict[str, Callable[[int], Filter | None]] = {
        "plain": lambda i: None,
        "10 % pass": lambda i: ten,
        "10 % pass, whole clusters": lambda i: clusters,
        "1 % pass": lambda i: one,
        "1 % pass, a new filter each": lambda i: Filter(allow=fresh[i % 50]),
    }
    for name, filters in kinds.items():
        where = filters(0)
        passing = index.geometry.passing(where)
        truth = index.geometry.best(index.geometry.asked(case.queries[:200]), K, passing, None)[0]
        found = np.concatenate([index.search(q[None], K, where=passing).items for q in case.queries[:200]])
        plan = index.plan(n if passing is None else len(passing), "alone", K, even=index.even(passing))
        for many in sorted({1, threads}):
            taken = stream(index, case.queries, filters, many, REQUESTS)
            rate = many * REQUESTS / taken[0].sum(1).max()
            (p50, p99), (own50, own99) = 1e3 * np.quantile(taken, (0.5, 0.99), axis=(1, 2)).T
            print(
                f"{name:28} {many} thread(s): p50 {p50:7.3f} ms  p99 {p99:7.3f} ms  {rate:7,.0f} a second  "
                f"(work alone: p50 {own50:6.3f} ms, p99 {own99:6.3f} ms, {many * REQUESTS / taken[1].sum(1).max():7,.0f} a second)  "
                f"recall {recall_of(found, truth):.3f}  by {plan.way} {plan.setting}",
                flush=True,
            )


if __name__ == "__main__":
    main()
