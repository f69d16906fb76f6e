"""The benchmarks of one's own log: rows that say what they should, and bounds that are bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oakum.bench import task
from oakum.bench.machine import FITS, Peak, facts, products, rates
from oakum.data.simulate import Market, simulate
from oakum.errors import ParameterError
from oakum.report import write

SMALL = {"scale": "0.02", "events": "4000"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = simulate(Market(users=60, items=50, events=1500))
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    rows = {
        "user_id": data.interactions.users,
        "item_id": data.interactions.items,
        "timestamp": data.interactions.times,
    }
    pl.DataFrame(rows).write_parquet(path)
    return path


@pytest.mark.parametrize("slug", ["load", "fit", "rank", "answer", "evaluate"])
def test_a_task_times_twice_and_says_what(slug: str, log: Path, tmp_path: Path) -> None:
    (finding,) = (report := task(slug).run(log, SMALL, 0, lambda line: None)).findings
    rows = finding.evidence
    assert [r["run"] for r in rows] == ["first", "again"]
    what = {"load": "rows", "fit": "events", "answer": "requests"}.get(slug, "users")
    assert all(r[f"{what} a CPU second"] > 0 and r["peak MB"] > 10 for r in rows)
    assert (rows[0]["of the machine's limit"] != "") == (slug in ("load", "fit"))
    page, _ = write(report, tmp_path)
    assert finding.title in page.read_text()


def test_what_is_no_setting_of_the_benchmark_goes_to_the_system() -> None:
    settings = {**SMALL, "system": "ials", "epochs": "2", "embedding_dim": "4"}
    (finding,) = task("rank").run(None, settings, 0, lambda line: None).findings
    assert finding.evidence[0]["of the machine's limit"]  # it has vectors
    with pytest.raises(ParameterError, match="no parameter 'nonsense'"):
        task("fit").run(None, {**SMALL, "nonsense": "1"}, 0, lambda line: None)
    with pytest.raises(ParameterError, match="oakum bench load LOG"):
        task("load").run(None, SMALL, 0, lambda line: None)


def test_bounds_grow_with_the_work() -> None:
    machine = rates(0.02)
    assert set(machine) == {"flop", "bytes", "rows", "rows_near", "rows_cached", "sums"}
    assert all(v > 1e5 for v in machine.values())
    x = simulate(Market(users=60, items=50, events=1500)).matrix
    known = facts(x)
    lengths = np.asarray(x.sum(1)).ravel()
    assert known == {"users": x.shape[0], "items": x.shape[1], "events": x.nnz, "pairs": float((lengths**2).sum())}
    settings = {"embedding_dim": 8, "epochs": 2, "num_layers": 2}
    double = {k: 2 * v for k, v in known.items()}
    for slug, bound in FITS.items():
        assert 0 < bound(machine, known, settings) < bound(machine, double, settings), slug
    assert products({"flop": 8.0}, 2, 3, 4) == 6


def test_peak_sees_what_came_and_went() -> None:
    with Peak() as before:
        pass
    with Peak() as peak:
        np.ones(8_000_000).sum()
    assert peak.megabytes > before.megabytes + 40
