"""Rules of servers against plain loops, what they resist, and where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.attacks.drill import defend  # noqa: E402
from oakum.catalogue import entries, load_class  # noqa: E402
from oakum.defences.aggregate.clip import NormClipping  # noqa: E402
from oakum.defences.aggregate.krum import Krum, chosen  # noqa: E402
from oakum.defences.aggregate.mean import FedAvg  # noqa: E402
from oakum.defences.aggregate.median import CoordinateMedian  # noqa: E402
from oakum.defences.aggregate.rffl import RFFL, mask  # noqa: E402
from oakum.defences.aggregate.trimmed import TrimmedMean  # noqa: E402
from oakum.engine.federation import Federated  # noqa: E402
from oakum.engine.uploads import Upload, Uploads, gathered  # noqa: E402
from oakum.errors import ParameterError  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from tests.oracles import aggregates as oracle  # noqa: E402
from tests.toys import random_log  # noqa: E402

RULES = [s for s, e in entries().items() if e.code.startswith("oakum.defences.aggregate")]


def uploads_of(
    seed: int, c: int = 7, n: int = 6, d: int = 2, w: int = 3, same: bool = False
) -> tuple[Uploads, np.ndarray, np.ndarray]:
    """Random uploads of rows and of a vector; as a matrix [c, D], and which coordinates each touches."""
    rng = np.random.default_rng(seed)
    parts: list[Upload] = []
    x, touched = np.zeros((c, w + n * d)), np.zeros((c, w + n * d), bool)
    touched[:, :w] = True
    base = rng.normal(size=w + n * d).astype(np.float32)
    for i in range(c):
        rows = np.arange(n) if same else np.flatnonzero(rng.random(n) < 0.6)
        values = base if same else rng.normal(size=w + n * d).astype(np.float32)
        full = np.zeros((n, d), np.float32)
        full[rows] = values[w:].reshape(n, d)[rows]
        touched[i, w:].reshape(n, d)[rows] = True
        x[i] = np.concatenate([values[:w], full.ravel()])
        parts.append(
            {"w": torch.from_numpy(values[:w].copy()), "t": (torch.from_numpy(rows), torch.from_numpy(full[rows]))}
        )
    share = torch.from_numpy(rng.random(c).astype(np.float32))
    shapes = {"w": torch.Size((w,)), "t": torch.Size((n, d))}
    return gathered(parts, torch.arange(c), share, 0.1, shapes), x, touched


def flat(replies: Any) -> np.ndarray:
    return np.concatenate([replies.common["w"].numpy(), replies.common["t"].numpy().ravel()])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_rules_agree_with_plain_loops(seed: int) -> None:
    uploads, x, touched = uploads_of(seed)
    a = uploads.weights.numpy().astype(np.float64)
    close = lambda rule, expected: np.testing.assert_allclose(flat(rule.combine(uploads, {})), expected, atol=1e-5)
    close(FedAvg(), a @ x)
    close(CoordinateMedian(), oracle.median(x, touched, a))
    close(TrimmedMean(trim=0.3), oracle.trimmed(x, touched, a, 0.3))
    for hostile, keep in ((0.3, 0), (0.2, 1), (0.0, 3)):
        kept = oracle.krum(x, hostile, keep)
        assert sorted(chosen(uploads.products(), hostile, keep).tolist()) == kept
        close(Krum(hostile=hostile, keep=keep), a[kept] @ x[kept] * a.sum() / a[kept].sum())
    length = np.linalg.norm(x, axis=1)
    factor = np.minimum(1, np.median(length) / length)
    close(NormClipping(), (a * factor) @ x)
    rows = x[:, 3:].reshape(7, 6, 2)
    there = touched[:, 3:].reshape(7, 6, 2).any(2)
    short = np.linalg.norm(rows, axis=2)
    each = np.where(there, np.minimum(1, np.median(short[there]) / np.maximum(short, 1e-12)), 0)
    head = np.linalg.norm(x[:, :3], axis=1)
    own = a @ (x[:, :3] * np.minimum(1, np.median(head) / head)[:, None])
    close(NormClipping(by="row"), np.concatenate([own, np.einsum("c,crd,cr->rd", a, rows, each).ravel()]))


@pytest.mark.parametrize("slug", [s for s in RULES if s != "rffl"])
def test_equal_uploads_give_the_weighted_sum_under_every_rule(slug: str) -> None:
    uploads, x, _ = uploads_of(3, same=True)
    total = uploads.weights.numpy().astype(np.float64) @ x
    np.testing.assert_allclose(flat(load_class(slug)().combine(uploads, {})), total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slug", ["fed-median", "fed-trimmed-mean", "krum", "norm-clipping"])
def test_one_wild_upload_moves_the_mean_and_not_the_rule(slug: str) -> None:
    rng = np.random.default_rng(0)
    values = [torch.from_numpy(rng.normal(1, 0.1, 5).astype(np.float32)) for _ in range(9)] + [torch.full((5,), -1e6)]
    shares = torch.full((10,), 0.1)
    uploads = gathered([{"w": v} for v in values], torch.arange(10), shares, 0.1, {"w": torch.Size((5,))})
    assert (FedAvg().combine(uploads, {}).common["w"] < -1e4).all()
    found = load_class(slug)().combine(uploads, {}).common["w"]
    np.testing.assert_allclose(found, 1.0, atol=0.3)


def test_krum_says_when_there_are_too_few() -> None:
    uploads, _, _ = uploads_of(0, c=2)
    with pytest.raises(ParameterError, match="more uploads"):
        Krum().combine(uploads, {})


@pytest.mark.parametrize("slug", RULES)
def test_a_rule_as_a_defence_trains_in_a_federation(slug: str) -> None:
    data = random_log()
    plan = {"epochs": 2, "optimiser": "sgd", "learning_rate": 0.1, "step": Federated(groups=6)}
    fitted, marks = defend(slug, BPRMF(embedding_dim=4), data, plan=plan)
    assert fitted.record.plan["step"]["aggregate"]["slug"] == slug
    assert fitted.record.plan["step"]["groups"] == 6
    assert len(marks.flagged) == 0
    assert all(np.isfinite(v) for v in fitted.record.history[-1]["losses"].values())
    bare, _ = defend(slug, BPRMF(embedding_dim=4), data, plan={"epochs": 1, "optimiser": "sgd"})
    assert bare.record.plan["step"]["slug"] == "federated"


# --- reputation ---------------------------------------------------------------------------------------------------
def round_of(values: list[list[float]], rate: float = 0.1) -> Uploads:
    tensors = [{"w": torch.tensor(v)} for v in values]
    shares = torch.full((len(values),), 1 / len(values))
    return gathered(tensors, torch.arange(len(values)), shares, rate, {"w": torch.Size((len(values[0]),))})


def test_equal_updates_earn_equal_reputation_and_the_whole_of_what_came_of_them() -> None:
    rule = RFFL(largest=10.0, warmup=0)
    memory = rule.memory(4)
    for _ in range(15):
        replies = rule.combine(round_of([[1.0, -2.0, 0.5]] * 4), memory)
        np.testing.assert_allclose(memory["reputation"], 0.25, atol=1e-6)
    assert (memory["left"] == -1).all()
    np.testing.assert_allclose(replies.common["w"], [1, -2, 0.5], atol=1e-6)
    for each in replies.each:
        np.testing.assert_allclose(each["w"], [2, -4, 1], atol=1e-6)


def test_an_orthogonal_update_decays_and_is_left_out_at_the_first_chance() -> None:
    rule = RFFL(largest=10.0, alpha=0.5, warmup=3)
    memory = rule.memory(3)
    uploads = round_of([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 0.0]])
    r = np.zeros(3)
    for now in range(5):
        a = np.full(3, 1 / 3) if now == 0 else r
        x = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
        x[2] = 0 if now == 0 else x[2]
        uploads = round_of(x.tolist())
        u = a @ x
        phi = np.array([v @ u / max(1e-12, np.linalg.norm(v) * np.linalg.norm(u)) for v in x])
        r = 0.5 * r + 0.5 * np.maximum(phi, 0)
        r = r / r.sum()
        rule.combine(uploads, memory)
        assert memory["reputation"].sum() == pytest.approx(1.0)
        if now < 3:
            np.testing.assert_allclose(memory["reputation"], r, atol=1e-6)
    assert memory["left"].tolist() == [-1, -1, 3]
    assert "Party 2 was left out in round 3: reputation 0.000." in rule.notes(memory)


def test_updates_are_clipped_to_the_longest_allowed() -> None:
    rule = RFFL(largest=0.5)
    replies = rule.combine(round_of([[30.0, 40.0]] * 2, rate=0.1), rule.memory(2))
    assert 0.1 * replies.common["w"].norm() == pytest.approx(0.5, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_the_mask_keeps_the_largest_of_a_layer(seed: int, q: float) -> None:
    u = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    found = mask(u, q)
    count = int(np.ceil(q * 20))
    assert torch.count_nonzero(found) == count
    kept = found != 0
    assert torch.equal(found[kept], u[kept])
    if 0 < count < 20:
        assert u[kept].abs().min() >= u[~kept].abs().max()
    assert torch.equal(mask(u, 1.0), u)
    assert not mask(u, 0.0).any()


def test_rows_that_one_party_touches_say_nothing_of_it() -> None:
    """Two parties agree on the network and have items of their own: they are as reputable as if they had none."""
    one = {"w": torch.tensor([1.0, 1.0]), "t": (torch.tensor([0]), torch.tensor([[9.0]]))}
    two = {"w": torch.tensor([1.0, 1.0]), "t": (torch.tensor([1]), torch.tensor([[-9.0]]))}
    shapes = {"w": torch.Size((2,)), "t": torch.Size((3, 1))}
    uploads = gathered([one, two], torch.arange(2), torch.full((2,), 0.5), 1e-3, shapes)
    rule, memory = RFFL(alpha=0.0), RFFL().memory(2)
    rule.combine(uploads, memory)
    np.testing.assert_allclose(memory["reputation"], 0.5, atol=1e-6)
