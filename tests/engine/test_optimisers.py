"""The update rules against torch's own, bit by bit; and what they are for: no compiler is loaded by training."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from oakum.engine.checkpoint import pack_optimiser, unpack_optimiser  # noqa: E402
from oakum.engine.plan import Plan  # noqa: E402
from oakum.engine.steps import optimiser  # noqa: E402

OF_TORCH: dict[str, Any] = {
    "adam": lambda p, d: torch.optim.Adam(p, lr=0.02, weight_decay=d, betas=(0.9, 0.98), fused=True),
    "adamw": lambda p, d: torch.optim.AdamW(p, lr=0.02, weight_decay=d, betas=(0.9, 0.98), fused=True),
    "sgd": lambda p, d: torch.optim.SGD(p, lr=0.02, weight_decay=d),
    "adagrad": lambda p, d: torch.optim.Adagrad(p, lr=0.02, weight_decay=d),
}


def parameters() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, dtype=k)) for s, k in (((40, 5), torch.float32), ((3,), torch.float64))]


def give(parameters: list[torch.nn.Parameter], step: int) -> None:
    """Gradients of a step; the second parameter has none in the first."""
    torch.manual_seed(step)
    for p in parameters:
        p.grad = torch.randn_like(p) * (torch.rand(len(p)) < 0.3).view(-1, *[1] * (p.dim() - 1))
    if step == 0:
        parameters[1].grad = None


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", list(OF_TORCH))
def test_steps_are_those_of_torch(name: str, decay: float) -> None:
    own, other = parameters(), parameters()
    update = optimiser(Plan(optimiser=name, weight_decay=decay, beta2=0.98), own, 0.02)  # type: ignore[arg-type]
    expected = OF_TORCH[name](other, decay)
    for step in range(7):
        rate = 0.02 * (1 + step % 3)
        update.param_groups[0]["lr"] = expected.param_groups[0]["lr"] = rate
        give(own, step), give(other, step)
        update.step(), expected.step()
        for a, b in zip(own, other, strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0)


@pytest.mark.parametrize("name", list(OF_TORCH))
def test_a_state_that_was_kept_goes_on_as_if_nothing_had_been(name: str) -> None:
    plan = Plan(optimiser=name)  # type: ignore[arg-type]
    own = parameters()
    update = optimiser(plan, own, 0.02)
    for step in range(3):
        give(own, step), update.step()
    other = [torch.nn.Parameter(p.detach().clone()) for p in own]
    again = optimiser(plan, other, 0.02)
    kept = {k: v.clone() for k, v in pack_optimiser(update, "o").items()}
    unpack_optimiser(again, kept, "o")
    for step in range(3, 6):
        give(own, step), give(other, step)
        update.step(), again.step()
    assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))


def test_training_loads_no_compiler() -> None:
    code = """
import sys
from oakum.api import fit
from oakum.data.simulate import Market, simulate
fit("bpr-mf", simulate(Market(users=30, items=20, events=200)), plan={"epochs": 1})
print([m for m in ("torch._dynamo", "sympy") if m in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
