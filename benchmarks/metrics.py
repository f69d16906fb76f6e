"""CPU seconds of the metrics for 100,000 and 1,000,000 users with lists of 20: python benchmarks/metrics.py

Compilation is left out (a small case runs first); the best of three runs is printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from oakum.data import Ragged, Ranking
from oakum.metrics import accuracy, stability
from oakum.metrics.context import Context
from oakum.metrics.registry import summarise
from oakum.metrics.statistics import estimate
from oakum.splits.protocol import Truth

ITEMS, K = 50_000, 20


def case(q: int) -> tuple[Ranking, Ranking, Truth]:
    """Two random rankings and a truth of 1 to 19 sorted relevant items a user."""
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.random((q, K), np.float32), axis=1)
    first, second = (Ranking(rng.integers(0, ITEMS, (q, K), np.int32), scores) for _ in range(2))
    lengths = rng.integers(1, 20, q)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.cumsum(rng.integers(1, ITEMS // 20, offsets[-1]))
    start = np.repeat(steps[offsets[:-1]], lengths)
    relevant = Ragged(offsets, (steps - start).astype(np.int32))
    return first, second, Truth(np.arange(q, dtype=np.int32), relevant, Ragged.empty(q))


def cpu(work: Callable[[], object]) -> float:
    """Best of three, in CPU seconds."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    """Print one line a measurement and size."""
    for q in (1_000, 100_000, 1_000_000):
        first, second, truth = case(q)
        recalls = accuracy.recall(first, truth, K)
        noise = np.random.default_rng(0).random(q)
        context = Context(num_items=ITEMS)
        measured: dict[str, float] = {
            "accuracy: one cut-off": cpu(lambda a=first, t=truth: accuracy.places(a, t, [K])),
            "accuracy: three cut-offs": cpu(lambda a=first, t=truth: accuracy.places(a, t, [5, 10, K])),
            "frbo@20": cpu(lambda a=first, b=second: stability.frbo(a, b, K)),
            "interval: few distinct values": cpu(lambda v=recalls: estimate(v)),
            "interval: all values distinct": cpu(lambda v=noise: estimate(v)),
            "coverage@20, gini@20 with intervals": cpu(
                lambda a=first, t=truth, c=context: summarise(a, t, ["coverage@20", "gini@20"], c)
            ),
        }
        for name, seconds in measured.items():
            if q > 1_000:
                print(f"{q:>9,} users  {name:<38} {seconds:8.3f} CPU s")


if __name__ == "__main__":
    main()
