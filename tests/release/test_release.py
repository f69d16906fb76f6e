"""The gate refuses what hurts, releases what does not, and goes back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oakum
from oakum import store
from oakum.audits.record import AuditReport, Finding
from oakum.data import Dataset, Interactions
from oakum.data.simulate import Market, simulate
from oakum.engine.fit import fit
from oakum.errors import ProtocolError
from oakum.models.classic.ease import EASE
from oakum.models.classic.knn import ItemKNN
from oakum.models.classic.popularity import Popularity
from oakum.release import Experiment, Gate, judge
from tests.cli.test_cli import RUN


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def parts() -> Any:
    return oakum.split(simulate(Market(users=400, items=120, events=12_000), seed=0), "holdout")


@pytest.fixture(scope="module")
def test_log(parts: Any) -> Dataset:
    return parts.train.with_interactions(parts.test)


def check(decision: Any, name: str) -> Any:
    return next(c for c in decision.checks if c.name == name)


def test_a_better_model_passes_and_a_worse_one_does_not(parts: Any, test_log: Dataset) -> None:
    good, bad = fit(EASE(), parts.train), fit(Popularity(), parts.train)
    up = judge(good, bad, test_log, gate=Gate(max_churn=1.0))
    assert up.passed
    assert check(up, "accuracy").estimate.low > 0
    down = judge(bad, good, test_log, gate=Gate(max_churn=1.0))
    assert not down.passed
    assert "Less accurate" in down.reasons[0]
    same = judge(good, good, test_log)
    assert same.passed
    assert check(same, "accuracy").estimate.value == 0
    assert check(same, "churn").estimate.value == 0
    assert not judge(good, bad, test_log, gate=Gate(max_churn=0.01)).passed
    assert json.loads(json.dumps(up.to_json()))["passed"] is True


def test_the_paired_difference_is_that_of_two_evaluations(parts: Any, test_log: Dataset) -> None:
    a, b = fit(ItemKNN(), parts.train), fit(Popularity(), parts.train)
    found = check(judge(a, b, test_log), "accuracy").estimate
    apart = [oakum.evaluate(m, test_log).metrics["ndcg@10"].value for m in (a, b)]
    assert found.value == pytest.approx(apart[0] / apart[1] - 1)


def test_who_has_seen_the_answers_is_caught(parts: Any, test_log: Dataset) -> None:
    log = parts.train.interactions
    both = Interactions(np.concatenate([log.users, parts.test.users]), np.concatenate([log.items, parts.test.items]))
    half = both.take(np.arange(len(log) + len(parts.test) // 2))
    cheat = fit(ItemKNN(), parts.train.with_interactions(half))
    decision = judge(cheat, fit(ItemKNN(), parts.train), test_log)
    assert not decision.passed
    assert "seen the answers" in decision.reasons[0]
    everything = fit(ItemKNN(), parts.train.with_interactions(both))
    with pytest.raises(ProtocolError, match="nothing to find"):
        judge(everything, everything, test_log)


def test_the_seed_is_measured_for_models_that_have_one(parts: Any, test_log: Dataset) -> None:
    pytest.importorskip("torch")
    from oakum.models.classic.bpr_mf import BPRMF

    plan = {"epochs": 2, "batch_size": 512}
    one, two = (fit(BPRMF(embedding_dim=8), parts.train, plan=plan, seed=s) for s in (0, 1))
    decision = judge(one, two, test_log)
    assert "another seed alone changes" in check(decision, "churn").sentence
    # The candidate with seed 1 is the current model itself, so the floor is what was measured.
    moved = check(decision, "churn").estimate.value
    assert moved > 0
    assert check(decision, "churn").sentence.endswith(f"another seed alone changes {moved:.1%}.")
    assert check(judge(one, two, test_log, gate=Gate(floor=False)), "seed noise").passed is None


def report(loss: float, subject: str = "ease") -> AuditReport:
    finding = Finding(
        slug="poisoning-drill",
        title="Fake accounts",
        subject=subject,
        verdict="weak",
        sentence="Bad.",
        measure="",
        loss=loss,
    )
    return AuditReport(
        title="", data={}, protocol={}, lint=(), systems=(), comparisons=(), findings=(finding,), plank="", settings={}, versions={}, started="", seconds=0.0
    )  # fmt: skip


def test_weak_findings_refuse_unless_they_were_there_before(parts: Any, test_log: Dataset) -> None:
    model = fit(EASE(), parts.train)
    verdict = lambda **audits: check(judge(model, model, test_log, **audits), "robustness").passed
    assert verdict() is None
    assert verdict(report=report(0.2)) is True
    assert verdict(report=report(0.9)) is False
    assert verdict(report=report(0.9), before=report(0.9)) is True
    assert verdict(report=report(0.9), before=report(0.6)) is False


def test_release_and_back_by_command(parts: Any, test_log: Dataset, tmp_path: Path) -> None:
    from oakum.data.convert import frame_from
    from oakum.serve.models import Shelf

    now, new = tmp_path / "now", tmp_path / "new"
    store.save(fit(Popularity(), parts.train), now)
    store.save(fit(EASE(), parts.train), new)
    frame_from(test_log).write_parquet(tmp_path / "test.parquet")
    line = ["release", str(new), "--against", str(now), "--test", str(tmp_path / "test.parquet"), "--max-churn", "1"]
    assert run(*line, "--dry-run").returncode == 0
    assert Shelf(now).current() == now
    done = run(*line, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["released"]
    assert store.load(Shelf(now).current()).spec.slug == "ease"
    worse = run("release", str(now), "--against", str(now), "--test", str(tmp_path / "test.parquet"))
    assert worse.returncode == 1
    assert "Less accurate" in worse.stdout
    assert len(json.loads((now / "releases.json").read_text())) == 2
    # What refreshes start from is what was released, until it is taken back.
    assert Shelf(now).base() == Shelf(now).current()
    again = Shelf(now).publish(fit(EASE(l2=10.0), parts.train))
    assert Shelf(now).base() != Shelf(now).current() == again
    Shelf(now).back()
    assert store.load(Shelf(now).base()).spec == EASE()
    assert run("release", "--against", str(now), "--back").returncode == 0
    assert Shelf(now).base() == now
    assert Shelf(now).current() == now
    lost = run("release", str(new), "--against", str(now))
    assert lost.returncode == 2
    assert "--test" in lost.stderr


def test_people_stay_in_their_arm() -> None:
    small, large, other = Experiment(share=0.1), Experiment(share=0.3), Experiment(name="next", share=0.3)
    people = [f"u{n}" for n in range(20_000)]
    arm = {e: np.array([e.takes_part(p) for p in people]) for e in (small, large, other)}
    assert abs(arm[small].mean() - 0.1) < 0.01
    assert (arm[large] | ~arm[small]).all()
    assert abs((arm[large] & arm[other]).mean() - 0.09) < 0.01
    rng = np.random.default_rng(0)
    clicks = {p: float(rng.random() < 0.1 + 0.05 * t) for p, t in zip(people, arm[large], strict=True)}
    found = large.effect(clicks)
    assert found.low > 0
    assert found.low < 0.05 < found.high
