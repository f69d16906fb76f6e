"""The table of weights, the conserved evidence, the detector's losses; and a trajectory that nothing moves before it acts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from oakum.backends.embed import history_vectors
from oakum.catalogue import entries, load_class
from oakum.data import Ragged
from oakum.engine.fit import fit
from oakum.errors import Interrupted, ParameterError
from oakum.models.sequential.gru4rec import GRU4Rec
from oakum.models.sequential.sasrec import SASRec
from oakum.nn.project import directions
from oakum.plugins.lorec import Detector, LoRec, LoRecPlugin, calibrated, teach, updated, weight_of
from tests.contracts.test_resume import stop_after
from tests.toys import random_log

SMALL = LoRec(encoder="hashed:16", every=1, width=8, share=0.2, batch_size=16)
PLAN = {"epochs": 3, "batch_size": 16, "patience": 0}


def test_the_table_of_weights() -> None:
    found = weight_of(torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0])).tolist()
    assert found == pytest.approx([1.031, 1, 1, 1, 1, 0.282, 0.125], abs=5e-4)


@given(st.integers(0, 10**6), st.integers(4, 60))
@settings(max_examples=40, deadline=None)
def test_evidence_is_conserved_and_many_flags_change_nothing(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    evidence = torch.full((n,), 3.0, dtype=torch.double)
    for _ in range(6):
        p = torch.from_numpy(rng.random(n) ** rng.integers(1, 9))
        moved = updated(evidence, p)
        flagged = p > p.mean()
        assert (moved is None) == (not 0 < int(flagged.sum()) < n / 3)
        if moved is not None:
            assert torch.equal(moved[flagged], evidence[flagged] - 1)
            assert float(moved.sum()) == pytest.approx(3.0 * n)
            evidence = moved


def test_without_its_two_terms_the_detector_learns_plain_cross_entropy() -> None:
    logit, y, z = torch.randn(20), (torch.rand(20) > 0.5).float(), torch.randn(20, 4)
    out = calibrated(logit, y, z, torch.randn(20, 4), 0.0, 0.0)
    assert list(out) == ["_fraud"]
    assert torch.equal(out["_fraud"], F.binary_cross_entropy_with_logits(logit, y, reduction="none"))


def test_entropy_falls_towards_a_decision_and_only_for_the_unlabelled() -> None:
    p = torch.tensor([0.1, 0.3, 0.8, 0.8], dtype=torch.double)
    logit = torch.logit(p).requires_grad_()
    y = torch.tensor([0.0, 0, 0, 1], dtype=torch.double)
    h = calibrated(logit, y, torch.zeros(4, 2), None, 2.0, 0.0)["_entropy"]
    wanted = -2 * (p * p.log() + (1 - p) * (1 - p).log()) * (1 - y)
    assert torch.allclose(h, wanted)
    (grad,) = torch.autograd.grad(h.sum(), logit)
    assert torch.allclose(grad, 2 * torch.log((1 - p) / p) * p * (1 - p) * (1 - y))


def test_the_text_term_is_bounded_by_its_weight() -> None:
    z, e = torch.randn(50, 6), torch.randn(50, 6)
    value = calibrated(torch.zeros(50), torch.zeros(50), z, e, 0.0, 0.7)["_text"]
    assert float(value.abs().max()) <= 0.7 + 1e-6
    assert calibrated(torch.zeros(50), torch.zeros(50), z, z, 0.0, 0.7)["_text"].tolist() == pytest.approx([-0.7] * 50)


def test_padding_changes_no_score() -> None:
    torch.manual_seed(0)
    detector = Detector(4, 0).eval()
    x = torch.randn(3, 5, 8)
    there = torch.tensor([[False, True, True, True, True], [True] * 5, [False] * 4 + [True]])
    wide = torch.cat([torch.randn(3, 4, 8), torch.where(there[..., None], x, torch.randn(3, 5, 8))], 1)
    a, b = detector(x, there), detector(wide, F.pad(there, (4, 0), value=False))
    assert torch.allclose(a[0], b[0], atol=1e-6)
    assert torch.allclose(a[1], b[1], atol=1e-6)


@pytest.mark.parametrize("spec", [SASRec(embedding_dim=8, num_layers=1), GRU4Rec(embedding_dim=8)])
def test_before_it_acts_the_recommender_trains_bit_for_bit_as_without(spec: SASRec | GRU4Rec) -> None:
    data = random_log()
    plain = fit(spec, data, plan=PLAN, seed=2)
    beside = fit(spec, data, plan=PLAN, seed=2, plugins=[SMALL.replace(begin=9)])
    for a, b in zip(plain.model.state_dict().values(), beside.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    plugin = beside.plugins[0]
    assert isinstance(plugin, LoRecPlugin)
    assert plugin.evidence.sum().item() == pytest.approx(3.0 * data.num_users, rel=1e-5)
    p = plugin.scores()
    assert bool(((p > 0) & (p < 1)).all())


def test_a_weight_lowers_the_losses_of_its_person_alone() -> None:
    data = random_log()
    fitted = fit(SASRec(embedding_dim=8, num_layers=1), data, plan={**PLAN, "epochs": 1}, plugins=[SMALL])
    plugin = fitted.plugins[0]
    assert isinstance(plugin, LoRecPlugin)
    plugin.evidence.fill_(3.0)
    plugin.evidence[4] = -2.0
    run = plugin.running[0]
    run.epoch = 40
    batch = type("B", (), {"users": torch.tensor([4, 5])})()
    out = plugin.loss(run, batch, {}, {"softmax": torch.ones(2), "l2": torch.ones(2), "_x": torch.ones(2)})
    assert out["softmax"].tolist() == pytest.approx([0.1251, 1.0], abs=1e-3)
    assert out["l2"].tolist() == out["_x"].tolist() == [1.0, 1.0]


def test_known_fakes_are_the_teachers_and_stay_out_of_the_log() -> None:
    data = random_log()
    before = data.digest
    fakes = teach(data, ("random-profiles", "bandwagon-profiles"), 0.2)
    assert len(fakes) == 8
    assert data.digest == before
    assert (fakes.items < data.num_items).all()


def test_titles_are_averaged_over_the_training_events_only() -> None:
    data = random_log()
    rows = Ragged.of([[3, 5], [3], []])
    found = history_vectors(data, rows, "hashed:16")
    one = history_vectors(data, Ragged.of([[3], [5]]), "hashed:16")
    assert np.allclose(found[0], one.mean(0), atol=1e-6)
    assert np.array_equal(found[1], one[0])
    assert not found[2].any()
    assert history_vectors(data, rows, "hashed:16", prompt="Whose is it? ").shape == (3, 16)


def test_the_projection_is_fixed_and_keeps_dot_products_in_expectation() -> None:
    assert torch.equal(directions(64, 512), directions(64, 512))
    drawn = directions(64, 512)
    assert torch.allclose(drawn @ drawn.T * 64 / 512, torch.eye(64), atol=0.25)


@pytest.mark.parametrize("at", [2, 6, 15])
def test_a_stopped_run_goes_on_as_if_it_had_not(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, spec, plugin = random_log(), SASRec(embedding_dim=8, num_layers=1), SMALL.replace(begin=1, most=1.0)
    plan = {"epochs": 3, "batch_size": 16, "patience": 0}
    straight = fit(spec, data, plan=plan, plugins=[plugin], seed=3)
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        with pytest.raises(Interrupted):
            fit(spec, data, plan={**plan, "checkpoint": str(tmp_path)}, plugins=[plugin], seed=3)
    resumed = fit(spec, data, plan={**plan, "checkpoint": str(tmp_path)}, plugins=[plugin], seed=3)
    for a, b in ((straight.model, resumed.model), (straight.plugins[0], resumed.plugins[0])):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y)


def test_a_system_without_item_vectors_is_refused() -> None:
    data = random_log()
    with pytest.raises(ParameterError, match="compares a query with item vectors"):
        fit(load_class("recgpt").from_json(entries()["recgpt"].contract["set"]), data, plan=PLAN, plugins=[SMALL])  # type: ignore[index]
