"""A simulated log of a million people and fifty million events, end to end: python benchmarks/scale.py [--size 1]

The catalogue stays at 200,000 items; --size scales people and events with them, so a cost that is linear in the log is a
line of slope 1 in the plot. Every stage is a process of its own: its CPU seconds are those of its own work (without imports
and without reading what the stage before left), its peak memory is the whole process's. A process that goes over --limit is
ended and its row says so. Rows are kept in benchmarks/scale.json by stage and size, and not measured again without --fresh;
what is generated goes to a temporary folder (--folder keeps it).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

USERS, ITEMS, EVENTS = 1_000_000, 200_000, 50_000_000
CHUNK, TASTES, K = 1_000_000, 64, 20
ASKED, SERVED = 10_000, 20_000  # people whom evaluation asks and who get lists; the cost of all is stated from theirs
BPR = {"epochs": 1, "step": "triples", "optimiser": "sgd", "learning_rate": 0.05, "batch_size": 1 << 17}
RESULTS = Path(__file__).with_name("scale.json")
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "scale.svg"
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


def generate(folder: Path, size: float) -> dict[str, Any]:
    """Write log.parquet: Zipf items in 64 soft taste groups, log-normal people, gappy 64-bit ids, events in order of time.

    A million events at a time; nothing of the log's size is ever in memory.
    """
    import polars as pl

    rng = np.random.default_rng(0)
    users, events = int(USERS * size), int(EVENTS * size)
    names = rng.permutation(users * 7)[:users] + 10_000_000, rng.permutation(ITEMS * 7)[:ITEMS] + 500_000
    activity = np.cumsum(rng.lognormal(0, 1, users))
    ranks = np.cumsum(1 / np.arange(1, ITEMS + 1) ** 0.9)
    group = rng.integers(0, TASTES, users)
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    for n, start in enumerate(range(0, events, CHUNK)):
        m = min(CHUNK, events - start)
        u = np.searchsorted(activity, rng.random(m) * activity[-1])
        rank = np.searchsorted(ranks, rng.random(m) * ranks[-1])
        own = rng.random(m) < 0.7  # most of what people take is of their own group's shelf at that popularity
        i = np.where(own, np.minimum(rank // TASTES * TASTES + group[u], ITEMS - 1), rank)
        moments = 1_500_000_000 + np.sort(rng.random(m) + n) * (CHUNK * 200_000_000 // events)
        frame = {"user_id": names[0][u], "item_id": names[1][i], "rating": rng.integers(1, 6, m).astype(np.float32)}
        pl.DataFrame({**frame, "timestamp": moments.astype(np.int64)}).write_parquet(parts / f"{n:05}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(folder / "log.parquet")
    for part in parts.iterdir():
        part.unlink()
    return {"events": events}


def keep(folder: Path, name: str, log: Any) -> None:
    """The columns of a part as plain arrays, for the stages after it."""
    for column, values in log.columns().items():
        np.save(folder / f"{name}.{column}.npy", values)


def kept(folder: Path, name: str) -> Any:
    """What `keep` wrote."""
    from oakum.data import Interactions

    columns = [
        np.load(folder / f"{name}.{c}.npy", allow_pickle=False) for c in ("user", "item", "value", "time", "row")
    ]
    return Interactions(*columns)


def training(folder: Path) -> Any:
    """The training part over the vocabulary of the whole log."""
    import polars as pl

    from oakum.data import Dataset, Vocabulary

    ids = [Vocabulary(pl.read_parquet(folder / f"{side}.parquet")["id"]) for side in ("users", "items")]
    return Dataset(kept(folder, "train"), *ids, name="simulated")


class Clock:
    """CPU and wall seconds of the work between `start` and `stop`."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def __enter__(self) -> Clock:
        self.began = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu += time.process_time() - self.began[0]
        self.wall += time.perf_counter() - self.began[1]


def load(folder: Path, clock: Clock) -> dict[str, Any]:
    """`read` on the whole file."""
    from oakum.data.read import read

    with clock:
        data = read(folder / "log.parquet")
    keep(folder, "log", data.interactions)
    for side, vocabulary in (("users", data.users), ("items", data.items)):
        vocabulary.ids.rename("id").to_frame().write_parquet(folder / f"{side}.parquet")
    return {"users": data.num_users, "items": data.num_items}


