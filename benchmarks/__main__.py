"""Oakum beside its peers: python -m benchmarks [--only TASK …] [--full] [--fresh] [--list]

Every task runs in turns, ours and a peer's, each in a process of its own and each peer in its own environment, which is
made at the first run. What is measured is kept, so a run that was stopped goes on where it was; --fresh measures again.
Rows go to benchmarks/results.json, `docs/build.py` makes a page of them. CPU seconds of all threads; medians of three where
a run takes less than a few seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.data import folder_of
from benchmarks.envs import ready
from benchmarks.quality import RULES
from benchmarks.runs import OURS, arrays, forget, run
from benchmarks.tasks import TASKS, Task

RESULTS = Path(__file__).resolve().parent / "results.json"
TURNS, SHORT = 3, 6.5  # runs of a side, unless one takes longer than so many CPU seconds


def measured(task: Task, threads: int) -> dict[str, list[dict[str, Any]]]:
    """The runs of every side, in turns: ours, a peer's, ours, the next one's ... Sides that cannot run say why."""
    sides = [OURS, *task.peers]
    out: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for side in sides:
        if why := ready(side.partition(":")[0]):
            out[side].append({"error": why})
    for turn in range(TURNS):
        for side in sides:
            done = out[side]
            if turn and ("error" in done[-1] or done[0]["process"]["cpu"] > SHORT):
                continue
            if not done or "error" not in done[-1]:
                done.append(run(task, side, turn, threads))
    return out


def seconds(task: Task, runs: Sequence[Mapping[str, Any]], clock: str) -> float:
    """The median over the runs, of the piece of work that counts."""
    middle = statistics.median(r["seconds"][task.timing][clock] for r in runs)
    return middle if task.per is None else middle * task.per[1] / float(runs[0]["facts"][task.per[0]])


def side(task: Task, name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One side of a row."""
    rss = round(statistics.median(r["rss_mb"] for r in runs))
    cpu, wall = (round(seconds(task, runs, clock), 5) for clock in ("cpu", "wall"))
    return {f"{name}_s": cpu, f"{name}_wall_s": wall, f"{name}_rss_mb": rss, f"{name}_runs": len(runs)}


def rows_of(
    task: Task, runs: Mapping[str, Sequence[Mapping[str, Any]]], rates: Mapping[str, float], threads: int
) -> list[dict[str, Any]]:
    """One row a peer. The best peer is the quickest one, whatever its quality, which stands beside."""
    folder = folder_of(task.data)
    known = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    title, rule = RULES.get(task.quality, ("", None))
    base: dict[str, Any] = {"task": task.slug, "title": task.title, "unit": task.unit, "data": known["note"]}
    mine = runs[OURS]
    failed = mine[-1].get("error")
    if not failed:
        base |= side(task, "ours", mine)
        base["of_limit"] = None
        if (limit := limit_of(task, known, rates, threads)) is not None:
            base["of_limit"] = round(limit / max(base["ours_s"], 1e-9), 4)
    out = []
    for peer in task.peers:
        row = {
            **base,
            "peer": peer.rpartition(":")[2],
            "peer_s": None,
            "ratio": None,
            "quality": title,
            "note": task.note,
        }
        theirs = runs[peer]
        row |= {"ours_quality": None, "peer_quality": None, "threads": threads, "best": False}
        row["load"] = max((r.get("load", 0.0) for r in (*mine, *theirs)), default=0.0)
        if why := failed or theirs[-1].get("error"):
            row["note"] = f"{OURS if failed else 'peer'}: {why}"
        else:
            if task.timing not in theirs[0]["seconds"]:
                continue
            library, form = theirs[0]["library"], peer.partition(":")[2].replace("_", " ")
            said = form.replace(" ", "") in re.sub("[^a-z]", "", library)  # the library's own name says which it is
            row |= {"peer": library, "form": "" if said else form, **side(task, "peer", theirs)}
            if task.per is not None and row["note"]:
                whole = [statistics.median(r["seconds"][task.timing]["cpu"] for r in each) for each in (mine, theirs)]
                row["note"] += f" In all {whole[0]:.0f} and {whole[1]:.0f} CPU s."
            if "build" in theirs[0]["seconds"]:
                built = [statistics.median(r["seconds"]["build"]["cpu"] for r in each) for each in (mine, theirs)]
                row |= {"ours_build_s": built[0], "peer_build_s": built[1]}
                row["note"] = f"Built in {built[0]:.3g} and {built[1]:.3g} CPU s."
            row["ratio"] = round(row["ours_s"] / max(row["peer_s"], 1e-9), 4)
            judged = (
                rule(folder, arrays(task, OURS, threads), arrays(task, peer, threads), task.timing) if rule else None
            )
            if judged is not None:
                row["ours_quality"], row["peer_quality"] = (round(v, 5) for v in judged)
        out.append(row)
    able = [r for r in out if r["peer_s"] is not None]
    if able:
        min(able, key=lambda r: r["peer_s"])["best"] = True
    return out


