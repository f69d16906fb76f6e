"""What the machine can do: the yardstick beside the peers. Rates a second of one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

DISTRIBUTION = "numpy"


@njit(cache=True)
def _scatter(out: Any, at: Any) -> None:
    for i in range(len(at)):
        out[at[i]] += 1.0


@njit(cache=True)
def _gather(table: Any, at: Any) -> Any:
    out = np.zeros(table.shape[1], np.float32)
    for i in range(len(at)):
        out += table[at[i]]
    return out


def rates(case: Any) -> dict[str, Any]:
    """sgemm, copies, rows of 64 floats read at random from a table that fits the cache and from one that does not, sums
    scattered over a small array: the best of five a piece, by CPU seconds."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((2048, 2048), np.float32) for _ in range(2))
    x, y = np.zeros(32_000_000, np.float32), np.ones(32_000_000, np.float32)
    small, large = (np.ones((n, 64), np.float32) for n in (70_000, 2_000_000))
    near, far = (rng.integers(0, len(t), 1_000_000) for t in (small, large))
    sums, places = np.zeros(40_000, np.float32), rng.integers(0, 40_000, 20_000_000)
    return {
        "flop": _rate(lambda: a @ b, 2 * 2048.0**3),
        "bytes": _rate(lambda: np.copyto(x, y), 2 * x.nbytes),
        "rows_cached": _rate(lambda: _gather(small, near), len(near)),
        "rows": _rate(lambda: _gather(large, far), len(far)),
        "sums": _rate(lambda: _scatter(sums, places), len(places)),
    }


def decode(case: Any) -> dict[str, Any]:
    """Only reading the columns of a log, with nothing done to them."""
    import polars as pl

    path = case.folder / case.settings["file"]
    for _ in range(3):
        with case.timed():
            pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    return {}


def _rate(work: Callable[[], Any], amount: float) -> float:
    work()
    taken = []
    for _ in range(5):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return amount / min(taken)
