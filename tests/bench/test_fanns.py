"""The benchmark of filtered search: its cases, its groups, its judgement, its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from oakum.audits.fanns import Case, FilteredSearch
from oakum.audits.record import AuditReport
from oakum.bench import TASKS, task
from oakum.bench.vectors import CaseSettings, case_of, case_of_table, published, simulated
from oakum.errors import DataError, ParameterError
from oakum.index.base import Geometry
from oakum.report import write

SMALL = {"requests": "10", "graph": "false", "items": "1500", "dim": "12", "clusters": "20"}


def table(n: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    words = ["red", "blue", "iron", "wool", "lamp", "chair", "spoon", "boat"]
    return pl.DataFrame(
        {
            "item_id": np.arange(n),
            "title": [" ".join(rng.choice(words, 4)) for _ in range(n)],
            "genres": ["|".join(sorted(rng.choice(["a", "b", "c", "d"], 2, replace=False))) for _ in range(n)],
            "release_year": rng.integers(1950, 2020, n),
            "shop": rng.choice(["north", "south"], n),
        }
    )


def test_a_run_groups_measures_and_judges(tmp_path: Path) -> None:
    report = task("fanns").run(None, SMALL, 0, lambda line: None)
    (finding,) = report.findings
    planner = [r for r in finding.evidence if r.get("way") == "planner"]
    brute = {r["group"]: r for r in finding.evidence if r.get("way") == "brute force"}
    assert len(planner) == len(finding.plots) == len(brute) >= 5
    assert any("far" in r["group"] for r in planner)
    assert all(r["recall"] == 1 for r in brute.values())
    assert all(r["recall"] >= 0.95 and r["lists cut short"] == 0 for r in planner)
    assert finding.loss == 0
    assert {"seed", "threads", "index, bytes beside the vectors", "build and calibration, seconds"} <= set(
        finding.budget
    )
    assert AuditReport.from_json(json.loads(json.dumps(report.to_json()))).findings[0].evidence
    page, _ = write(report, tmp_path)
    text = page.read_text()
    assert "Filtered search over simulated clusters" in text
    assert "events of" not in text  # a benchmark speaks of vectors


def test_groups_tell_near_filters_from_far_ones() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 8)).astype(np.float32)
    q = x[:1]
    order = np.argsort(-(x @ q[0]) / np.linalg.norm(x, axis=1))
    near, far = order[:100], order[-100:]
    some = rng.choice(2000, 100, replace=False)
    requests = [
        (0, np.sort(c).astype(np.int32), kind) for c, kind in ((near, "near"), (far, "far"), (some, "anywhere"))
    ]
    groups = FilteredSearch().groups(Case("three", x, q, requests), Geometry(x, "cosine"), 0)
    assert {name.rpartition(" ")[2]: g["kinds"] for name, g in groups.items()} == {
        k: [k] for k in ("near", "far", "anywhere")
    }


def test_texts_become_vectors_and_columns_filters(tmp_path: Path) -> None:
    case = case_of_table(table(), "toys", "hashed:16")
    kinds = {kind for _, _, kind in case.requests}
    assert kinds == {"member", "range", "equal"}
    assert len(case.vectors) + len(case.queries) == 600
    assert case.facts["columns filtered by"] == "item_id, genres, release_year, shop"
    assert all(
        0 <= row < len(case.queries) and codes.max(initial=0) < len(case.vectors) for row, codes, _ in case.requests
    )
    table().write_parquet(tmp_path / "toys.parquet")
    again = case_of(tmp_path / "toys.parquet", CaseSettings(encoder="hashed:16"), 0, print)
    np.testing.assert_array_equal(again.vectors, case.vectors)
    finding = FilteredSearch(requests=5, graph=False).measure(case)
    assert finding.verdict == "fine"


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="Did you mean 'fanns'"):
        task("fann")
    with pytest.raises(ParameterError, match="no parameter 'requestz'"):
        TASKS["fanns"].run(None, {"requestz": "3"}, 0, print)
    with pytest.raises(DataError, match="no file or folder"):
        case_of(tmp_path / "none", CaseSettings(), 0, print)
    with pytest.raises(DataError, match="has no vectors"):
        published(tmp_path)
    with pytest.raises(DataError, match="a benchmark needs 100"):
        case_of_table(table(50), "few", "hashed:8")
    with pytest.raises(DataError, match="no column to filter by"):
        case_of_table(table().select("title"), "bare", "hashed:8")


def test_in_an_audit_the_logs_own_items_are_searched() -> None:
    from oakum.data.simulate import Market, simulate

    data: Any = simulate(Market(users=20, items=300, events=900))
    data.tables.clear()
    subject: Any = type("Subject", (), {"data": data, "seed": 0})()
    (absent,) = FilteredSearch().judge(subject, {})
    assert absent.verdict == "not measured"
    data.tables["items"] = table(300).drop("item_id")
    (finding,) = FilteredSearch(requests=5, graph=False).judge(subject, {})
    assert finding.clean is not None
    assert finding.clean.value > 0.9


@pytest.mark.data
def test_published_neighbours_are_found_again(data_dir: Path) -> None:
    folder = data_dir / "filtered-vectors-yelp"
    case = published(folder)
    wanted = pl.read_parquet(folder / "exact_neighbours.parquet").sort("query_id", "rank")
    ids = pl.read_parquet(folder / "vectors.parquet")["item_id"].to_numpy()
    cosines = wanted["cosine"].to_numpy().reshape(-1, 20)
    rows = wanted["item_id"].to_numpy().reshape(-1, 20)
    own = Geometry(case.vectors, "cosine")
    from oakum.data import Filter

    for r, codes, _ in case.requests[:200]:
        items, scores = own.best(own.asked(case.queries[r : r + 1]), 20, own.passing(Filter(allow=codes)), None)
        np.testing.assert_allclose(scores[0], cosines[r], atol=1e-5)
        clear = np.abs(np.diff(cosines[r], prepend=2, append=-2))
        alone = (clear[:-1] > 1e-5) & (clear[1:] > 1e-5)  # equal cosines may stand in either order
        np.testing.assert_array_equal(ids[items[0]][alone], rows[r][alone])


def test_clusters_are_the_same_for_the_same_seed() -> None:
    a, b = simulated(300, 8, 10, seed=4), simulated(300, 8, 10, seed=4)
    np.testing.assert_array_equal(a.vectors, b.vectors)
    assert len(a.requests) == len(b.requests)