def limit_of(task: Task, known: Mapping[str, Any], rates: Mapping[str, float], threads: int) -> float | None:
    """The seconds that the machine itself would need."""
    if task.limit is None:
        return None
    if isinstance(task.limit, str):
        found = run(task, f"machine:{task.limit}", 0, threads)
        return float(found["seconds"]["work"]["cpu"])
    return float(task.limit(rates, known, task.settings))


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of all peers of a task, the best one marked."""
    out = []
    for r in rows:
        if r["ratio"] is None:
            out.append(f"  {r['peer']:<32} {r['note']}")
            continue
        judged = (
            "" if r["ours_quality"] is None else f"{r['quality']} {r['ours_quality']:.4f} and {r['peer_quality']:.4f}"
        )
        mark = "*" if r["best"] else " "
        name = " ".join((r["peer"], r["form"]))
        out.append(f"{mark} {name:<32} {r['ours_s']:>9.4f} {r['peer_s']:>9.4f}  {r['ratio']:>7.3f}  {judged}")
    return out


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="*", default=[], metavar="TASK", help="these tasks, by name or its beginning")
    options.add_argument("--full", action="store_true", help="also the large tasks: 20M rows, a million vectors")
    options.add_argument("--fresh", action="store_true", help="measure again what is kept")
    options.add_argument("--ours", action="store_true", help="with --fresh: only our side again")
    options.add_argument("--threads", type=int, default=1, help="threads a process may use")
    options.add_argument("--list", action="store_true", help="print the tasks")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = options.parse_args()
    for wanted_end in (signal.SIGINT, signal.SIGTERM):  # what runs is ended too, wherever this was started from
        signal.signal(wanted_end, signal.default_int_handler)
    wanted = [t for t in TASKS.values() if (chosen.full or not t.full) or t.slug in chosen.only]
    wanted = [t for t in wanted if not chosen.only or any(t.slug.startswith(o) for o in chosen.only)]
    if chosen.list or not wanted:
        print("\n".join(f"{t.slug:<22} {t.title}" for t in TASKS.values()))
        sys.exit(0 if chosen.list else 2)
    if "OAKUM_DATA" not in os.environ:
        print(
            "OAKUM_DATA names no folder of real data: synthetic logs of the same sizes take their place.",
            file=sys.stderr,
        )
    if chosen.fresh:
        for task in wanted:
            for name in (OURS, *(() if chosen.ours else task.peers)):
                forget(task, name, chosen.threads)
    machine = Task("machine", "The machine", "rates", "toy", ())
    rates = run(machine, "machine", 0, chosen.threads)["facts"]
    held = json.loads(chosen.out.read_text(encoding="utf-8")) if chosen.out.exists() else []
    held = [r for r in held if r["task"] in TASKS]
    print(
        "                                        Oakum s    peer s    ratio  quality, ours and theirs  (* the quickest peer)"
    )
    for task in wanted:
        print(f"{task.title} ({task.unit})", flush=True)
        rows = rows_of(task, measured(task, chosen.threads), rates, chosen.threads)
        print("\n".join(lines_of(rows)), flush=True)
        stamp = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": {k: round(v / 1e9, 4) for k, v in rates.items()},
        }
        held = [r for r in held if r["task"] != task.slug] + [{**r, **stamp} for r in rows]
        order = {slug: n for n, slug in enumerate(TASKS)}
        held.sort(key=lambda r: order[r["task"]])
        chosen.out.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    best = [r for r in held if r["best"]]
    print(f"\n{sum(r['ratio'] < 1 for r in best)} of {len(best)} tasks quicker than the quickest peer. {chosen.out}")


if __name__ == "__main__":
    main()
