"""Asked attention against the formula, one place at a time."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.nn import pooling  # noqa: E402
from oakum.nn.pooling import AskedPooling  # noqa: E402
from tests.oracles.cross_domain import attended  # noqa: E402


def case(seed: int, s: int, j: int, k: int, d: int) -> tuple[AskedPooling, list[torch.Tensor]]:
    torch.manual_seed(seed)
    layers = AskedPooling(d).double()
    for bend in (layers.bend_first, layers.bend_second):
        torch.nn.init.uniform_(bend.weight, -0.5, 0.5)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    return layers, [draw(s, k, d), torch.rand(s, j, k) < 0.6, draw(s, j, d), draw(s, j, d)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
def test_equals_the_loop_and_so_do_its_gradients(seed: int, s: int, j: int, k: int, d: int) -> None:
    layers, (facts, visible, asked, whole) = case(seed, s, j, k, d)
    fast = layers(facts, visible, asked, whole)
    slow = torch.stack(
        [
            torch.stack([attended(layers, facts[a, visible[a, b]], asked[a, b], whole[a, b]) for b in range(j)])
            for a in range(s)
        ]
    )
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
    weight = torch.randn_like(slow)
    moved = [facts, asked, whole, *layers.parameters()]
    # Adding nothing gives everything a gradient, where nothing is visible too.
    nothing = lambda: sum(m.sum() for m in moved) * 0
    one, other = (torch.autograd.grad((x * weight).sum() + nothing(), moved) for x in (fast, slow))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_visible_gives_zeros_and_no_gradient_of_nonsense() -> None:
    layers, (facts, visible, asked, whole) = case(0, 2, 3, 4, 5)
    out = layers(facts, torch.zeros_like(visible), asked, whole)
    assert (out == 0).all()
    (grad,) = torch.autograd.grad(out.sum(), [facts])
    assert torch.isfinite(grad).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, parts = case(3, 3, 7, 5, 4)
    whole = layers(*parts)
    monkeypatch.setattr(pooling, "PAIRS", 30)  # two places at a time
    blocks = layers(*parts)
    torch.testing.assert_close(whole, blocks)
    moved = [parts[0], parts[2], *layers.parameters()]
    for a, b in zip(*(torch.autograd.grad(x.square().sum(), moved) for x in (whole, blocks)), strict=True):
        torch.testing.assert_close(a, b)
