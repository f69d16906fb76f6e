"""The blocks of the scorecard that ask a fit something of its own: theft, words, certificates, hostile clients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from oakum.audits import trials
from oakum.audits.base import Audit
from oakum.audits.certificates import CertificateAudit
from oakum.audits.federation import FederationAudit
from oakum.audits.record import AuditReport, Finding
from oakum.audits.scorecard import audit, audits_for
from oakum.audits.theft import TheftAudit, best_sellers_alike
from oakum.audits.trials import Bench, Probe, Trial, run_trials
from oakum.audits.words import WordsAudit
from oakum.data import Dataset
from oakum.data.simulate import Market, simulate
from oakum.engine.progress import Silent
from oakum.models.classic.knn import ItemKNN


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: that processes change nothing is tested elsewhere, and each would load torch anew."""

    def inline(bench: Bench, work: Any, jobs: Any, workers: int) -> Any:
        trials._BENCH[:] = [bench]
        for name, job in jobs.items():
            yield name, work(job)

    monkeypatch.setattr(trials, "_in_workers", inline)


SMALL: dict[str, Any] = {"mode": "full", "workers": 1, "plan": {"epochs": 3}}


def market(times: bool = True, titles: bool = False) -> Dataset:
    data = simulate(Market(users=80, items=60, events=2000), seed=0)
    if not times:
        data = data.with_interactions(replace(data.interactions, times=None))
    if titles:
        kinds = ["red", "gold", "blue", "green", "plain"]
        said = [
            f"{kinds[i % 5]} thing {kinds[(i * 7) % 5]} number {'abcdef'[i % 6] * 3}" for i in range(data.num_items)
        ]
        data = replace(data, tables={"items": pl.DataFrame({"title": said, "category": ["all"] * data.num_items})})
    return data


def one(data: Dataset, systems: list[str], chosen: Audit, **settings: Any) -> list[Finding]:
    return list(audit(data, systems, audits=[chosen], **{**SMALL, **settings}).findings)


def test_a_copy_is_priced_in_questions_and_short_lists_stand_beside_it(tmp_path: Path) -> None:
    (found,) = one(market(), ["item-knn"], TheftAudit(queries=(20, 60), people=40, short=5), folder=tmp_path)
    assert [r["questions"] for r in found.evidence] == [0, 20, 60, 60]
    assert found.budget == {"queries": 60}
    assert found.attacked is not None
    assert found.clean is not None
    assert 0 <= found.attacked.value <= 1
    assert found.cures[0].slug == "short-lists"
    assert found.cures[0].price is not None
    assert found.cures[0].price.value == 0
    assert found.protocol
    assert found.seconds > 0
    again = one(market(), ["item-knn"], TheftAudit(queries=(20, 60), people=40, short=5), folder=tmp_path)
    assert again == [found]  # what the probe brought back survives the disk


def test_what_a_log_or_a_mode_cannot_is_listed_and_not_scored() -> None:
    (found,) = one(market(times=False), ["item-knn"], TheftAudit(), split="holdout")
    assert (found.verdict, found.loss) == ("not measured", None)
    assert "times" in found.reason
    for chosen in (TheftAudit(), WordsAudit(), CertificateAudit(), FederationAudit()):
        (found,) = one(market(), ["item-knn"], chosen, mode="quick")
        assert (found.verdict, found.subject) == ("not measured", "every system")
        assert found.reason.endswith(".")


def test_best_sellers_agree_with_themselves_and_nobody_without_a_list() -> None:
    data = market()
    top = np.argsort(-data.item_counts, kind="stable")[:10].astype(np.int32)
    lists = np.stack([top, top[::-1], np.full(10, -1, np.int32)])
    subject: Any = type("Subject", (), {"data": data})
    assert np.array_equal(best_sellers_alike(lists, subject), [1.0, 1.0, np.nan], equal_nan=True)


