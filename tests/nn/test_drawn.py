"""Scores of drawn items without their vectors, against the products of copied ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from oakum.kernels import spmm, spread  # noqa: E402
from oakum.nn.drawn import Drawn, drawn_scores, scores_at, whole  # noqa: E402


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 7), st.integers(1, 70), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_scores_and_gradients_equal_those_of_copied_rows(b: int, items: int, n: int, d: int, seed: int) -> None:
    torch.manual_seed(seed)
    query, table = torch.randn(b, d, requires_grad=True), torch.randn(items, d, requires_grad=True)
    codes, weight = torch.randint(0, items, (b, n)), torch.randn(b, n)
    slow = (query.double().unsqueeze(1) * table.double()[codes]).sum(-1)
    fast = scores_at(query, table, codes)
    torch.testing.assert_close(fast.double(), slow, atol=1e-5, rtol=1e-5)
    slopes = lambda scores: torch.autograd.grad((scores * weight).sum(), (query, table))
    for a, e in zip(slopes(fast), slopes(slow), strict=True):
        torch.testing.assert_close(a, e, atol=1e-5, rtol=1e-5)


def test_scores_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    query, table = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((3, 2), (5, 2)))
    codes = torch.tensor([[0, 0, 4], [1, 2, 3], [4, 4, 4]])
    at = lambda q, t: scores_at(q, t, codes) ** 2
    assert torch.autograd.gradcheck(at, (query, table))
    assert torch.autograd.gradgradcheck(at, (query, table))


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spmm, "LEAST", 1)
    monkeypatch.setattr(spread, "cores", lambda: 4)
    rng = np.random.default_rng(0)
    query, table = (rng.normal(size=s).astype(np.float32) for s in ((23, 16), (40, 16)))
    codes = rng.integers(0, 40, (23, 5))
    assert np.array_equal(spmm.dots(query, table, codes, threads=4), spmm.dots(query, table, codes))


def test_vectors_are_made_for_whoever_asks_and_moving_them_moves_the_scores() -> None:
    torch.manual_seed(0)
    query, table, codes = torch.randn(4, 6), torch.randn(9, 6), torch.randint(0, 9, (4, 3))
    reps = Drawn({"query": query}, table, codes)
    scores = drawn_scores(query, reps)
    assert "negative" not in reps
    with pytest.raises(KeyError, match="fields"):
        reps["fields"]
    made = whole(reps)
    assert torch.equal(made["negative"], table[codes])
    torch.testing.assert_close(drawn_scores(query, made), scores)
    torch.testing.assert_close(
        drawn_scores(query, {**made, "negative": made["negative"] + 1}), scores + query.sum(1)[:, None]
    )
    plain = {"query": query}
    assert whole(plain) is plain


def test_shared_items_are_scored_for_every_row() -> None:
    query, table, codes = torch.randn(4, 6), torch.randn(9, 6), torch.tensor([[2, 7]])
    torch.testing.assert_close(scores_at(query, table, codes), query @ table[[2, 7]].T)


@given(st.integers(2, 9), st.integers(1, 12), st.integers(1, 9), st.integers(1, 70), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_asking_for_the_vectors_changes_no_bit(b: int, items: int, n: int, d: int, seed: int) -> None:
    torch.manual_seed(seed)
    query, table = torch.randn(b, d, requires_grad=True), torch.randn(items, d, requires_grad=True)
    codes, weight = torch.randint(0, items, (b, n)), torch.randn(b, n)
    reps = Drawn({"query": query}, table, codes)
    few, all_of_them = drawn_scores(query, reps), drawn_scores(query, whole(reps))
    assert torch.equal(few, all_of_them)
    slopes = lambda scores: torch.autograd.grad((scores * weight).sum(), (query, table))
    assert all(torch.equal(a, e) for a, e in zip(slopes(few), slopes(all_of_them), strict=True))
