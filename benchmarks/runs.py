"""One run of one side of a task in a process of its own, counted and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import folder_of
from benchmarks.envs import cache, python_of
from benchmarks.tasks import Task

HERE = Path(__file__).resolve().parent
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "LK")
STOPPED = "stopped after"
LONGEST = 1200.0  # seconds on the clock, after which a run is given up
OURS = "oakum"


def job_of(task: Task, peer: str) -> dict[str, Any]:
    """What a child is told. Tasks that differ only in the piece of work they read share their runs."""
    name, _, function = peer.partition(":")
    return {
        "peer": name, "function": function or task.function, "data": task.data, "real": "OAKUM_DATA" in os.environ,
        "settings": dict(task.settings), "toy": task.toy, "toy_settings": dict(task.toy_settings),
    }  # fmt: skip


def kept(job: Mapping[str, Any], turn: int, threads: int) -> Path:
    """The folder of a run."""
    what = {k: v for k, v in job.items() if not k.startswith("toy")}  # which changes nothing that is measured
    words = json.dumps([what, threads, not job["toy"]], sort_keys=True)
    digest = hashlib.sha256(words.encode()).hexdigest()[:12]
    return cache() / "runs" / f"{job['peer']}-{job['function']}-{job['data']}-{digest}" / str(turn)


def forget(task: Task, peer: str, threads: int) -> None:
    """Let go of what was measured, so that it is measured again."""
    shutil.rmtree(kept(job_of(task, peer), 0, threads).parent, ignore_errors=True)


def run(task: Task, peer: str, turn: int, threads: int) -> dict[str, Any]:
    """The figures of a run: taken from disk where it is done or took too long, measured else. A failure is a sentence in
    "error", and tried again next time."""
    job = job_of(task, peer)
    folder = kept(job, turn, threads)
    path = folder / "run.json"
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"error": "never run"}
    if "error" in held and not held["error"].startswith(STOPPED):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        toy = str(folder_of(task.toy)) if task.toy else None
        told = {**job, "data": str(folder_of(task.data)), "toy": toy, "out": str(folder)}
        found = child(python_of(job["peer"]), told, threads)
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    out: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return out


def arrays(task: Task, peer: str, threads: int) -> dict[str, Any]:
    """What the first run found, arrays and facts."""
    folder = kept(job_of(task, peer), 0, threads)
    with np.load(folder / "arrays.npz", allow_pickle=False) as held:
        found = {name: held[name] for name in held.files}
    return {**found, **json.loads((folder / "run.json").read_text(encoding="utf-8"))["facts"]}


def child(python: Path, job: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run peers/<peer>.py in a process of its own session: CPU and wall seconds, peak memory, the load it met."""
    given = {f"{name}_NUM_THREADS": str(threads) for name in THREADS}
    env = {
        **os.environ, **given, "POLARS_MAX_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    load, out = os.getloadavg()[0], Path(job["out"])
    with tempfile.TemporaryDirectory(prefix="oakum-bench-") as work, tempfile.TemporaryFile("w+") as said:
        told = Path(work) / "job.json"
        told.write_text(json.dumps(job), encoding="utf-8")
        began = time.perf_counter()
        # -P: the folder of this script is not searched for modules, so that peers/oakum.py shadows nothing.
        process = subprocess.Popen(
            [str(python), "-P", str(HERE / "child.py"), str(told)], stdout=said, stderr=subprocess.STDOUT, env=env,
            cwd=work, start_new_session=True,
        )  # fmt: skip
        timer = threading.Timer(LONGEST, lambda: os.killpg(process.pid, 9))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, 9)
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - began
        said.seek(0)
        lines = [line.strip() for line in said.read().splitlines() if line.strip()]
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    found: dict[str, Any] = {
        "process": {"cpu": round(usage.ru_utime + usage.ru_stime, 3), "wall": round(wall, 3)},
        "load": round(load, 2), "threads": threads,
    }  # fmt: skip
    if code:
        why = f"{STOPPED} {LONGEST:g} s" if wall >= LONGEST else lines[-1] if lines else f"ended with {code}"
        return {**found, "error": why[:300]}
    found |= json.loads((out / "result.json").read_text(encoding="utf-8"))
    found["seconds"]["process"] = found["process"]
    return found
