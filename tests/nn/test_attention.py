"""The encoder reads what came before and nothing else, whoever shares the batch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.nn.attention import Encoder, dropped  # noqa: E402
from tests.oracles.attention import encode  # noqa: E402

ITEMS = 30


@pytest.fixture(params=[1, 2], ids=["one head", "two heads"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(16, 2, request.param, 12, 0.3)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made.eval()


@pytest.fixture
def table() -> torch.Tensor:
    torch.manual_seed(1)
    return 0.3 * torch.randn(ITEMS, 16)


def states(encoder: Encoder, rows: list[list[int]], table: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return encoder(torch.tensor(rows), table)


@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_equals_the_slow_form(encoder: Encoder, table: torch.Tensor, length: int) -> None:
    items = [(3 * k + length) % ITEMS for k in range(length)]
    weights = {k: v.double().numpy() for k, v in encoder.state_dict().items()}
    slow = encode(weights, table[items].double().numpy(), encoder.blocks[0].num_heads)
    np.testing.assert_allclose(states(encoder, [items], table)[0].numpy(), slow, atol=2e-5)


def test_a_later_event_changes_no_earlier_state(encoder: Encoder, table: torch.Tensor) -> None:
    a = [1, 2, 3, 4, 5, 6, 7, 8]
    b = [1, 2, 3, 4, 5, 9, 7, 8]
    x, y = states(encoder, [a], table), states(encoder, [b], table)
    assert torch.equal(x[:, :5], y[:, :5])
    assert (x[:, 5:] - y[:, 5:]).abs().amax(-1).min() > 1e-3  # and it does change every later one


@pytest.mark.parametrize("pads", [1, 4, 7])
def test_more_padding_changes_nothing(encoder: Encoder, table: torch.Tensor, pads: int) -> None:
    items = [4, 8, 15, 16, 23]
    plain = states(encoder, [items], table)
    padded = states(encoder, [[-1] * pads + items], table)
    torch.testing.assert_close(padded[:, pads:], plain, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(padded).all()


def test_batch_mates_change_nothing(encoder: Encoder, table: torch.Tensor) -> None:
    rows = [[-1, -1, -1, 4, 8], [1, 2, 3, 4, 5], [-1, 9, 9, 9, 9], [-1, -1, -1, -1, -1]]
    together = states(encoder, rows, table)
    for r, row in enumerate(rows[:3]):
        items = [i for i in row if i >= 0]
        torch.testing.assert_close(together[r, -len(items) :], states(encoder, [items], table)[0], atol=1e-5, rtol=1e-5)


def test_what_stands_in_the_padding_is_never_read_nor_trained(encoder: Encoder, table: torch.Tensor) -> None:
    there = torch.tensor([[False, False, True, True]])
    vectors = torch.randn(1, 4, 16)
    other = vectors.clone()
    other[:, :2] = 100.0
    assert torch.equal(encoder.read(vectors, there)[:, 2:], encoder.read(other, there)[:, 2:])
    vectors.requires_grad_()
    encoder.read(vectors, there)[:, 2:].square().sum().backward()
    assert (vectors.grad[:, :2] == 0).all()
    assert (vectors.grad[:, 2:] != 0).any()


def test_short_histories_train_the_positions_that_short_histories_are_read_with(
    encoder: Encoder, table: torch.Tensor
) -> None:
    encoder(torch.tensor([[-1, -1, 3, 4, 5]]), table)[:, 2:].square().sum().backward()
    grad = encoder.positions.weight.grad.abs().sum(-1)
    assert (grad[:3] > 0).all()
    assert (grad[3:] == 0).all()


def test_order_matters(encoder: Encoder, table: torch.Tensor) -> None:
    a, b = states(encoder, [[1, 2, 3]], table)[0, -1], states(encoder, [[2, 1, 3]], table)[0, -1]
    assert (a - b).abs().max() > 1e-3


def test_dropout_drops_its_share_keeps_the_mean_and_repeats_under_a_seed() -> None:
    x = torch.ones(1001, 301)
    torch.manual_seed(3)
    a = dropped(x, 0.3, True)
    torch.manual_seed(3)
    assert torch.equal(a, dropped(x, 0.3, True))
    assert not torch.equal(a, dropped(x, 0.3, True))
    n = x.numel()
    assert abs(float((a == 0).float().mean()) - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5 + 2**-16
    assert set(a.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.7))}
    assert torch.equal(dropped(x, 0.3, False), x)
    assert torch.equal(dropped(x, 0.0, True), x)
    # Neighbours share a draw; they must fall independently all the same.
    zero = (a == 0).float()
    assert abs(float((zero[:, :-1] * zero[:, 1:]).mean()) - 0.09) < 0.004


def test_dropout_passes_the_gradient_of_what_it_kept() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    out = dropped(x, 0.5, True)
    out.sum().backward()
    assert torch.equal(x.grad != 0, out != 0)
    assert set(x.grad.unique().tolist()) == {0.0, 2.0}


def test_without_causality_every_place_sees_all_that_are_there() -> None:
    torch.manual_seed(0)
    open_, table = Encoder(8, 2, 2, 6, 0.0, causal=False).eval(), torch.randn(9, 8)
    items = torch.tensor([[1, 2, 3, 4]])
    before = open_(items, table)
    after = open_(torch.tensor([[1, 2, 3, 5]]), table)
    assert (before[:, 0] - after[:, 0]).abs().max() > 1e-4
    padded = open_(torch.tensor([[-1, -1, 1, 2, 3, 4]]), table)
    torch.testing.assert_close(padded[:, 2:], before)
