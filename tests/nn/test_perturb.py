"""Worst-case moves: the closed form, the control of equal length, the accumulation over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.nn.perturb import worst  # noqa: E402
from oakum.seeds import generator  # noqa: E402


def reps_of(b: int, n: int, d: int, seed: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed)
    make = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True)
    return {"query": make(b, d), "positive": make(b, d), "negative": make(b, n, d)}


def margins(r: dict[str, Any]) -> Any:
    return (r["query"] * r["positive"]).sum(-1, keepdim=True) - (r["query"].unsqueeze(1) * r["negative"]).sum(-1)


def loss(r: dict[str, Any]) -> Any:
    return torch.nn.functional.softplus(-margins(r)).mean()


@given(st.integers(1, 40), st.integers(2, 12), st.floats(0, 2), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_perturbed_margin_has_its_closed_form(b: int, d: int, eps: float, seed: int) -> None:
    r = reps_of(b, 1, d, seed)
    p, gap = r["query"], r["positive"] - r["negative"][:, 0]
    cos = torch.nn.functional.cosine_similarity(p, gap, dim=-1)
    wanted = margins(r)[:, 0] - eps * gap.norm(dim=-1) - 2 * eps * p.norm(dim=-1) + 2 * eps**2 * cos
    torch.testing.assert_close(margins(worst(loss(r), r, eps))[:, 0], wanted, rtol=1e-5, atol=1e-5)


def test_moves_have_their_length_each_and_carry_no_gradient() -> None:
    r = reps_of(6, 3, 4, 0)
    size = torch.linspace(0.1, 0.6, 6, dtype=torch.float64)
    moved = worst(loss(r), r, size)
    for name, tensor in moved.items():
        delta = tensor - r[name]
        length = delta.norm(dim=-1)
        wanted = size if length.dim() == 1 else size[:, None].expand_as(length)
        torch.testing.assert_close(length, wanted)
        # The derivative of a moved vector by the vector itself is the identity: the move is a constant.
        (grad,) = torch.autograd.grad(tensor.sum(), r[name], retain_graph=True)
        torch.testing.assert_close(grad, torch.ones_like(grad))


def test_the_gradient_hurts_more_than_chance() -> None:
    r = reps_of(200, 1, 16, 1)
    plain = float(loss(r).detach())
    hurt = float(loss(worst(loss(r), r, 0.3)).detach())
    chance = float(loss(worst(loss(r), r, 0.3, direction="random", rng=generator(0, "x"))).detach())
    assert hurt > plain + 3 * abs(chance - plain)
    torch.testing.assert_close(
        worst(loss(r), r, 0.3, direction="random", rng=generator(0, "x"))["query"].sub(r["query"]).norm(dim=-1),
        torch.full((200,), 0.3, dtype=torch.float64),
    )


def test_names_left_out_stay_and_absent_names_do_no_harm() -> None:
    r = {**reps_of(4, 2, 3, 2), "_private": torch.ones(4)}
    moved = worst(loss(r), r, 0.5, names=("query", "states"))
    assert moved["positive"] is r["positive"]
    assert moved["_private"] is r["_private"]
    assert not torch.equal(moved["query"], r["query"])


def test_rows_add_up_their_gradients_as_over_whole_tables() -> None:
    """Against the form of 2018 written out: whole tables, gradient of the summed loss, normalised by row."""
    g = torch.Generator().manual_seed(3)
    users = torch.randn(5, 4, generator=g, dtype=torch.float64, requires_grad=True)
    items = torch.randn(7, 4, generator=g, dtype=torch.float64, requires_grad=True)
    u, i, j = torch.tensor([0, 0, 3, 0]), torch.tensor([1, 2, 1, 1]), torch.tensor([[2, 5], [1, 6], [5, 5], [3, 4]])
    r = {"query": users[u], "positive": items[i], "negative": items[j]}
    rows = {"query": ("users", u), "positive": ("items", i), "negative": ("items", j)}
    moved = worst(loss(r), r, 0.4, rows=rows)
    again = {"query": users[u], "positive": items[i], "negative": items[j]}
    by_users, by_items = torch.autograd.grad(loss(again) * 8, [users, items])
    move = lambda t: 0.4 * t / (t.norm(dim=-1, keepdim=True) + 1e-12)
    torch.testing.assert_close(moved["query"], (users + move(by_users))[u])
    torch.testing.assert_close(moved["positive"], (items + move(by_items))[i])
    torch.testing.assert_close(moved["negative"], (items + move(by_items))[j])
    apart = worst(loss(r), r, 0.4)
    assert not torch.allclose(apart["query"], moved["query"])


def test_equal_seeds_draw_equal_directions() -> None:
    r = reps_of(5, 1, 4, 4)
    a, b = (worst(loss(r), r, 0.1, direction="random", rng=generator(7, "d"))["positive"] for _ in range(2))
    assert np.array_equal(a.detach().numpy(), b.detach().numpy())
