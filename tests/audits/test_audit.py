"""The audit end to end, on a small market: figures that do not depend on workers, resumption, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from oakum.audits import scorecard
from oakum.audits.poisoning import PoisoningDrill
from oakum.audits.record import AuditReport
from oakum.audits.scorecard import audit
from oakum.audits.stability import StabilityAudit
from oakum.data.simulate import Market, simulate
from oakum.errors import ParameterError
from oakum.splits import split

DRILL = PoisoningDrill(shares=(0.03,), attacks=("bandwagon-profiles",), seeds=1, eps=(0.1,), cures=("vat", "pca"))


@pytest.fixture(scope="module")
def parts() -> Any:
    return split(simulate(Market(users=200, items=150, events=6000), seed=2))


def run(parts: Any, folder: Path, workers: int) -> AuditReport:
    audits = [DRILL, *(a for a in scorecard.audits_for("quick", scorecard.QUICK) if a.slug != DRILL.slug)]
    return audit(
        parts, ["item-knn", "bpr-mf"], folder=folder, workers=workers, audits=audits, plan={"epochs": 6}, seed=4
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditReport, Path]:
    folder = tmp_path_factory.mktemp("audit")
    return run(parts, folder, 2), folder


def figures(report: AuditReport) -> Any:
    value = report.to_json()
    for name in ("seconds", "started", "runs"):
        value.pop(name)
    for part in (*value["systems"], *value["findings"]):
        part.pop("seconds")
    return value


def test_every_audit_finds_something_to_say(report: tuple[AuditReport, Path]) -> None:
    slugs = {f.slug for f in report[0].findings}
    expected = {
        "baseline-and-seed-noise", "poisoning-drill", "one-event-stability", "churn", "popularity-bias", "newcomers-and-cold-items",
    }  # fmt: skip
    assert expected <= slugs
    for f in report[0].findings:
        assert f.sentence.endswith((".", "%"))
        assert f.power
        assert f.loss is None or 0 <= f.loss <= 1


def test_one_event_is_the_random_and_the_farthest_reaching_one_beside_the_seed(
    report: tuple[AuditReport, Path],
) -> None:
    found = {f.subject: f for f in report[0].findings if f.slug == "one-event-stability"}
    for subject, finding in found.items():
        rows = [row["comparison"] for row in finding.evidence]
        assert rows[:2] == ["a random event removed, same seed", "the farthest-reaching event removed, same seed"]
        assert ("same log, other seed" in rows) == (subject == "bpr-mf")
        assert finding.budget == {"edits": 1}
        assert finding.attacked is not None
        assert 0 < finding.attacked.value <= 1


def test_an_attack_without_targets_is_no_drill() -> None:
    with pytest.raises(ParameterError, match="one-event-stability"):
        scorecard.audits_for("quick", scorecard.QUICK, attacks=("casper",))


def test_the_full_audit_keeps_the_batches_too(parts: Any, tmp_path: Path) -> None:
    found = audit(
        parts, ["bpr-mf"], mode="full", folder=tmp_path, workers=1, audits=[StabilityAudit()], plan={"epochs": 3}
    )
    rows = [row["comparison"] for row in found.findings[0].evidence]
    assert "the farthest-reaching event removed, batches as they were, same seed" in rows


def test_a_baseline_is_always_there(report: tuple[AuditReport, Path]) -> None:
    assert report[0].systems[0].slug == "popularity"
    assert report[0].systems[0].baseline


def test_same_figures_at_any_number_of_workers(parts: Any, report: tuple[AuditReport, Path], tmp_path: Path) -> None:
    assert figures(run(parts, tmp_path, 1)) == figures(report[0])


def test_a_second_run_reads_what_is_done(
    parts: Any, report: tuple[AuditReport, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from oakum.audits import trials

    monkeypatch.setattr(trials, "_work", None)  # nothing may be fitted again
    assert figures(run(parts, report[1], 2)) == figures(report[0])


def test_the_report_survives_its_own_json(report: tuple[AuditReport, Path]) -> None:
    value = json.loads(json.dumps(report[0].to_json()))
    assert AuditReport.from_json(value).to_json() == report[0].to_json()


def test_the_drill_counts_genuine_people_only(report: tuple[AuditReport, Path], parts: Any) -> None:
    for f in report[0].findings:
        if f.slug == "poisoning-drill":
            assert f.attacked is not None
            assert f.attacked.n <= parts.train.num_users
            assert f.budget["users"] == round(0.03 * np.count_nonzero(parts.train_and_valid.user_counts))


def test_the_true_tastes_agree_with_the_order_of_systems(parts: Any) -> None:
    """On a simulated market the estimate can be held against the truth: better estimated is truly better."""
    from oakum.api import fit
    from oakum.data import Filter
    from oakum.data.simulate import true_relevance

    found = {}
    for slug in ("popularity", "ease"):
        model = fit(slug, parts.train_and_valid)
        queries = parts.truth().queries
        known = np.flatnonzero(queries.users >= 0)
        ranking = model.rank(queries.take(known), 10, where=Filter(exclude=queries.histories.take(known)))
        users = np.repeat(queries.users[known], 10)
        found[slug] = true_relevance(parts.train, users, ranking.items.ravel()).mean()
    assert found["ease"] > found["popularity"]


def test_people_without_a_past_are_in_their_own_table_alone(parts: Any) -> None:
    """Popularity can answer them and no model can: among the others they would only flatter popularity."""
    from oakum.audits.accuracy import per_user, table_of, with_past
    from oakum.audits.trials import run_trial

    subject = scorecard.prepare(parts, ["item-knn"], "quick", 0, dict(scorecard.QUICK), None)
    lengths = subject.truth.histories.lengths
    assert 0 < (lengths == 0).sum() < len(lengths)
    assert (lengths[with_past(subject)] > 0).all()
    results = {
        f"{s.slug} seed 0": run_trial(subject.bench(), s.trial(seed=0)) for s in subject.systems if not s.learned
    }
    rows = {r.slug: r for r in table_of(subject, results)}
    for slug, row in rows.items():
        assert row.metrics["ndcg@10"].n == (lengths > 0).sum()
        assert row.newcomers["ndcg@10"].n == (lengths == 0).sum()
        assert len(per_user(subject, results[f"{slug} seed 0"], "ndcg@10")) == (lengths > 0).sum()
    capped = scorecard.prepare(parts, ["item-knn"], "quick", 0, {**scorecard.QUICK, "users": 20}, None)
    assert any("drawn at random" in line for line in capped.left_out)
