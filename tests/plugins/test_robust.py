"""Denoise and RAdv by hand: what weighs less, and what a mixture may be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum import losses as terms  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.plugins.denoise import Denoise  # noqa: E402
from oakum.plugins.graphrfi import GraphRfi, NeuralForest  # noqa: E402
from oakum.plugins.radv import RAdv, near  # noqa: E402
from tests.toys import random_log  # noqa: E402


class Pairwise:
    """A model with a pairwise loss and a regulariser; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def losses(self, batch: Any, reps: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(reps)
        positive = (reps["query"] * reps["positive"]).sum(-1)
        negative = (reps["query"][:, None] * reps["negative"]).sum(-1)
        return {"bpr": terms.bpr(positive, negative), "l2": terms.l2(reps["query"])}


def case(rows: int = 12) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    torch.manual_seed(0)
    model = Pairwise()
    reps = {n: torch.randn(rows, 4, requires_grad=True) for n in ("query", "positive")}
    reps["negative"] = torch.randn(rows, 1, 4, requires_grad=True)
    run = SimpleNamespace(epoch=0, model=model)
    return run, reps, model.losses(None, reps)


def test_denoise_weighs_the_ranking_by_agreement_and_nothing_else() -> None:
    run, reps, losses = case()
    plugin = Denoise(begin=0, gamma=2.0).build(None)
    found = plugin.loss(run, None, reps, losses)  # type: ignore[arg-type]
    weight = torch.sigmoid(torch.nn.functional.cosine_similarity(reps["query"], reps["positive"])) ** 2
    wanted = losses["bpr"] * weight * (12 / weight.sum())
    torch.testing.assert_close(found["bpr"], wanted)
    assert found["l2"] is losses["l2"]
    steps = torch.autograd.grad(found["bpr"].sum(), reps["query"], retain_graph=True)[0]
    fixed = torch.autograd.grad((losses["bpr"] * (weight * 12 / weight.sum()).detach()).sum(), reps["query"])[0]
    torch.testing.assert_close(steps, fixed)  # no gradient through the weights
    off = Denoise(begin=1).build(None).loss(run, None, reps, losses)  # type: ignore[arg-type]
    assert off is losses


def test_neighbours_are_nearest_others() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])
    hood = near(vectors, vectors, 2)
    torch.testing.assert_close(hood[:, 0], vectors)
    torch.testing.assert_close(hood[0, 1], vectors[1])
    torch.testing.assert_close(hood[2, 1], vectors[1])
    alone = near(vectors[:1], vectors[:1], 3)
    torch.testing.assert_close(alone, vectors[:1].expand(2, 2)[None])  # nobody else: itself


def test_radv_replaces_by_mixtures_that_hurt() -> None:
    run, reps, losses = case(40)
    plugin = RAdv(begin=0, eps=0.5, probability=1.0, neighbours=3).build(None)
    found = plugin.loss(run, None, reps, losses)  # type: ignore[arg-type]
    even, moved = run.model.asked[1]["positive"], run.model.asked[2]["positive"]
    hood = near(reps["positive"].detach(), reps["positive"].detach(), 3)
    torch.testing.assert_close(even, hood.mean(1))
    hurt = run.model.losses(None, {**reps, "positive": even})["bpr"].mean()
    assert found["replaced"].mean() > hurt
    inside = torch.linalg.lstsq(hood.transpose(1, 2), moved.detach()[..., None]).solution
    torch.testing.assert_close(hood.transpose(1, 2) @ inside, moved.detach()[..., None], atol=1e-4, rtol=0)
    assert (moved.detach() <= hood.max(1).values + 1e-5).all()
    assert (moved.detach() >= hood.min(1).values - 1e-5).all()
    torch.autograd.grad(found["replaced"].sum(), [reps["positive"], reps["query"]])


def test_radv_never_replacing_is_the_loss_twice() -> None:
    run, reps, losses = case()
    found = RAdv(begin=0, probability=0.0).build(None).loss(run, None, reps, losses)  # type: ignore[arg-type]
    torch.testing.assert_close(found["replaced"], losses["bpr"])


def test_a_tree_of_one_decision_by_hand() -> None:
    forest = NeuralForest(2, 1, 1)
    x = torch.randn(5, 2)
    right = torch.sigmoid(forest.nodes(x))[:, 0]
    low, high = torch.sigmoid(forest.leaves[0])
    torch.testing.assert_close(forest(x), (1 - right) * low + right * high)
    deep = NeuralForest(2, 3, 4)
    deep.leaves.data.fill_(20.0)
    torch.testing.assert_close(deep(x), torch.ones(5))  # all leaves say 1, however a row falls


def test_known_fakes_are_believed_less_and_unknown_ones_tell_nothing() -> None:
    data = random_log(users=60, items=40, events=900)
    marks = [1 if u < 8 else None if u < 16 else 0 for u in range(60)]
    known = replace(data, tables={**data.tables, "users": pl.DataFrame({"known_fake": marks})})
    fitted = fit(
        BPRMF(embedding_dim=8),
        known,
        plan={"epochs": 60, "batch_size": 128, "learning_rate": 0.01},
        plugins=[GraphRfi()],
    )
    (plugin,) = fitted.plugins
    label = plugin.facts["genuine"]
    assert label[:8].sum() == 0
    assert torch.isnan(label[8:16]).all()
    assert (label[16:] == 1).all()
    with torch.no_grad():
        believed = plugin.genuine(fitted.model.users.weight, torch.full((60,), 0.3))
    assert believed[:8].mean() < 0.5 < believed[16:].mean()


def test_without_labels_the_head_trusts_people() -> None:
    data = random_log()
    fitted = fit(
        BPRMF(embedding_dim=8),
        data,
        plan={"epochs": 20, "batch_size": 128, "learning_rate": 0.01},
        plugins=[GraphRfi()],
    )
    with torch.no_grad():
        believed = fitted.plugins[0].genuine(fitted.model.users.weight, torch.full((40,), 0.3))
    assert believed.min() > 0.7