def split(folder: Path, clock: Clock) -> dict[str, Any]:
    """By time: the last tenth is asked, a twentieth before it validates."""
    import polars as pl

    from oakum.data import Dataset, Vocabulary
    from oakum.splits.rules import split_by_time

    ids = [Vocabulary(pl.read_parquet(folder / f"{side}.parquet")["id"]) for side in ("users", "items")]
    data = Dataset(kept(folder, "log"), *ids, name="simulated")
    with clock:
        parts = split_by_time(data, test=0.1, valid=0.05)
    keep(folder, "train", parts.train.interactions)
    keep(folder, "test", parts.test)
    return {"train": len(parts.train), "test": len(parts.test)}


def warm(slug: str, plan: dict[str, Any], settings: dict[str, Any]) -> None:
    """The same on a few events, so that compiling is not measured."""
    from oakum.api import fit
    from oakum.data.simulate import Market, simulate
    from oakum.evaluation import evaluate
    from oakum.splits import split

    parts = split(simulate(Market(users=100, items=150, events=2000)), "holdout")
    fitted = fit(slug, parts.train, plan=plan, **settings)
    evaluate(fitted, parts, k=[K])


def fitting(slug: str, plan: dict[str, Any] | None = None, **settings: Any) -> Callable[[Path, Clock], dict[str, Any]]:
    """A stage that fits a system and saves it. plan: `"step": "triples"` steps by triples."""

    def stage(folder: Path, clock: Clock) -> dict[str, Any]:
        from oakum import store
        from oakum.api import fit

        made = dict(plan or {})
        if "step" in made:
            from oakum.engine.triples import Triples

            made["step"] = Triples()
        warm(slug, made, settings)
        data = training(folder)
        with clock:
            fitted = fit(slug, data, plan=made, **settings)
        if slug in ("ials", "item-knn"):
            store.save(fitted, folder / slug)
        return {"settings": {**settings, **(plan or {})}}

    return stage


def evaluating(slug: str) -> Callable[[Path, Clock], dict[str, Any]]:
    """A stage that ranks all items for a sample of the people with test events, and measures."""

    def stage(folder: Path, clock: Clock) -> dict[str, Any]:
        from oakum import store
        from oakum.evaluation import evaluate
        from oakum.splits.protocol import Protocol, Split

        warm(slug, {}, {})
        fitted, data, test = store.load(folder / slug), training(folder), kept(folder, "test")
        people = np.unique(test.users)
        asked = np.random.default_rng(0).permutation(people)[:ASKED]
        parts = Split(data, None, test.take(np.isin(test.users, asked)), Protocol("time"))
        once = Clock()
        with once:  # what every evaluation makes of the training part, however many are asked
            assert data.matrix.nnz <= len(data.histories.items)
        with clock:
            found = evaluate(fitted, parts, k=[K])
        ndcg = found.metrics[f"ndcg@{K}"].value
        return {**of_all(len(asked), len(people), clock, once.cpu), f"ndcg@{K}": round(ndcg, 5)}

    return stage


def of_all(asked: int, people: int, clock: Clock, once: float = 0.0) -> dict[str, Any]:
    """The cost of all people from that of some, each of whom is a row of its own, beside what is paid `once`."""
    ms, all_of_them = 1e3 * clock.cpu / asked, clock.cpu / asked * people + once
    return {
        "asked": asked,
        "of": people,
        "ms_a_person": round(ms, 3),
        "once_cpu_s": round(once, 2),
        "all_cpu_s": round(all_of_them, 1),
    }


def recommend(folder: Path, clock: Clock) -> dict[str, Any]:
    """Twenty items from the factors of iALS, without what people had: for everybody, or for so many drawn at random."""
    from oakum import store
    from oakum.data import Filter

    warm("ials", {}, {"epochs": 1})
    fitted = store.load(folder / "ials")
    n = len(fitted.users)
    people = np.sort(np.random.default_rng(0).permutation(n)[:SERVED]).astype(np.int32)
    lists = np.empty((len(people), K), np.int32)
    with clock:
        for start in range(0, len(people), 1 << 14):
            queries = fitted.queries(people[start : start + (1 << 14)])
            lists[start : start + len(queries)] = fitted.rank(queries, K, where=Filter(exclude=queries.histories)).items
    np.save(folder / "lists.npy", lists)
    return of_all(len(people), n, clock)


STAGES: dict[str, Callable[[Path, Clock], dict[str, Any]]] = {
    "load": load,
    "split": split,
    "popularity": fitting("popularity"),
    "item-knn": fitting("item-knn", k=50),
    "ials": fitting("ials", embedding_dim=64, epochs=2),
    "bpr-mf": fitting("bpr-mf", BPR, l2=0.01),
    "evaluate": evaluating("ials"),
    "evaluate item-knn": evaluating("item-knn"),
    "recommend": recommend,
}


