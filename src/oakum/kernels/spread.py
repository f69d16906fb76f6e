"""Rows over threads: as many as the work is worth, never more than Numba may use. A small job starts none."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Multiplications below which a further thread is not worth starting (about 20 milliseconds of one core).
WORTH = 2e8
_here = threading.local()


@contextmanager
def by_itself() -> Iterator[None]:
    """Within it this thread runs kernels by itself, so that a clock of this thread sees all that they cost."""
    before = getattr(_here, "one", False)
    _here.one = True
    try:
        yield
    finally:
        _here.one = before


@lru_cache(maxsize=1)
def cores() -> int:
    """The cores of this process: NUMBA_NUM_THREADS where it is set, else its share of the machine."""
    told = os.environ.get("NUMBA_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # containers are given a part of the time, which the count of cores does not show
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return found if quota == "max" else max(1, min(found, int(quota) // int(period)))
    except (OSError, ValueError):
        return found


def most() -> int:
    """Threads that a kernel may take here."""
    return 1 if getattr(_here, "one", False) else cores()


def even(n: int, work: float, *, worth: float | None = None, least: int = 1) -> list[tuple[int, int]]:
    """Stretches of n rows that cost the same, for `work` altogether, of which `worth` (`WORTH`) is worth a thread; none but
    the last has fewer than `least` rows. See `parts`."""
    threads = int(min(most(), n, max(1, work // (worth or WORTH))))
    if threads < 2:
        return [(0, n)]
    step = max(least, -(-n // (4 * threads)))
    return [(low, min(low + step, n)) for low in range(0, n, step)]


def parts(costs: NDArray[np.integer] | NDArray[np.floating], work: float) -> list[tuple[int, int]]:
    """Stretches [low, high) of rows with about equal sums of `costs` [n], one or several a thread, for `work`
    multiplications altogether. One stretch means: do it here."""
    n = len(costs)
    threads = int(min(most(), max(1, work // WORTH)))
    if threads < 2 or n < 2:
        return [(0, n)]
    running = np.cumsum(costs, dtype=np.float64)
    count = 4 * threads  # a few a thread, so that one slow core does not keep the others waiting
    cuts = np.searchsorted(running, running[-1] * np.arange(1, count) / count).tolist()
    ends = sorted({0, *cuts, n})
    return list(pairwise(ends))


def fixed(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Views that cannot be written to: a kernel is compiled once, whether its input may be written to or not."""
    out = [a.view() for a in arrays]
    for view in out:
        view.flags.writeable = False
    return out


def spread(run: Callable[[int, int], None], stretches: list[tuple[int, int]]) -> None:
    """`run(low, high)` for every stretch, on threads where there are several; `run` must release the interpreter lock and
    write to its own rows alone, so results do not depend on the threads."""
    if len(stretches) == 1:
        run(*stretches[0])
        return
    with ThreadPoolExecutor(min(most(), len(stretches)), "oakum-rows") as pool:
        for done in [pool.submit(run, low, high) for low, high in stretches]:
            done.result()
