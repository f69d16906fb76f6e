"""The run beside peers: tasks that name what exists, rows that are fair, a child process that counts."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.data import folder_of
from benchmarks.tasks import TASKS, Task

from benchmarks import __main__ as side_by_side
from benchmarks import envs, quality, runs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAKUM_BENCH", str(tmp_path))
    monkeypatch.delenv("OAKUM_DATA", raising=False)


def functions(peer: str) -> set[str]:
    tree = ast.parse((ROOT / "benchmarks" / "peers" / f"{peer}.py").read_text(encoding="utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_tasks_name_peers_and_functions_that_exist() -> None:
    for task in TASKS.values():
        assert task.quality in {"", *quality.RULES}, task.slug
        for side in (runs.OURS, *task.peers):
            job = runs.job_of(task, side)
            assert job["peer"] in {runs.OURS, *envs.PEERS}, task.slug
            assert job["function"] in functions(job["peer"]), f"{task.slug}: {side}"
    everywhere = {runs.job_of(t, p)["peer"] for t in TASKS.values() for p in t.peers}
    assert everywhere == set(envs.PEERS)


def test_a_peer_is_pinned_and_needs_nothing_of_oakum() -> None:
    for peer, wanted in envs.PEERS.items():
        assert any("==" in w for w in wanted)
        assert "import oakum" not in (ROOT / "benchmarks" / "peers" / f"{peer}.py").read_text(encoding="utf-8")


def figures(cpu: float, peer: str = "x 1", **facts: Any) -> dict[str, Any]:
    pair = {"cpu": cpu, "wall": 2 * cpu}
    return {
        "seconds": {"work": pair, "process": pair},
        "process": pair,
        "facts": facts,
        "rss_mb": 10,
        "load": 0.5,
        "library": peer,
    }


def test_rows_take_medians_and_mark_the_quickest_peer() -> None:
    task = Task("t", "T", "popularity", "toy", ("implicit", "cornac", "lenskit"), limit=lambda m, f, s: 0.5)
    taken = {
        "oakum": [figures(2.0), figures(1.0), figures(9.0)],
        "implicit": [figures(4.0)],
        "cornac": [figures(1.0)],
        "lenskit": [{"error": "not installed: no network"}],
    }
    rows = side_by_side.rows_of(task, taken, {}, 1)
    assert [r["ratio"] for r in rows] == [0.5, 2.0, None]
    assert [r["best"] for r in rows] == [False, True, False]
    assert rows[0]["of_limit"] == 0.25
    assert rows[2]["note"] == "peer: not installed: no network"
    assert {"task", "ours_s", "peer", "peer_s", "ratio", "ours_quality", "peer_quality", "of_limit"} <= set(rows[0])
    assert "no network" in side_by_side.lines_of(rows)[2]


def test_seconds_for_so_many_of_a_fact() -> None:
    task = Task("t", "T", "sasrec", "toy", (), per=("targets", 100.0))
    assert side_by_side.seconds(task, [figures(3.0, targets=50)], "cpu") == 6.0


def test_sides_are_judged_on_the_users_that_both_answered() -> None:
    folder = folder_of("toy")
    offsets, items, users = (quality.array(folder, n) for n in ("test_indptr", "test_indices", "test_users"))
    first = items[offsets[users]][:, None]
    perfect = np.concatenate([first, np.full((len(users), 19), -1)], 1)
    theirs = {"users": users[::-2], "lists": np.full((len(users[::-2]), 20), -1)}
    assert quality.ranking(folder, {"users": users, "lists": perfect}, theirs, "work") == (1.0, 0.0)
    assert quality.ranking(folder, {}, theirs, "work") is None
    late = (first - 3 + np.arange(20)) % 80  # found in the fourth place
    judged = quality.ranking(folder, {"users": users, "lists": late}, theirs, "work")
    assert judged is not None
    assert judged[0] == pytest.approx(1 / np.log2(5))


def test_a_child_counts_keeps_and_tells_why_it_failed() -> None:
    task = Task("t", "T", "popularity", "toy", (), quality="ranking")
    found = runs.run(task, "oakum", 0, 1)
    assert "error" not in found, found
    assert found["seconds"]["process"]["cpu"] > found["seconds"]["work"]["cpu"] > 0
    assert found["library"].startswith("oakum ")
    lists = runs.arrays(task, "oakum", 1)["lists"]
    assert lists.shape[1] == 20
    kept = next((envs.cache() / "runs").rglob("run.json"))
    kept.write_text(json.dumps({**found, "load": 123.0}))
    assert runs.run(task, "oakum", 0, 1)["load"] == 123.0  # not measured again
    runs.forget(task, "oakum", 1)
    assert not kept.exists()
    assert "nowhere" in runs.run(Task("t", "T", "nowhere", "toy", ()), "oakum", 0, 1)["error"]
