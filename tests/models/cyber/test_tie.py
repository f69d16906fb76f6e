"""Technique inference: the row update against least squares, fold-in, refusals, the map, views of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.claims.tie import cells
from oakum.data import Dataset
from oakum.data.read import read
from oakum.data.threats import distinct_reports, roll_up
from oakum.engine.fit import fit
from oakum.errors import DataError, ParameterError, ProtocolError
from oakum.kernels.als import loss, weighted_rows
from oakum.models.classic.ials import IALS
from oakum.models.cyber.tie import TIE, infer
from oakum.splits import split
from tests.toys import random_log

REPORTS = [
    {"id": 7, "mitre_techniques": {"T1059.001": 2, "T1566": 1, "T1003": 1}, "origin_of_data": "a", "references": ["x"]},
    {"id": 8, "mitre_techniques": {"T1059.003": 1, "T1059.001": 1, "T1566": 4}, "references": ["y"]},
    {"id": 9, "mitre_techniques": {"T1566": 1, "T1486": 1, "S0154": 3}, "origin_of_data": "b", "references": ["x"]},
    {"id": 10, "mitre_techniques": ["T1486", "t1003"], "origin_of_data": "b"},
]


def written(folder: Path, content: Any) -> Path:
    path = folder / "reports.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def reports(tmp_path: Path) -> Dataset:
    return read(written(tmp_path, {"reports": REPORTS}))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.sampled_from([1e-3, 0.05, 0.5, 1.0]),
    st.sampled_from([1e-4, 0.1, 3.0]),
    st.integers(0, 10_000),
)
def test_a_row_update_is_a_weighted_ridge_solve(width: int, c: float, l2: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(15, width))
    dense = (rng.random((4, 15)) < 0.3).astype(float)
    spec = TIE(unobserved_weight=c, l2=l2, embedding_dim=width)
    found = spec.build(random_log().schema).rows(factors, sparse.csr_matrix(dense))
    for row, p in zip(found, dense, strict=True):
        w = np.sqrt(1 + (1 / c - 1) * p)
        left = np.vstack([w[:, None] * factors, np.sqrt(l2) * np.eye(width)])
        want = np.linalg.lstsq(left, np.concatenate([w * p, np.zeros(width)]), rcond=None)[0]
        np.testing.assert_allclose(row, want, rtol=1e-7, atol=1e-10)


def test_the_reference_form_ignores_the_confidence() -> None:
    data = random_log()
    a, b = (fit(TIE(update="reference", unobserved_weight=c), data) for c in (0.001, 0.5))
    np.testing.assert_array_equal(a.model.item_vectors(), b.model.item_vectors())
    c, d = (fit(TIE(unobserved_weight=c), data) for c in (0.001, 0.5))
    assert not np.allclose(c.model.item_vectors(), d.model.item_vectors(), rtol=0.1)


def test_ials_is_the_same_row_update_at_other_weights() -> None:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(20, 3))
    x = sparse.csr_matrix((rng.random((5, 20)) < 0.3).astype(float))
    ridge = np.full(5, 0.3)
    a0, alpha = 0.1, 9.0
    plain = weighted_rows(factors, a0 * factors.T @ factors, x.indptr, x.indices, a0 * ridge)
    scaled = weighted_rows(factors, factors.T @ factors, x.indptr, x.indices, ridge, 1 / a0, 1 / a0)
    np.testing.assert_allclose(plain, scaled, rtol=1e-9)
    tie = TIE(unobserved_weight=1 / (1 + alpha), l2=0.3, embedding_dim=3).build(random_log().schema).rows(factors, x)
    again = weighted_rows(factors, factors.T @ factors, x.indptr, x.indices, ridge, alpha, 1 + alpha)
    np.testing.assert_array_equal(tie, again)
    assert issubclass(type(TIE().build(random_log().schema)), type(IALS().build(random_log().schema)).__mro__[1])


def test_the_loss_is_the_sum_over_all_cells_and_never_rises() -> None:
    data = random_log()
    spec = TIE(unobserved_weight=0.3, l2=0.5)
    model, x = spec.build(data.schema), data.matrix
    alpha = 1 / 0.3 - 1
    items = np.random.default_rng(0).normal(size=(data.num_items, 4))
    last = np.inf
    for _ in range(6):
        for side in ("users", "items"):
            if side == "users":
                users = model.rows(items, x)
            else:
                items = model.rows(users, x.T.tocsr())
            ridges = np.full(data.num_users, 0.5), np.full(data.num_items, 0.5)
            value = loss(users, items, x.indptr, x.indices, 1.0, *ridges, alpha, 1 + alpha)
            dense = x.toarray().astype(float)
            slow = ((1 + alpha * dense) * (dense - users @ items.T) ** 2).sum() + 0.5 * (
                (users**2).sum() + (items**2).sum()
            )
            assert value == pytest.approx(slow, rel=1e-9)
            assert value <= last * (1 + 1e-9)
            last = value


def test_an_empty_report_is_no_evidence() -> None:
    data = random_log()
    model = fit(TIE(), data)
    assert not model.model.rows(model.model.fixed, sparse.csr_matrix((1, data.num_items))).any()
    assert "no known event" in model.recommend(history=[])[0]["fallback"]
    with pytest.raises(ParameterError, match="no evidence"):
        infer(model, [])


def test_unknown_techniques_are_refused_by_name(reports: Dataset) -> None:
    model = fit(TIE(embedding_dim=2), reports)
    with pytest.raises(ParameterError, match=r"'T1059\.009'.*Did you mean 'T1059\.00"):
        infer(model, ["T1566", "T1059.009"])
    with pytest.raises(ParameterError, match="T9999"):
        model.recommend(history=["T1566", "T9999"])


def test_the_table_of_a_new_report_is_sorted_and_marks_its_input(reports: Dataset) -> None:
    model = fit(TIE(embedding_dim=2), reports)
    rows = infer(model, ["T1566", "T1003"], names={"T1566": "Phishing"})
    assert {r["technique"] for r in rows} == set(reports.items.ids.to_list())
    assert [r["score"] for r in rows] == sorted((r["score"] for r in rows), reverse=True)
    assert {r["technique"] for r in rows if r["was_input"]} == {"T1566", "T1003"}
    assert next(r["name"] for r in rows if r["technique"] == "T1566") == "Phishing"
    assert len(infer(model, ["T1566"], 2)) == 2


def test_cosine_scores_are_cosines() -> None:
    data = random_log()
    dot, cosine = fit(TIE(), data), fit(TIE(similarity="cosine"), data)
    queries = dot.queries(np.arange(5, dtype=np.int32))
    u, v = dot.model.query_vectors(queries), dot.model.item_vectors()
    want = (u @ v.T) / np.linalg.norm(u, axis=1)[:, None] / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(cosine.score(queries), want, rtol=1e-4, atol=1e-6)


def test_reports_are_read_with_what_hangs_on_them(reports: Dataset) -> None:
    assert reports.items.ids.to_list() == ["T1003", "T1059.001", "T1059.003", "T1486", "T1566"]
    assert reports.num_users == 4
    assert len(reports) == 10
    assert reports.interactions.values is not None
    assert reports.interactions.values.max() == 4
    assert any("1 entries that are no technique ids (first: 'S0154')" in n for n in reports.notes)
    table = reports.tables["users"]
    assert table["source"].to_list() == ["a", None, "b", "b"]
    assert table["references"].to_list()[:2] == [["x"], ["y"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"reports": [', "this is no JSON"),
        ({"reports": [{"id": 1}]}, r"row 1: no \"mitre_techniques\""),
        ({"reports": [REPORTS[0], REPORTS[0]]}, "row 2: the id 7 a second time"),
        ({"reports": [{"id": 1, "mitre_techniques": {"T1059": "many"}}]}, "'T1059' with 'many' where a count"),
        ({"reports": [{"id": 1, "mitre_techniques": {"T1059": -1}}]}, "with -1 where a count"),
        ({"reports": [{"id": [], "mitre_techniques": {"T1059": 1}}]}, r"the id \[\]"),
        ({"reports": [{"id": 1, "mitre_techniques": {"sure": 1}}]}, "no rows"),
        ('{"reports": [' + "[" * 100_000, "nested too deeply|no JSON"),
    ],
)
def test_bad_reports_are_refused_in_words(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, content))


def test_one_long_line_of_json_is_read(tmp_path: Path) -> None:
    many = [{"id": i, "mitre_techniques": {f"T{1000 + j}": 1 for j in range(i % 7, i % 7 + 30)}} for i in range(4000)]
    path = written(tmp_path, {"reports": many})
    assert path.stat().st_size > 1 << 20
    assert len(read(path)) == 120_000


def test_views_of_reports(reports: Dataset) -> None:
    rolled = roll_up(reports)
    assert rolled.items.ids.to_list() == ["T1003", "T1059", "T1486", "T1566"]
    assert len(rolled) == 9  # report 8 named two sub-techniques of T1059
    alone = distinct_reports(reports)
    assert sorted(alone.users.decode(np.unique(alone.interactions.users))) == sorted(
        u for u in reports.users.ids.to_list() if str(u) != "9"
    )
    with pytest.raises(DataError, match="no column 'campaign'"):
        distinct_reports(reports, "campaign")


def test_a_source_goes_to_one_part_whole() -> None:
    data = random_log()
    source = [f"s{u % 10}" for u in range(data.num_users)]
    data = Dataset(data.interactions, data.users, data.items, {"users": pl.DataFrame({"source": source})})
    parts = split(data, "users", by="source", given=0.5)
    tested = {source[u] for u in parts.test.users}
    assert tested
    assert not tested & {source[u] for u in parts.train.interactions.users}
    with pytest.raises(ProtocolError, match="no column 'origin'"):
        split(data, "users", by="origin")


def test_the_published_split_pins_one_technique_a_report() -> None:
    data = random_log()
    parts = cells(data, 0)
    assert (parts.train.user_counts > 0).all()
    assert parts.valid is not None
    assert (len(parts.valid), len(parts.test)) == (len(data) // 10, len(data) // 5)


def test_the_map_draws_every_technique_once(reports: Dataset) -> None:
    table = pl.DataFrame({"tactics": [["impact"], ["execution"], None, ["impact", "x"], []]})
    data = Dataset(reports.interactions, reports.users, reports.items, {"items": table})
    picture = fit(TIE(embedding_dim=2), data).model.pictures(data)[0]
    assert {s["name"]: s["names"] for s in picture["series"]} == {
        "execution": ["T1059.001"], "impact": ["T1003", "T1486"], "other": ["T1059.003", "T1566"],
    }  # fmt: skip
    assert all(np.isfinite([*s["x"], *s["y"]]).all() for s in picture["series"])


def test_the_map_reaches_the_finding_of_an_audit() -> None:
    from oakum.audits.accuracy import AccuracyAudit
    from oakum.audits.scorecard import QUICK, prepare
    from oakum.audits.trials import run_trial

    subject = prepare(split(random_log(), "holdout"), ["tie"], "quick", 0, QUICK, None)
    audit = AccuracyAudit()
    results = {n: run_trial(subject.bench(), t) for n, t in audit.trials(subject).items()}
    finding = next(f for f in audit.judge(subject, results) if f.subject == "tie")
    assert [p.kind for p in finding.plots] == ["points"]
    assert sum(len(s["x"]) for s in finding.plots[0].series) == 30
