"""Rows of length 1 against torch's, with gradients of the first and the second order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from oakum.nn.unit import unit_rows  # noqa: E402


@given(st.integers(1, 12), st.integers(1, 70), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_rows_and_gradients_are_those_of_torch(n: int, d: int, seed: int) -> None:
    torch.manual_seed(seed)
    x, weight = torch.randn(n, d), torch.randn(n, d)
    x[0] = 0  # has no direction
    x.requires_grad_()
    own, other = unit_rows(x), F.normalize(x.double(), dim=-1)
    torch.testing.assert_close(own.double(), other, atol=1e-6, rtol=1e-6)
    slope = lambda y: torch.autograd.grad((y * weight).sum(), x)[0]
    torch.testing.assert_close(slope(own), slope(other).float(), atol=1e-5, rtol=1e-5)


def test_rows_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, x)
    assert torch.autograd.gradgradcheck(unit_rows, x)
