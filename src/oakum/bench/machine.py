"""What the machine itself can do, measured now, and the seconds it would need for a task if nothing else cost anything."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

Rates = Mapping[str, float]
Facts = Mapping[str, Any]
TABLES = {"rows_near": 10_000, "rows_cached": 80_000, "rows": 2_000_000}
Limit = Callable[[Rates, Facts, Mapping[str, Any]], float]


@njit(cache=True)
def _scatter(out, at):  # type: ignore[no-untyped-def]
    for i in range(len(at)):
        out[at[i]] += 1.0


@njit(cache=True, fastmath=True)
def _gather(table, at, out):  # type: ignore[no-untyped-def]
    for i in range(len(at)):
        r = at[i]
        for j in range(64):
            out[j] += table[r, j]


def rates(scale: float = 1.0) -> dict[str, float]:
    """A CPU second's worth, the best of five: `flop` of a large float32 product, `bytes` copied (read and written), rows
    of 64 floats summed in random order from a table of 2.5 MB (`rows_near`), of 18 MB (`rows_cached`) and beyond all caches
    (`rows`), `sums` scattered over 160 kB. scale < 1 takes smaller tables."""
    rng = np.random.default_rng(0)
    side = max(64, int(2048 * scale))
    a, b = (rng.random((side, side), np.float32) for _ in range(2))
    n = max(1000, int(32_000_000 * scale))
    x, y = np.zeros(n, np.float32), np.ones(n, np.float32)
    table, row = np.ones((max(1000, int(2_000_000 * scale)), 64), np.float32), np.zeros(64, np.float32)
    drawn = {name: rng.integers(0, min(m, len(table)), max(1000, int(1_000_000 * scale))) for name, m in TABLES.items()}
    sums = np.zeros(40_000, np.float32)
    places = rng.integers(0, len(sums), max(1000, int(20_000_000 * scale)))
    return {
        "flop": _rate(lambda: a @ b, 2.0 * side**3),
        "bytes": _rate(lambda: np.copyto(x, y), 2.0 * x.nbytes),
        **{name: _rate(partial(_gather, table, at, row), len(at)) for name, at in drawn.items()},
        "sums": _rate(lambda: _scatter(sums, places), len(places)),
    }


def row_rate(m: Rates, rows: float) -> float:
    """Rows of 64 floats a CPU second, read at random from a table of so many."""
    return m[next((name for name, size in TABLES.items() if rows <= size), "rows")]


def _rate(work: Callable[[], Any], amount: float) -> float:
    work()
    taken = []
    for _ in range(5):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return float(amount / max(min(taken), 1e-9))


def facts(matrix: Any) -> dict[str, float]:
    """Of a CSR matrix, users by items: `users`, `items`, `events`, and `pairs`, the squares of the users' lengths summed."""
    lengths = np.diff(matrix.indptr).astype(np.float64)
    return {
        "users": float(matrix.shape[0]),
        "items": float(matrix.shape[1]),
        "events": float(lengths.sum()),
        "pairs": float((lengths**2).sum()),
    }


def _ease(m: Rates, f: Facts, s: Mapping[str, Any]) -> float:
    """Sums scattered into the Gram matrix; items³ multiplications and additions for its inverse."""
    return float(f["pairs"] / m["sums"] + f["items"] ** 3 / m["flop"])


def _ials(m: Rates, f: Facts, s: Mapping[str, Any]) -> float:
    """A sweep: three steps of conjugate gradients and a residual, each a product with the Gram matrix and with the rows of
    what was seen, which are read once."""
    d = s["embedding_dim"]
    flop = 4 * (2 * d * d * (f["users"] + f["items"]) + 8 * d * f["events"])
    rows = f["events"] / row_rate(m, f["items"]) + f["events"] / row_rate(m, f["users"])
    return float(s["epochs"] * (flop / m["flop"] + rows))


def _steps(m: Rates, f: Facts, s: Mapping[str, Any]) -> float:
    """Two rows of items at random an update, read and written in place; the row of the user may be at hand."""
    return float(2 * s["epochs"] * f["events"] / row_rate(m, f["items"]))


def _propagation(m: Rates, f: Facts, s: Mapping[str, Any]) -> float:
    """One training step: the neighbours of all rows a layer, there and back; of the last layer only those of the batch are
    needed, which count as nothing."""
    return float(4 * (s["num_layers"] - 1) * f["events"] / row_rate(m, f["users"] + f["items"]))


#: Seconds to fit a system at the machine's rates, from the sizes of the log and the settings; systems that are not here have
#: no such bound.
FITS: dict[str, Limit] = {
    "popularity": lambda m, f, s: 4 * f["events"] / m["bytes"],
    "item-knn": lambda m, f, s: f["pairs"] / m["sums"],
    "ease": _ease,
    "ials": _ials,
    "bpr-mf": _steps,
    "lightgcn": _propagation,
}


def products(m: Rates, rows: float, columns: float, dim: float) -> float:
    """Seconds of all dot products of two tables."""
    return 2 * rows * columns * dim / m["flop"]


class Peak:
    """The largest memory of this process within a `with`, in `megabytes`; since its start where the system cannot reset it."""

    megabytes = 0.0

    def __enter__(self) -> Peak:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return self

    def __exit__(self, *error: object) -> None:
        status = Path("/proc/self/status")
        if status.exists():
            line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
            self.megabytes = int(line.split()[1]) / 1024
        else:
            unit = 2**20 if sys.platform == "darwin" else 2**10
            self.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