def test_words_move_a_system_that_reads_them_and_a_review_holds_them() -> None:
    chosen = WordsAudit(targets=2, norm=1.5, tight=0.01, looks=20, encoder="hashed:8")
    (found,) = one(market(titles=True), ["bm25"], chosen)
    assert found.verdict != "not measured", found.reason
    assert found.budget["queries"] > 0
    names = [r["texts"] for r in found.evidence]
    assert names[0] == "before"
    assert len(names) == 4
    assert found.cures[0].slug == "text-review"
    (other,) = one(market(titles=True), ["item-knn"], chosen)
    assert "reads text" in other.reason


def test_certificates_are_shares_and_the_smaller_promise_holds_more_often() -> None:
    chosen = CertificateAudit(requests=12, k=3, encoder="hashed:8")
    (found,) = one(market(titles=True), ["bm25"], chosen)
    assert found.verdict != "not measured", found.reason
    share = [float(r["certified"].partition(" ")[0]) for r in found.evidence[:2]]
    assert 0 <= share[0] <= share[1] <= 1
    assert found.cures[0].slug == "certdr"
    assert found.cures[0].after is not None


def test_hostile_clients_are_counted_and_what_cannot_federate_says_so() -> None:
    chosen = FederationAudit(attacks=("boosting-clients",), share=0.05, rounds=4)
    found = {f.subject: f for f in one(market(), ["bpr-mf", "lightgcn", "sasrec"], chosen)}
    assert found["bpr-mf"].budget["users"] == round(0.05 * np.count_nonzero(_counts(market())))
    names = {r["federation"] for r in found["bpr-mf"].evidence}
    assert names == {"central", "honest", "fed-median honest", "boosting-clients", "fed-median boosting-clients"}
    assert found["lightgcn"].verdict == "not measured"
    assert "cannot federate" in found["lightgcn"].reason
    assert "keeps no such table" in found["sasrec"].reason


def _counts(data: Dataset) -> Any:
    from oakum.splits import split

    return split(data).train_and_valid.user_counts


class Broken(Probe):
    """A question that no fit answers."""

    def ask(self, bench: Bench, trial: Trial, fitted: Any) -> Any:
        from oakum.errors import ParameterError

        raise ParameterError("It does not go together.")


def test_a_refusal_is_an_answer_only_where_it_may_be() -> None:
    from oakum.errors import ParameterError

    data = market()
    bench = Bench({"clean": data}, np.arange(5, dtype=np.int32), np.arange(2, dtype=np.int32))
    run = lambda trial: run_trials(bench, [trial], folder=None, workers=1, progress=Silent())[0]
    assert run(Trial(spec=ItemKNN(), probe=Broken(), refusable=True)).refused == "It does not go together."
    with pytest.raises(ParameterError, match="go together"):
        run(Trial(spec=ItemKNN(), probe=Broken()))


def test_a_defence_that_does_not_go_with_a_system_is_named_in_its_cells() -> None:
    report: AuditReport = audit(
        market(), ["ease", "bpr-mf"], attacks=["random-profiles"], defences=["pca", "vat"], workers=1, mode="quick",
        plan={"epochs": 2}, audits=[a for a in audits_for("quick", {"shares": (0.05,), "drill_seeds": 1}, ["random-profiles"], ["pca", "vat"]) if a.slug == "grid"],
    )  # fmt: skip
    (grid,) = report.findings
    rows = {(r["system"], r["defence"]): r for r in grid.evidence}
    assert len(rows) == 2 * 3
    assert rows["ease", "vat"]["exposure after"].startswith("does not apply: 'vat' acts while a model is trained")
    assert "[" in rows["bpr-mf", "vat"]["exposure after"]
    (summary, *maps) = grid.plots
    assert [p.kind for p in (summary, *maps)] == ["heat"] * 4
    assert "n/a: does not apply to ease" in maps[2].title
    assert np.isnan(maps[2].series[0]["y"][0])
    assert summary.series[0]["x"] == ["no defence", "pca", "vat"]


def test_the_full_audit_has_every_block() -> None:
    slugs = [a.slug for a in audits_for("full", {"shares": (0.01,), "drill_seeds": 1})]
    assert slugs == [
        "baseline-and-seed-noise", "poisoning-drill", "grid", "one-event-stability", "churn", "popularity-bias",
        "newcomers-and-cold-items", "score-calibration", "theft", "reworded-items", "certified-lists", "hostile-clients",
    ]  # fmt: skip
