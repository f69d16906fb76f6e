"""Pointwise attention against its slow form: values, gradients, what may be looked at, and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from oakum.nn import hstu  # noqa: E402
from oakum.nn.hstu import Looks, PointwiseEncoder, gaps, led, pointwise_attention  # noqa: E402
from tests.oracles.pointwise import bucket, encode  # noqa: E402

WIDTH, LENGTH = 12, 16


def encoder(*, heads: int = 2, timed: bool = True, raw: bool = False, layers: int = 2) -> PointwiseEncoder:
    torch.manual_seed(0)
    made = PointwiseEncoder(WIDTH, layers, heads, WIDTH // heads, LENGTH, 0.3, timed=timed, raw=raw)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made.double().eval()


def stream(t: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors [t, d] and rising moments [t] of one history."""
    g = torch.Generator().manual_seed(seed)
    vectors = torch.randn(t, WIDTH, generator=g, dtype=torch.float64)
    moments = torch.cumsum((10 ** (6 + 6 * torch.rand(t, generator=g))).long(), 0)
    return vectors, moments


def weights(made: PointwiseEncoder) -> dict[str, Any]:
    return {k: v.double().numpy() for k, v in made.state_dict().items()}


@settings(max_examples=12, deadline=None)
@given(
    t=st.integers(1, LENGTH),
    pads=st.integers(0, 3),
    heads=st.sampled_from([1, 2]),
    timed=st.booleans(),
    raw=st.booleans(),
)
def test_equals_the_slow_form_whatever_the_padding(t: int, pads: int, heads: int, timed: bool, raw: bool) -> None:
    made = encoder(heads=heads, timed=timed, raw=raw)
    vectors, moments = stream(t, seed=t)
    asked = torch.cat([moments[1:], moments[-1:] + 10**9])
    wanted = encode(weights(made), vectors.numpy(), heads, LENGTH, moments.tolist(), asked.tolist())
    left = lambda x, fill: torch.cat([torch.full((pads, *x.shape[1:]), fill, dtype=x.dtype), x])[None]
    buckets = gaps(left(asked, 0), left(moments, 0)) if timed else None
    there = left(torch.ones(t, dtype=torch.bool), False)
    with torch.no_grad():
        found, _ = made.history(left(vectors, 7.0), there, buckets)
    np.testing.assert_allclose(found[0, pads:].numpy(), wanted, atol=1e-9)


def dense(q: Any, k: Any, v: Any, places: Any, moments: Any, looks: Looks) -> torch.Tensor:
    """The composed form with all its matrices."""
    columns = torch.arange(k.shape[2])
    score = q @ k.transpose(-1, -2) + places[(looks.place[:, None] - columns).clamp(0, len(places) - 1)]
    if moments is not None:
        score = score + moments[looks.buckets.long()].unsqueeze(1)
    return (F.silu(score) * (columns < looks.limit[:, None])) @ v


