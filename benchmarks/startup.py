"""What starting costs: python benchmarks/startup.py

The import, the command's help, and the first list of a small log by several systems, each in a process of its own: as they
come, and as they come the first time ever on a machine, when compiled code is not kept yet. And what is installed, in
megabytes. CPU seconds of the whole process, medians. Writes benchmarks/startup.json, which a section of docs/speed.md is
made of.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from benchmarks.envs import ready

RESULTS = Path(__file__).resolve().parent / "startup.json"
SYSTEMS = ("popularity", "item-knn", "ease", "ials", "bpr-mf", "lightgcn", "sasrec")
FIRST = """
import numpy as np, polars as pl, oakum
rng = np.random.default_rng(0)
columns = {"user_id": rng.integers(0, 60, 600), "item_id": rng.integers(0, 80, 600), "timestamp": np.arange(600)}
print(oakum.fit(SYSTEM, oakum.read(pl.DataFrame(columns))).recommend([0], k=10))
"""
RUNS, RARE = 7, 3  # how often each is run; how often what takes long is


def seconds(command: Sequence[str], runs: int, cache: Path | None = None) -> float:
    """The median CPU seconds of a command, with the compiled code that is kept in `cache`, or with none."""
    taken = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as empty:
            env = {**os.environ, "NUMBA_CACHE_DIR": str(cache or empty)}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True, env=env)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(statistics.median(taken), 3)


def starts() -> list[dict[str, Any]]:
    """A row a command: its name, CPU seconds, and those of its first run ever where that differs."""
    python = sys.executable
    plain = {
        "python": [python, "-c", "pass"],
        "import numpy, polars": [python, "-c", "import numpy, polars"],
        "import oakum": [python, "-c", "import oakum"],
        "import oakum; oakum.fit": [python, "-c", "import oakum; oakum.fit"],
        "oakum --help": [python, "-m", "oakum", "--help"],
        "oakum systems": [python, "-m", "oakum", "systems"],
    }
    out: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as kept:
        for name, command in plain.items():
            seconds(command, 1, Path(kept))  # bytecode and the pages of files are there from now on
            out.append({"name": name, "cpu_s": seconds(command, RUNS, Path(kept)), "first_s": None})
        for system in SYSTEMS:
            command = [python, "-c", FIRST.replace("SYSTEM", repr(system))]
            first = seconds(command, RARE)
            seconds(command, 1, Path(kept))
            name = f"first list by {system}"
            out.append({"name": name, "cpu_s": seconds(command, RARE, Path(kept)), "first_s": first})
            print(out[-1], flush=True)
    return out


def installed(root: str, extras: Sequence[str] = ()) -> dict[str, float]:
    """Megabytes of a distribution and of all that it requires, by name."""
    out: dict[str, float] = {}
    waiting = [(root, tuple(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if name in out:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        files = [Path(str(found.locate_file(file))) for file in found.files or ()]
        size = sum(file.stat().st_size for file in files if file.is_file())
        out[name] = round(size / 2**20, 1)
        for line in found.requires or ():
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in ("", *wanted)):
                waiting.append((need.name.lower().replace("_", "-"), tuple(need.extras)))
    return out


def sources(package: str) -> float:
    """Megabytes of a package's folder but for compiled code that is made anew: it may run from its sources, whose files no
    list names."""
    found = importlib.util.find_spec(package)
    homes = (found and found.submodule_search_locations) or []
    own = (f for home in homes for f in Path(home).rglob("*") if f.is_file() and f.suffix not in (".nbi", ".nbc"))
    return round(sum(f.stat().st_size for f in own) / 2**20, 1)


def main() -> None:
    """Measure, print, write."""
    ready("oakum")
    sizes = {**installed("oakum"), "oakum": sources("oakum")}
    sizes = dict(sorted(sizes.items(), key=lambda row: -row[1]))
    found = {"load": os.getloadavg()[0], "starts": starts(), "installed_mb": sizes}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in found["starts"]:
        print(f"{row['name']:<32} {row['cpu_s']:>7.3f}  {row['first_s'] or ''}")
    print(f"{sum(sizes.values()):.0f} MB: " + ", ".join(f"{name} {mb:.0f}" for name, mb in list(sizes.items())[:8]))


if __name__ == "__main__":
    main()
