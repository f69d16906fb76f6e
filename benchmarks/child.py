"""The process a peer runs in: python child.py JOB.json (peer, function, data, toy, settings, toy_settings, out).

A peer is a file of functions, peers/<peer>.py, run by the interpreter of its own environment. Each function takes a
`Case`, does its preparation, times its work with `case.timed`, and returns what it found: arrays (saved for the one
evaluator) and plain facts. Nothing of Oakum is imported here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


def cpu_seconds() -> float:
    """User and system seconds of this process, all threads, and of children that ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system if t.children_user else time.process_time()


class Case:
    """One job: a folder of data, settings, a clock."""

    def __init__(self, folder: str, settings: dict[str, Any]) -> None:
        self.folder, self.settings = Path(folder), settings
        self.taken: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def timed(self, name: str = "work") -> Iterator[None]:
        """Count the seconds of a piece of work; what is timed under one name more than once counts by its median."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        yield
        self.took(name, cpu_seconds() - cpu, time.perf_counter() - wall)

    def took(self, name: str, cpu: float, wall: float) -> None:
        """Seconds that were counted otherwise."""
        self.taken.setdefault(name, []).append((cpu, wall))

    def array(self, name: str) -> Any:
        """An array of the data folder."""
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)

    @cached_property
    def train(self) -> Any:
        """What was seen: scipy CSR, users by items, float32 ones."""
        from scipy import sparse

        pointers, codes, shape = (self.array(f"train_{n}") for n in ("indptr", "indices", "shape"))
        return sparse.csr_matrix((np.ones(len(codes), np.float32), codes, pointers), shape=tuple(shape))

    @cached_property
    def users(self) -> Any:
        """The users who are asked: those with something to find, int64, rising."""
        return self.array("test_users").astype(np.int64)

    def pairs(self) -> tuple[Any, Any]:
        """The training events as (users, items), int64."""
        lengths = np.diff(self.array("train_indptr"))
        return np.repeat(np.arange(len(lengths)), lengths), self.array("train_indices").astype(np.int64)

    def best(self, scores: Any, users: Any, k: int = 20) -> Any:
        """The k best of each row of a block of scores, seen items left out: for libraries that only score."""
        seen = self.train[users]
        scores[np.repeat(np.arange(len(users)), np.diff(seen.indptr)), seen.indices] = -np.inf
        part = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, part, 1), axis=1, kind="stable")
        return np.take_along_axis(part, order, 1)

    def seconds(self) -> dict[str, dict[str, float]]:
        """Medians by name."""
        middle = lambda rows, at: round(statistics.median(r[at] for r in rows), 5)
        return {name: {"cpu": middle(rows, 0), "wall": middle(rows, 1)} for name, rows in self.taken.items()}


def peak_megabytes() -> int:
    """The largest memory of this program: where the system tells, without what the process was before it became this one."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(largest / (2**20 if sys.platform == "darwin" else 2**10))


def version_of(distribution: str) -> str:
    """Of an installed distribution, or of a package that runs from its sources."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return str(importlib.import_module(distribution).__version__)


def main() -> None:
    """Run one function and leave result.json and arrays.npz."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    path = Path(__file__).resolve().parent / "peers" / f"{job['peer']}.py"
    spec = importlib.util.spec_from_file_location(f"peer_{job['peer']}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, job["function"])
    if job["toy"] is not None:  # what is compiled or imported at first use is there before the clock starts
        function(Case(job["toy"], {**job["settings"], **job["toy_settings"]}))
    case = Case(job["data"], job["settings"])
    found = function(case) or {}
    out = Path(job["out"])
    arrays: dict[str, Any] = {k: v for k, v in found.items() if isinstance(v, np.ndarray)}
    np.savez(out / "arrays.npz", **arrays)
    name = found.get("distribution") or module.DISTRIBUTION
    result = {
        "seconds": case.seconds(),
        "facts": {k: v for k, v in found.items() if k not in arrays and k != "distribution"},
        "rss_mb": peak_megabytes(),
        "library": f"{name} {version_of(name)}",
    }
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":  # some libraries start workers, which import this file again
    main()