@pytest.mark.parametrize("block", [1, 1 << 19], ids=["many blocks", "one block"])
@pytest.mark.parametrize("timed", [True, False])
def test_values_and_gradients_are_those_of_the_composed_form(
    monkeypatch: pytest.MonkeyPatch, block: int, timed: bool
) -> None:
    monkeypatch.setattr(hstu._Pointwise, "BLOCK", block)
    torch.manual_seed(3)
    s, h, r, c, d = 3, 2, 21, 17, 5
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    tensors = [make(s, h, r, d), make(s, h, c, d), make(s, h, c, d), make(9)]
    moments = make(129) if timed else None
    limit = torch.sort(torch.randint(0, c + 1, (r,))).values
    buckets = torch.randint(0, 129, (s, r, c), dtype=torch.uint8) if timed else None
    looks = Looks(limit, limit + 2, buckets)
    aim = torch.randn(s, h, r, d, dtype=torch.float64)
    leaves = [*tensors, *([moments] if moments is not None else [])]
    results = []
    for form in (pointwise_attention, dense):
        out = form(*tensors, moments, looks)
        results.append((out.detach(), torch.autograd.grad((out * aim).sum(), leaves)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-9, atol=1e-9)
    for found, wanted in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_rows_that_may_look_at_nothing_get_nothing() -> None:
    q = torch.randn(1, 1, 2, 4)
    k = torch.randn(1, 1, 3, 4)
    out = pointwise_attention(q, k, k, torch.zeros(5), None, Looks(torch.tensor([0, 2]), torch.tensor([0, 2])))
    assert (out[:, :, 0] == 0).all()
    assert (out[:, :, 1] != 0).any()


def test_half_precision_is_widened() -> None:
    q = torch.randn(1, 1, 3, 4)
    looks = Looks(torch.arange(3) + 1, torch.arange(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pointwise_attention(q.bfloat16(), q.bfloat16(), q.bfloat16(), torch.zeros(5), None, looks)
    wide = q.bfloat16().float()
    torch.testing.assert_close(found, dense(wide, wide, wide, torch.zeros(5), None, looks))


def test_a_later_event_changes_no_earlier_state() -> None:
    made = encoder().float()
    vectors, moments = stream(12)
    other, late = vectors.clone(), moments.clone()
    other[7:] += 1
    late[7:] += 10**8
    with torch.no_grad():
        states = [
            made.history(v[None].float(), torch.ones(1, 12, dtype=torch.bool), gaps(m[None], m[None]))[0]
            for v, m in ((vectors, moments), (other, late))
        ]
    assert torch.equal(states[0][:, :7], states[1][:, :7])
    assert not torch.equal(states[0][:, 7:], states[1][:, 7:])


@pytest.mark.parametrize("raw", [False, True])
def test_candidates_in_one_pass_are_candidates_in_passes_of_their_own(raw: bool) -> None:
    made = encoder(raw=raw)
    n, m = 9, 5
    vectors, moments = stream(n)
    asked = int(moments[-1]) + 3 * 10**9
    choices = torch.randn(1, m, WIDTH, dtype=torch.float64)
    at = torch.full((1, m), asked)
    with torch.no_grad():
        _, kept = made.history(vectors[None], torch.ones(1, n, dtype=torch.bool), gaps(moments[None], moments[None]))
        limit = torch.full((m,), n)
        own = torch.zeros(1, m, dtype=torch.uint8)
        looks = Looks(limit, limit, gaps(at, moments[None]), own)
        together, _ = made.ask(kept, choices, limit[None], looks)
    for j in range(m):
        line = torch.cat([vectors, choices[0, j : j + 1]]).numpy()
        when = [*moments.tolist(), asked]
        alone = encode(weights(made), line, 2, LENGTH, when, when)[-1]
        np.testing.assert_allclose(together[0, j].numpy(), alone, atol=1e-9)


def test_a_step_on_what_was_kept_is_the_whole_once_more() -> None:
    made = encoder()
    n = 8
    vectors, moments = stream(n + 3)
    ones = lambda t: torch.ones(1, t, dtype=torch.bool)
    with torch.no_grad():
        whole, _ = made.history(vectors[None], ones(n + 3), gaps(moments[None], moments[None]))
        _, kept = made.history(vectors[None, :n], ones(n), gaps(moments[None, :n], moments[None, :n]))
        for t in range(n, n + 3):
            now = moments[None, t : t + 1]
            looks = Looks(torch.tensor([t]), torch.tensor([t]), gaps(now, moments[None, :t]), gaps(now, now)[..., 0])
            state, own = made.ask(kept, vectors[None, t : t + 1], torch.tensor([[t]]), looks)
            torch.testing.assert_close(state[:, 0], whole[:, t], rtol=0, atol=1e-10)
            kept = [(torch.cat([k, a], 2), torch.cat([v, b], 2)) for (k, v), (a, b) in zip(kept, own, strict=True)]


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_pointwise_sums_feel_how_often_and_a_softmax_does_not(copies: int) -> None:
    q = torch.full((1, 1, 1, 4), 2.0)
    k, v = q.expand(1, 1, copies, 4), torch.randn(1, 1, 1, 4).expand(1, 1, copies, 4)
    one = Looks(torch.tensor([1]), torch.tensor([0]))
    many = Looks(torch.tensor([copies]), torch.tensor([0]))
    zero = torch.zeros(1)
    single = pointwise_attention(q, k[:, :, :1], v[:, :, :1], zero, None, one)
    torch.testing.assert_close(pointwise_attention(q, k, v, zero, None, many), copies * single)
    torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v), v[:, :, :1])


def test_gaps_are_counted_in_steps_of_a_third() -> None:
    moments = torch.tensor([[0, 10**6, 2 * 10**6, 3600 * 10**6, 2**62]])
    found = gaps(moments[:, :1], moments)[0, 0].tolist()
    assert found == [bucket(0, int(m)) for m in moments[0]]
    assert found[:3] == [0, 0, 2]
    assert found == sorted(found)
    wide = torch.arange(3000)[None] * 7_654_321
    whole = gaps(wide[:, :50], wide)
    assert whole[0, 49].tolist() == [bucket(int(wide[0, 49]), int(b)) for b in wide[0]]


def test_what_is_kept_for_the_way_back_grows_with_the_events_not_with_their_square() -> None:
    made = encoder(layers=1).float().train()

    def kept(t: int) -> int:
        total = 0

        def keep(x: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            made.history(torch.randn(1, t, WIDTH, requires_grad=True), torch.ones(1, t, dtype=torch.bool))
        return total

    assert kept(2000) < 2.2 * kept(1000)
    assert kept(2000) < 2000 * WIDTH * 60


def test_what_leads_stands_right_before_the_first_event() -> None:
    first = torch.tensor([[[-1.0], [-2.0]]]).expand(3, 2, 1)
    tokens = torch.arange(12.0).view(3, 4, 1)
    there = torch.tensor([[True] * 4, [False, True, True, True], [False] * 3 + [True]])
    found, seen = led(first, tokens, there)
    assert [found[s, seen[s], 0].tolist() for s in range(3)] == [
        [-1, -2, 0, 1, 2, 3], [-1, -2, 5, 6, 7], [-1, -2, 11],
    ]  # fmt: skip
    assert (seen.sum(1) - there.sum(1)).tolist() == [2, 2, 2]
    assert (seen.diff(dim=1) >= 0).all()
