"""Losses against torch's own, by hand, and against each other where two names mean one thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from oakum import losses  # noqa: E402


def case(b: int = 7, i: int = 40, d: int = 5, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    query = torch.randn(b, d, dtype=dtype, requires_grad=True)
    items = torch.randn(i, d, dtype=dtype, requires_grad=True)
    return query, items, torch.randint(0, i, (b,))


@pytest.mark.parametrize("largest", [1 << 26, 100], ids=["kept", "computed again"])
@pytest.mark.parametrize("told", [True, False], ids=["target told", "target untold"])
@pytest.mark.parametrize("tile", [(512, 4096), (16, 7)], ids=["one tile", "many tiles"])
def test_full_softmax_is_cross_entropy_values_and_gradients(
    largest: int, told: bool, tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses._Softmax, "TILE", tile)
    query, items, target = case(b=37)
    weight = torch.rand(37, dtype=torch.float64)
    expected = F.cross_entropy(query @ items.T, target, reduction="none")
    expected_grads = torch.autograd.grad((expected * weight).sum(), (query, items))
    found = losses.softmax(query, items[target], items, target if told else None, largest=largest)
    torch.testing.assert_close(found, expected)
    for _ in range(2):  # twice through one graph, as adversarial plug-ins do
        grads = torch.autograd.grad((found * weight).sum(), (query, items), retain_graph=True)
        torch.testing.assert_close(grads, expected_grads)


@pytest.mark.parametrize("largest", [1 << 26, 100])
def test_a_moved_positive_moves_its_logit_everywhere(largest: int) -> None:
    query, items, target = case()
    moved = (items[target] + torch.randn(7, 5, dtype=torch.float64)).detach().requires_grad_()
    logits = query @ items.T
    logits = logits.scatter(1, target[:, None], (query * moved).sum(-1, keepdim=True))
    expected = F.cross_entropy(logits, target, reduction="none")
    found = losses.softmax(query, moved, items, target, largest=largest)
    torch.testing.assert_close(found, expected)
    assert (found >= 0).all()
    args = (query, moved, items)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), args), torch.autograd.grad(expected.sum(), args))


def test_full_softmax_survives_large_logits() -> None:
    query = torch.tensor([[1000.0]], requires_grad=True)
    items = torch.tensor([[1.0], [-1.0], [0.5]])
    found = losses.softmax(query, items[:1], items, torch.tensor([0]))
    assert found.item() == 0.0
    assert torch.isfinite(torch.autograd.grad(found.sum(), query)[0]).all()


def test_softmax_over_two_items_is_binary_cross_entropy_on_the_difference() -> None:
    query, items, target = case(i=2)
    scores = query @ items.T
    own, other = scores.gather(1, target[:, None])[:, 0], scores.gather(1, 1 - target[:, None])
    expected = F.binary_cross_entropy_with_logits(
        own - other[:, 0], torch.ones(7, dtype=torch.float64), reduction="none"
    )
    torch.testing.assert_close(losses.softmax(query, items[target], items, target), expected)
    torch.testing.assert_close(losses.sampled_softmax(own, other), expected)
    torch.testing.assert_close(losses.bpr(own, other), expected)


def test_full_softmax_under_half_precision_is_computed_in_full() -> None:
    query, items, target = case(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.softmax(query.bfloat16(), items[target], items, target)
    expected = F.cross_entropy(query.bfloat16().float() @ items.T, target, reduction="none")
    # The positive's logit and the table's agree to float32, not to bfloat16.
    torch.testing.assert_close(found, expected)


def test_binary_cross_entropy_by_hand() -> None:
    positive, negative = torch.tensor([0.3, -2.0]), torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    log = torch.nn.functional.logsigmoid
    expected = -log(positive) - log(-negative).mean(-1)
    torch.testing.assert_close(losses.binary_cross_entropy(positive, negative), expected)


@pytest.mark.parametrize("k", [1, 9])
def test_gbce_without_calibration_is_binary_cross_entropy(k: int) -> None:
    torch.manual_seed(0)
    positive, negative = torch.randn(6), torch.randn(6, k)
    plain = (F.softplus(-positive) + F.softplus(negative).sum(-1)) / (k + 1)
    torch.testing.assert_close(losses.gbce(positive, negative, 500, 0.0), plain)
    if k == 1:
        torch.testing.assert_close(plain, losses.binary_cross_entropy(positive, negative) / 2)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_gbce_with_every_negative_is_binary_cross_entropy(t: float) -> None:
    torch.manual_seed(0)
    positive, negative = torch.randn(6), torch.randn(6, 9)
    plain = (F.softplus(-positive) + F.softplus(negative).sum(-1)) / 10
    torch.testing.assert_close(losses.gbce(positive, negative, 10, t), plain)


def test_gbce_by_hand() -> None:
    """k = 2 of I = 21: α = .1; t = .5: β = .1 (.5 (1 − 10) + 10) = .55."""
    positive, negative = torch.tensor([0.7]), torch.tensor([[0.1, -0.4]])
    log = torch.nn.functional.logsigmoid
    expected = -(0.55 * log(positive) + log(-negative).sum(-1)) / 3
    torch.testing.assert_close(losses.gbce(positive, negative, 21, 0.5), expected)


def test_list_margin_by_hand() -> None:
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])
    found = losses.list_margin(scores, torch.tensor([3, 0]), 2)
    assert found.tolist() == [((4 - 2) + (4 - 5)) / 2]
    assert losses.list_margin(scores, torch.tensor([0]), 2, kappa=0.25).tolist() == [-0.25]
    assert losses.list_margin(scores, torch.tensor([0]), 99).tolist() == [-4.0]  # the whole catalogue is the list


def test_policy_is_reinforce_and_its_clip_stops_far_moves() -> None:
    logits = torch.zeros(3, requires_grad=True)
    action, advantage = torch.tensor([0, 2]), torch.tensor([1.0, -2.0])
    logp = torch.log_softmax(logits, -1)[action]
    plain = torch.autograd.grad(losses.policy(logp, advantage).sum(), logits, retain_graph=True)[0]
    # Σ A ∇ log π by hand: one-hot − π
    by_hand = -(1.0 * (torch.eye(3)[0] - 1 / 3) - 2.0 * (torch.eye(3)[2] - 1 / 3))
    torch.testing.assert_close(plain, by_hand)
    today = torch.autograd.grad(losses.policy(logp, advantage, clip=0.1).sum(), logits, retain_graph=True)[0]
    torch.testing.assert_close(today, plain)  # on policy the clipped form has the same gradient
    far = losses.policy(torch.tensor([0.0, 0.0]), torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0]), clip=0.1)
    torch.testing.assert_close(far, torch.tensor([-1.1, 0.9]))


def test_group_advantage_is_standardised_and_silent_where_all_are_equal() -> None:
    found = losses.group_advantage(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0]) * 1.5**0.5)
    assert losses.group_advantage(torch.ones(4)).abs().sum() == 0


def test_hinge_and_rank_weight_by_hand() -> None:
    positive, negative = torch.tensor([1.0, 1.0]), torch.tensor([[0.9, 0.2, 1.5], [0.1, 0.0, 0.2]])
    torch.testing.assert_close(losses.hinge(positive, negative, 0.5), torch.tensor([(0.4 + 0 + 1.0) / 3, 0.0]))
    weight = torch.log(torch.tensor(1 + 60 * 2 / 3))
    torch.testing.assert_close(losses.warp(positive, negative, 0.5, 60), torch.stack([weight * 1.0, torch.tensor(0.0)]))


def test_the_rank_weight_has_no_gradient() -> None:
    positive, negative = torch.zeros(1, requires_grad=True), torch.tensor([[0.2, -9.0]])
    slope = torch.autograd.grad(losses.warp(positive, negative, 0.5, 100).sum(), positive)[0]
    torch.testing.assert_close(slope, -torch.log(torch.tensor([51.0])))


def test_a_label_parted_among_classes_is_a_mean_of_cross_entropies() -> None:
    logits = torch.randn(3, 5)
    codes, shares = torch.tensor([[1, 0], [2, 4], [3, 3]]), torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 0.0]])
    plain = lambda c: F.cross_entropy(logits, codes[:, c], reduction="none")
    expected = shares[:, 0] * plain(0) + shares[:, 1] * plain(1)
    torch.testing.assert_close(losses.shared_cross_entropy(logits, codes, shares), expected)


@given(st.integers(1, 6), st.integers(2, 9), st.floats(0.3, 5.0))
@settings(max_examples=30, deadline=None)
def test_distill_is_a_divergence_that_leaves_the_teacher_alone(b: int, n: int, tau: float) -> None:
    torch.manual_seed(b * 31 + n)
    student = torch.randn(b, n, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(b, n, dtype=torch.float64, requires_grad=True)
    p, q = (torch.softmax(x.detach() / tau, -1) for x in (teacher, student))
    found = losses.distill(student, teacher, tau)
    torch.testing.assert_close(found.detach(), tau**2 * (p * (p / q).log()).sum(-1))
    found.sum().backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, tau * (q - p))
    shifted = losses.distill(teacher + torch.randn(b, 1, dtype=torch.float64), teacher, tau)
    torch.testing.assert_close(shifted.detach(), torch.zeros(b, dtype=torch.float64), atol=1e-12, rtol=0)


def test_distill_weighs_alike_at_all_high_temperatures() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 12, dtype=torch.float64)
    grads = []
    for tau in (100.0, 1000.0):
        student = logits[0].clone().requires_grad_()
        losses.distill(student, logits[1], tau).sum().backward()
        grads.append(student.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=0.05, atol=1e-3)