def measured(stage: str, size: float, folder: Path, threads: int, limit: int) -> dict[str, Any]:
    """One stage in a process of its own."""
    own = folder / f"{size:g}"
    env = {**os.environ, **dict.fromkeys(THREADS, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, __file__, "--stage", stage, "--size", str(size), "--folder", str(own)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        page = resource.getpagesize()
        while not done.wait(0.2):
            try:
                pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                return
            if pages * page > limit << 30:
                over.set()
                child.kill()

    threading.Thread(target=watch, daemon=True).start()
    assert child.stdout is not None
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    row: dict[str, Any] = {
        "stage": stage, "size": size, "events": int(EVENTS * size), "threads": threads,
        "process_cpu_s": round(usage.ru_utime + usage.ru_stime, 2), "peak_mb": usage.ru_maxrss >> 10,
    }  # fmt: skip
    last = text.strip().splitlines()[-1:]
    if child.returncode or not last:
        return {**row, "error": f"over {limit} GiB" if over.is_set() else f"exit {child.returncode}"}
    return {**row, **json.loads(last[0])}


def cost(row: dict[str, Any]) -> float:
    """CPU seconds of a stage for everybody."""
    return float(row.get("all_cpu_s", row["cpu_s"]))


def slope(rows: list[dict[str, Any]], stage: str) -> float | None:
    """The exponent of a stage's cost in the size, by least squares on logarithms; 1 is linear."""
    own = [(r["events"], cost(r)) for r in rows if r["stage"] == stage and "error" not in r]
    if len(own) < 2:
        return None
    x, y = np.log(np.array(own)).T
    return float(np.polyfit(x, y, 1)[0])


def plot(rows: list[dict[str, Any]]) -> None:
    """Cost and memory against the size, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from oakum.report.palette import LIGHT, SERIES

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scale", "font.size": 9})
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for n, stage in enumerate(STAGES):
        own = sorted((r["events"], cost(r), r["peak_mb"]) for r in rows if r["stage"] == stage and "error" not in r)
        if not own:
            continue
        style = {"color": LIGHT[SERIES[n % len(SERIES)]], "marker": "osv^DPX*h"[n], "markersize": 4, "linewidth": 1.2}
        events, cpu, peak = zip(*own, strict=True)
        found = slope(rows, stage)
        axes[0].plot(events, cpu, label=stage + (f" ({found:.2f})" if found is not None else ""), **style)
        axes[1].plot(events, [p / 1024 for p in peak], label=stage, **style)
    for axis, title in zip(axes, ("CPU seconds (exponent in brackets)", "peak memory, GiB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="events", title=title)
        axis.grid(True, which="both", alpha=0.2)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    axes[1].axhline(16, color=LIGHT["muted"], linestyle=":", linewidth=1)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Measure what is not measured yet, print a line a row, write the rows and the picture."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    ask.add_argument("--size", type=float, nargs="*", default=[0.125, 0.25, 0.5, 1.0])
    ask.add_argument("--stage", nargs="*", default=list(STAGES), metavar="STAGE")
    ask.add_argument("--folder", type=Path, help="where generated files go and stay; none: a temporary folder")
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--limit", type=int, default=16, help="GiB a stage may take")
    ask.add_argument("--fresh", action="store_true", help="measure again what is in scale.json")
    given = ask.parse_args()
    if given.folder is not None and len(given.stage) == 1 and (given.folder / "log.parquet").exists():
        clock = Clock()
        extra = STAGES[given.stage[0]](given.folder, clock)
        print(json.dumps({"cpu_s": round(clock.cpu, 3), "wall_s": round(clock.wall, 3), **extra}))
        return
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    with tempfile.TemporaryDirectory(prefix="oakum-scale-") as temporary:
        folder = given.folder or Path(temporary)
        for size in given.size:
            own = folder / f"{size:g}"
            if not (own / "log.parquet").exists():
                generate(own, size)
            for stage in given.stage:
                same = lambda r, s=stage, z=size: (r["stage"], r["size"]) == (s, z)
                if not given.fresh and any(same(r) and "error" not in r for r in rows):
                    continue
                row = measured(stage, size, folder, given.threads, given.limit)
                print(json.dumps(row), flush=True)
                rows = sorted(
                    [r for r in rows if not same(r)] + [row], key=lambda r: (list(STAGES).index(r["stage"]), r["size"])
                )
                RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    for stage in STAGES:
        found = slope(rows, stage)
        if found is not None:
            print(f"{stage:18} cost grows with the size to the power {found:.2f}")
    plot(rows)


if __name__ == "__main__":
    main()
