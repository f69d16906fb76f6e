"""Moving an input and differentiating through training, against closed forms, torch's optimisers and finite differences."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from oakum.engine.inputs import ascend, unroll  # noqa: E402
from oakum.errors import OakumError  # noqa: E402

HILL = torch.tensor([[1.0, -2.0], [0.5, 3.0]])


def height(x: torch.Tensor) -> torch.Tensor:
    return -((x - HILL) ** 2).sum(-1)


def test_it_climbs_to_the_top_and_no_further_than_allowed() -> None:
    start = torch.zeros(2, 2)
    torch.testing.assert_close(ascend(height, start, steps=200, rate=0.1), HILL, atol=1e-4, rtol=0)
    inside = ascend(height, start, lambda x: x.clamp(-1, 1), 200, 0.1)
    torch.testing.assert_close(inside, HILL.clamp(-1, 1))
    assert start.abs().sum() == 0
    assert ascend(height, start + 9, lambda x: x.clamp(-1, 1), 0, 0.1).max() == 1  # the start is projected too


@pytest.mark.parametrize(
    ("direction", "wanted"),
    [
        ("plain", lambda g: g),
        ("unit", lambda g: g / g.norm(dim=-1, keepdim=True)),
        ("sign", torch.sign),
        ("tanh", torch.tanh),
    ],
)
def test_one_step_by_hand(direction: str, wanted: object) -> None:
    start = torch.randn(2, 2)
    gradient = -2 * (start - HILL)
    found = ascend(height, start, steps=1, rate=0.3, direction=direction)  # type: ignore[arg-type]
    torch.testing.assert_close(found, start + 0.3 * wanted(gradient))  # type: ignore[operator]


def test_momentum_by_hand() -> None:
    here, speed = torch.zeros(2, 2), torch.zeros(2, 2)
    for _ in range(4):
        speed = 0.9 * speed - 2 * (here - HILL)
        here = here + 0.05 * speed
    torch.testing.assert_close(ascend(height, torch.zeros(2, 2), steps=4, rate=0.05, momentum=0.9), here)


def test_the_best_point_met_is_returned_where_there_is_a_judge() -> None:
    seen = []

    def judge(x: torch.Tensor) -> float:
        seen.append(x)
        return float(height(x).sum())

    found = ascend(height, torch.zeros(2, 2), steps=5, rate=1.3, judge=judge)  # far too long steps: it runs away
    assert len(seen) == 6
    assert judge(found) == max(float(height(x).sum()) for x in seen)
    torch.testing.assert_close(found, torch.zeros(2, 2))


def test_a_gradient_that_is_not_finite_is_said() -> None:
    with pytest.raises(OakumError, match="not finite in step 0"):
        ascend(lambda x: x.sqrt().sum(), torch.zeros(2), steps=2, rate=0.1)


def test_it_works_inside_no_grad_and_moves_nothing_else() -> None:
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        ascend(lambda x: (x * weight).sum(), torch.zeros(2), steps=2, rate=0.1)
    assert weight.grad is None


@pytest.mark.parametrize("update", ["sgd", "adam"])
def test_unrolled_steps_are_those_of_the_optimiser(update: str) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    weight = torch.randn(3, dtype=torch.float64)
    found = unroll(lambda p: ((a @ p["w"] - b) ** 2).mean(), {"w": weight}, 5, 0.05, update=update)["w"]  # type: ignore[arg-type]
    moving = torch.nn.Parameter(weight.clone())
    kind = torch.optim.Adam if update == "adam" else torch.optim.SGD
    optimiser = kind([moving], lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        ((a @ moving - b) ** 2).mean().backward()
        optimiser.step()
    torch.testing.assert_close(found.detach(), moving.detach())


@pytest.mark.parametrize("update", ["sgd", "adam"])
def test_the_gradient_through_training_is_that_of_finite_differences(update: str) -> None:
    torch.manual_seed(1)
    a, b = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    start = {"w": torch.randn(3, dtype=torch.float64), "unused": torch.ones(1, dtype=torch.float64)}

    def after(x: torch.Tensor) -> torch.Tensor:
        loss = lambda p: (x * (a @ p["w"] - b) ** 2).mean()
        return unroll(loss, start, 4, 0.1, update=update)["w"].pow(3).sum()  # type: ignore[arg-type]

    x = torch.rand(6, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(after(x), x)
    for i in range(6):
        h = torch.zeros(6, dtype=torch.float64)
        h[i] = 1e-6
        slope = (after(x.detach() + h) - after(x.detach() - h)).item() / 2e-6
        assert found[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_start_can_be_differentiated_too_and_an_unused_parameter_stays() -> None:
    w = torch.tensor([2.0], requires_grad=True)
    out = unroll(lambda p: (p["w"] ** 2).sum(), {"w": w, "v": torch.ones(1)}, 3, 0.1)
    (slope,) = torch.autograd.grad(out["w"].sum(), w)
    assert slope.item() == pytest.approx(0.8**3)
    assert out["v"].item() == 1.0
