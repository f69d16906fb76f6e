"""Rows over threads: as many as the work is worth, never more than Numba may use. A small job starts none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numba.core import config
from numpy.typing import NDArray

#: Multiplications below which a further thread is not worth starting (about 20 milliseconds of one core).
WORTH = 2e8


def parts(costs: NDArray[np.integer] | NDArray[np.floating], work: float) -> list[tuple[int, int]]:
    """Stretches [low, high) of rows with about equal sums of `costs` [n], one or several a thread, for `work`
    multiplications altogether. One stretch means: do it here."""
    n = len(costs)
    threads = int(min(config.NUMBA_NUM_THREADS, max(1, work // WORTH)))
    if threads < 2 or n < 2:
        return [(0, n)]
    running = np.cumsum(costs, dtype=np.float64)
    count = 4 * threads  # a few a thread, so that one slow core does not keep the others waiting
    cuts = np.searchsorted(running, running[-1] * np.arange(1, count) / count).tolist()
    ends = sorted({0, *cuts, n})
    return list(pairwise(ends))


def spread(run: Callable[[int, int], None], stretches: list[tuple[int, int]]) -> None:
    """`run(low, high)` for every stretch, on threads where there are several; `run` must release the interpreter lock and
    write to its own rows alone, so results do not depend on the threads."""
    if len(stretches) == 1:
        run(*stretches[0])
        return
    with ThreadPoolExecutor(min(config.NUMBA_NUM_THREADS, len(stretches)), "oakum-rows") as pool:
        for done in [pool.submit(run, low, high) for low, high in stretches]:
            done.result()
