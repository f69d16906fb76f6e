"""How many cores a piece of work is worth, and the pieces: kernels release the interpreter, plain threads run them.

No pool waits in the background and nothing spins. Work that one core does within about a fiftieth of a second starts no
thread at all, so small requests cost what they cost and many processes side by side do not fight for cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

ENOUGH = 1_500_000_000  # operations that are worth a thread: some twenty milliseconds
PIECES = 4  # a thread, so that one that is held up does not hold up all
_here = threading.local()


@lru_cache(maxsize=1)
def cores() -> int:
    """The cores this process may use: NUMBA_NUM_THREADS where it is set, else its share of the machine."""
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


def use_one() -> None:
    """From now on this thread runs kernels by itself: many requests at once are worth more than one spread out."""
    _here.one = True


def spread(work: Callable[[int, int], object], rows: int, operations: float) -> None:
    """`work(start, stop)` over all rows, on as many threads as so many operations are worth.

    work: must release the interpreter, and rows must not depend on each other.
    """
    most = 1 if getattr(_here, "one", False) else cores()
    threads = int(min(most, rows, operations // ENOUGH))
    if threads <= 1:
        work(0, rows)
        return
    step = -(-rows // (PIECES * threads))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, at, min(at + step, rows)) for at in range(0, rows, step)]:
            done.result()
