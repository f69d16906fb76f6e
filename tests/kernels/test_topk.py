"""Fused products and selection against sorting whole rows: exact scores, so that every tie counts."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data import Ragged
from oakum.kernels import select, spread
from oakum.kernels import topk as module
from oakum.kernels.select import LITTLE, tie_ranks, topk_scores
from oakum.kernels.topk import ALL, topk
from tests.oracles.best import best


def whole(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Small integers: every product is exact, whatever the order of the sum."""
    return rng.integers(-2, 3, (n, d)).astype(np.float32)


def some_rows(rng: np.random.Generator, q: int, n: int) -> list[list[int]]:
    """Rows as histories are: in any order, with repetitions, some empty."""
    return [rng.integers(0, n, rng.integers(0, 1 + rng.integers(0, 2 * n))).tolist() for _ in range(q)]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 23), st.integers(1, 70), st.integers(0, 19), st.integers(1, 90), st.integers(0, 10_000), st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_topk_is_the_best_of_all_products(
    q: int, n: int, d: int, k: int, seed: int, excludes: bool, blanks: bool, chooses: bool
) -> None:
    rng = np.random.default_rng(seed)
    asked, table = whole(rng, q, d), whole(rng, n, d)
    asked[rng.random(q) < 0.1] = np.nan
    table[rng.random(n) < 0.1] = np.nan
    shut = some_rows(rng, q, n) if excludes else [[] for _ in range(q)]
    blank = rng.random(n) < 0.3 if blanks else np.zeros(n, bool)
    rows = np.flatnonzero(rng.random(n) < 0.5).astype(np.int32) if chooses else ALL
    closed = set(np.flatnonzero(blank).tolist()) | (set(range(n)) - set(rows.tolist()) if chooses else set())
    wanted = best(asked @ table.T, k, tie_ranks(n), [closed | set(s) for s in shut])
    found = topk(
        asked, table, k, exclude=Ragged.of(shut) if excludes else None, blank=blank if blanks else None, rows=rows
    )
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 9), st.integers(1, 130), st.integers(1, 140), st.integers(0, 10_000), st.booleans(), st.booleans()
)  # fmt: skip
def test_scores_are_selected_as_they_stand(q: int, n: int, k: int, seed: int, excludes: bool, blanks: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice(np.array([-np.inf, -1.5, -0.0, 0.0, 1e-40, 2, np.inf, np.nan], np.float32), (q, n))
    shut = some_rows(rng, q, n) if excludes else [[] for _ in range(q)]
    ties = rng.permutation(3 * n)[:n].astype(np.int32)
    blank = rng.random(n) < 0.3 if blanks else np.zeros(n, bool)
    wanted = best(scores, k, ties, [set(np.flatnonzero(blank).tolist()) | set(s) for s in shut])
    scores.flags.writeable = False
    for little in (0, LITTLE):  # by what is compiled, and by NumPy: the same to the bit
        with patch.object(select, "LITTLE", little):
            found = topk_scores(
                scores, k, exclude=Ragged.of(shut) if excludes else None, blank=blank if blanks else None, ties=ties
            )
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        assert not np.signbit(found[1][found[1] == 0]).any()


@pytest.mark.parametrize("order", ["rising", "falling", "waves", "equal"])
@pytest.mark.parametrize("k", [1, 20, 700])
@pytest.mark.parametrize("little", [0, LITTLE])
def test_no_order_of_the_scores_is_special(order: str, k: int, little: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 5000
    monkeypatch.setattr(select, "LITTLE", little)
    row = {
        "rising": np.arange(n), "falling": -np.arange(n), "waves": np.arange(n) % 70, "equal": np.zeros(n),
    }[order].astype(np.float32)  # fmt: skip
    ties = tie_ranks(n)
    wanted = np.lexsort((ties, -row))[:k]
    np.testing.assert_array_equal(topk_scores(row[None].copy(), k)[0][0], wanted)
    np.testing.assert_array_equal(topk(np.ones((7, 1), np.float32), row[:, None], k)[0], np.tile(wanted, (7, 1)))


def test_no_bit_depends_on_threads_or_on_company(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    q, table = (rng.normal(size=(n, 37)).astype(np.float32) for n in (213, 1001))
    shut = Ragged.of(some_rows(rng, 213, 100))
    alone = topk(q, table, 9, exclude=shut)
    monkeypatch.setattr(module, "DENSE", 1)
    monkeypatch.setattr(spread, "WORTH", 1)
    monkeypatch.setattr(spread, "most", lambda: 3)
    for a, b in zip(alone, topk(q, table, 9, exclude=shut), strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(module, "most", lambda: 3)
    monkeypatch.setattr(module, "SPLIT", 1)
    for few in (2, 50, 190):  # the table is dealt to the threads, not the requests
        for rows in (module.ALL, np.arange(1, 1001, 3, dtype=np.int32), np.arange(20, dtype=np.int32)):
            monkeypatch.setattr(module, "most", lambda: 1)
            whole_ = topk(q[:few], table, 9, exclude=shut.span(0, few), rows=rows)
            monkeypatch.setattr(module, "most", lambda: 3)
            assert len(module._cuts(few, len(table), 37)) == 4
            for a, b in zip(whole_, topk(q[:few], table, 9, exclude=shut.span(0, few), rows=rows), strict=True):
                np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(module, "most", lambda: 1)
    # Neither the other requests of a batch nor the other items looked at change a score.
    part = topk(q[100:107], table, 9, exclude=shut.take(np.arange(100, 107)), rows=np.unique(alone[0][100:107]))
    np.testing.assert_array_equal(part[0], alone[0][100:107])
    np.testing.assert_array_equal(part[1], alone[1][100:107])
    # Nor do equal items part, whoever asks.
    twice = np.repeat(table, 2, 0)
    for n in (1, 3, 4):
        values = topk(q[:n], twice, 20)[1]
        np.testing.assert_array_equal(values[:, ::2], values[:, 1::2])
    scores = q @ table.T
    shared = topk_scores(scores.copy(), 5)
    monkeypatch.setattr(spread, "most", lambda: 1)
    np.testing.assert_array_equal(shared[0], topk_scores(scores.copy(), 5)[0])


def test_what_cannot_be_shown_is_not_looked_for_beyond_the_table() -> None:
    scores, shut = np.array([[1, 3, 2]], np.float32), Ragged.of([[-1, 1, 7]])
    for little in (0, LITTLE):
        with patch.object(select, "LITTLE", little):
            assert topk_scores(scores, 3, exclude=shut)[0].tolist() == [[2, 0, -1]]


def test_a_kernel_is_compiled_once_whoever_may_write_to_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "LITTLE", 0)
    q, table = np.ones((2, 3), np.float32), np.ones((5, 3), np.float32)
    for array in (q, table):
        array.flags.writeable = False
    shut = Ragged.of([[1], [2]])
    topk(q, table, 2, exclude=shut)
    topk(q.copy(), table.copy(), 2, rows=np.arange(4, dtype=np.int32), ties=np.arange(5, dtype=np.int32))
    topk_scores(q @ table.T, 2)
    assert len(module._search.signatures) == len(module._select.signatures) == 1


def test_rows_side_by_side_are_named_as_in_the_whole_table() -> None:
    rng = np.random.default_rng(2)
    q, table = whole(rng, 6, 5), whole(rng, 40, 5)
    rows = np.flatnonzero(rng.random(40) < 0.6).astype(np.int32)
    blank = rng.random(40) < 0.3
    ties = tie_ranks(40)
    for shut in (None, blank):
        wanted = topk(q, table, 7, rows=rows, blank=shut)
        found = topk(q, table[rows], 7, rows=rows, beside=True, ties=ties, blank=shut)
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])
    with pytest.raises(ValueError, match="need `ties`"):
        topk(q, table[rows], 7, rows=rows, beside=True)


def test_scores_are_the_products() -> None:
    rng = np.random.default_rng(1)
    q, table = (rng.normal(size=(n, 69)) for n in (20, 3000))
    for n in (1, 2, 3, 20):
        found, values = topk(q[:n].astype(np.float32), table.astype(np.float32), 20)
        np.testing.assert_allclose(values, np.take_along_axis(q[:n] @ table.T, found, 1), rtol=1e-5, atol=1e-5)
