"""Rows as bytes: the bound is never below the true product, and what is found is what an exact search finds, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data import Ragged
from oakum.kernels import spread
from oakum.kernels import topk as module
from oakum.kernels._lanes import HEAD
from oakum.kernels.quantised import quantised, shortened, topk_quantised
from oakum.kernels.topk import ALL, tie_ranks, topk


def drawn(rng: Any, n: int, d: int, kind: str) -> np.ndarray:
    """Rows of many kinds: small integers (ties), long tails, one large component, hardly anything, all of one size."""
    x = rng.normal(size=(n, d))
    if kind == "ties":
        x = rng.integers(-2, 3, (n, d))
    elif kind == "tails":
        x = x * np.exp(2 * rng.normal(size=(n, 1))) * np.exp(rng.normal(size=(1, d)))
    elif kind == "spikes":
        x[np.arange(n), rng.integers(0, d, n)] *= 1000
    elif kind == "tiny":
        x = x * 1e-40
    elif kind == "large":
        x = x * 1e18
    elif kind == "shifted":  # products that differ in the last bits alone
        x = 1000 + 1e-3 * x
    return x.astype(np.float32)


KINDS = st.sampled_from(["normal", "ties", "tails", "spikes", "tiny", "large", "shifted"])


@settings(max_examples=150, deadline=None)
@given(KINDS, KINDS, st.integers(1, 90), st.integers(1, 70), st.integers(0, 10_000))
def test_no_bound_is_below_the_product(rows: str, request: str, n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, q = drawn(rng, n, d, rows), drawn(rng, 1, d, request)[0]
    codes = quantised(x)
    step, bound = codes[:, :HEAD].copy().view(np.float32).T.astype(np.float64)
    short, aim = np.zeros(codes.shape[1] - HEAD, np.int16), np.zeros(3, np.float32)
    shortened(q, 0, d, short, aim)
    by, spare, length = aim.astype(np.float64)
    totals = codes[:, HEAD:].astype(np.int64) @ short.astype(np.int64)
    assert np.abs(codes[:, HEAD:]).max() <= 127
    assert np.abs(totals).max() < 2**31
    true = x.astype(np.float64) @ q.astype(np.float64)
    with np.errstate(invalid="ignore"):
        could = step * (by * totals + spare) + length * bound
    assert (np.isnan(could) | (could >= true)).all()


@settings(max_examples=150, deadline=None)
@given(KINDS, st.integers(1, 5), st.integers(1, 300), st.integers(1, 70), st.integers(1, 12), st.integers(0, 10_000))
def test_what_is_found_is_the_exact_answer_to_the_bit(kind: str, asked: int, n: int, d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, q = drawn(rng, n, d, kind), drawn(rng, asked, d, kind)
    if seed % 3 == 0:
        x[rng.integers(0, n, n // 2)] = x[0]
    codes, ties = quantised(x), tie_ranks(n)
    rows = ALL if seed % 2 else np.flatnonzero(rng.random(n) < 0.4).astype(np.int32)
    shut = Ragged.of([rng.choice(n, min(n, rng.integers(0, 9)), replace=False) for _ in range(asked)])
    many = np.concatenate([q, q, q])  # never one alone
    thrice = Ragged.of([shut.row(i % asked) for i in range(3 * asked)])
    items, scores = topk(many, x, k, exclude=thrice, rows=rows, ties=ties)
    for beside in (False, True) if rows is not ALL else (False,):
        mine = codes[rows] if beside else codes
        found, values = topk_quantised(q, x, mine, k, exclude=shut, rows=rows, beside=beside, ties=ties)
        assert np.array_equal(found, items[:asked])
        assert np.array_equal(values, scores[:asked], equal_nan=True)


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_of_a_large_table_are_put_together(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "most", lambda: threads)
    monkeypatch.setattr(module, "most", lambda: threads)
    monkeypatch.setattr(module, "SPLIT", 1e4)
    rng = np.random.default_rng(0)
    x, q = drawn(rng, 5000, 24, "ties"), drawn(rng, 2, 24, "ties")
    found, values = topk_quantised(q, x, quantised(x), 20, ties=tie_ranks(5000))
    items, scores = topk(np.repeat(q, 2, 0), x, 20, ties=tie_ranks(5000))
    assert np.array_equal(found, items[::2])
    assert np.array_equal(values, scores[::2])


def test_wide_rows_and_rows_of_nothing() -> None:
    rng = np.random.default_rng(0)
    x = drawn(rng, 60, 3000, "spikes")
    x[7:20] = 0
    q = np.sign(drawn(rng, 2, 3000, "normal")) * np.float32(
        3
    )  # all components at the largest: sums come near their end
    found, values = topk_quantised(q, x, quantised(x), 60, ties=tie_ranks(60))
    items, scores = topk(np.repeat(q, 2, 0), x, 60, ties=tie_ranks(60))
    assert np.array_equal(found, items[::2])
    assert np.array_equal(values, scores[::2])
    nothing = topk_quantised(q[:0], x, quantised(x), 5, ties=tie_ranks(60))
    assert nothing[0].shape == (0, 5)
