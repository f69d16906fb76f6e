"""Linear kernels over events against sorts by comparison and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from oakum.data import Interactions
from oakum.data import interactions as module
from oakum.data.grouping import contained, grouped_order
from oakum.data.interactions import by_user, rising
from oakum.errors import DataError
from oakum.splits.protocol import contains


@st.composite
def logs(draw: st.DrawFn) -> Interactions:
    n = draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items = (rng.integers(0, draw(st.integers(1, 40)), n).astype(np.int32) for _ in range(2))
    times = rng.integers(0, draw(st.sampled_from([1, 5, 10**15])), n) if draw(st.booleans()) else None
    if times is not None and draw(st.booleans()):
        times = np.sort(times)
    rows = np.arange(n) if draw(st.booleans()) else rng.permutation(3 * n)[:n]
    return Interactions(users, items, rng.random(n, np.float32), times, rows)


@given(logs())
@settings(max_examples=80, deadline=None)
def test_the_order_is_that_of_a_sort_by_all_keys(log: Interactions) -> None:
    keys = (log.rows,) if log.times is None else (log.times, log.rows)
    order, offsets = grouped_order(log.users, 50, keys)
    assert order.tolist() == np.lexsort((*reversed(keys), log.users)).tolist()
    assert offsets.tolist() == np.concatenate([[0], np.cumsum(np.bincount(log.users, minlength=50))]).tolist()


def test_long_histories_out_of_order() -> None:
    rng = np.random.default_rng(0)
    users, times = rng.integers(0, 3, 2000).astype(np.int32), rng.integers(0, 300, 2000)
    order, _ = grouped_order(users, 3, (times,))
    assert order.tolist() == np.lexsort((times, users)).tolist()


def test_events_without_an_owner_are_left_out() -> None:
    order, offsets = grouped_order(np.array([1, -1, 0, 1], np.int32), 2, ())
    assert order.tolist() == [2, 0, 3]
    assert offsets.tolist() == [0, 1, 3]


@given(logs(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_matrix_is_scipys(log: Interactions, long: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MANY", 1 if long else 10**9)
        ours = log.matrix(41, 43)
    one = np.ones(len(log), np.float32)
    theirs = sparse.csr_matrix((one, (log.users, log.items)), shape=(41, 43))
    theirs.data[:] = 1
    theirs.sort_indices()
    assert ours.indptr.tolist() == theirs.indptr.tolist()
    assert ours.indices.tolist() == theirs.indices.tolist()
    assert ours.data.tolist() == theirs.data.tolist()
    assert (ours.indptr.dtype, ours.indices.dtype, ours.dtype) == (
        theirs.indptr.dtype,
        theirs.indices.dtype,
        theirs.dtype,
    )
    other = log.items[::-1].copy()
    asked = contained(ours, log.users, other)
    assert asked.tolist() == [bool(ours[u, i]) for u, i in zip(log.users, other, strict=True)]
    assert asked.tolist() == contains(theirs, log.users, other).tolist()


@given(
    st.integers(0, 400),
    st.sampled_from([1, 2, 7, 200, 2**9, 2**20, 2**31 - 1]),
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_distinct_items_are_those_of_sets(n: int, num_items: int, num_users: int, seed: int) -> None:
    """Rows long and short, few items and many, events that lack a user or an item; the short way and the long one."""
    rng = np.random.default_rng(seed)
    users = rng.integers(-1, num_users, n).astype(np.int32)
    items = rng.integers(-1, num_items, n).astype(np.int32)
    sets = [
        sorted({int(i) for u, i in zip(users, items, strict=True) if u == own and i >= 0}) for own in range(num_users)
    ]
    log = Interactions(users, items)
    for many in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MANY", many)
            found = log.pairs(num_users, num_items)
        assert [found.row(u).tolist() for u in range(num_users)] == sets
        assert (found.offsets.dtype, found.items.dtype) == (np.int64, np.int32)


def test_codes_beyond_the_vocabulary_are_refused() -> None:
    log = Interactions(np.array([0, 2], np.int32), np.array([1, 1], np.int32))
    with pytest.raises(DataError, match="the user code 2 where there are 2 of them"):
        log.pairs(2, 2)
    with pytest.raises(DataError, match="the item code 1 where there are 1 of them"):
        log.matrix(3, 1)


def test_a_log_that_lies_by_user_is_not_copied() -> None:
    log = Interactions(np.array([0, 0, 2], np.int32), np.array([4, 1, 1], np.int32))
    assert np.shares_memory(log.histories(3).items, log.items)
    assert [log.histories(3).row(u).tolist() for u in range(3)] == [[4, 1], [], [1]]


@given(logs())
@settings(max_examples=40, deadline=None)
def test_a_long_log_gives_what_a_short_one_gives(log: Interactions) -> None:
    slow = log.order(), log.histories(50), log.matrix(50, 50)
    key = np.random.default_rng(1).integers(0, 2**64, len(log), dtype=np.uint64)
    shuffled = by_user(log.users, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MANY", 1)
        fast = log.order(), log.histories(50), log.matrix(50, 50)
        assert by_user(log.users, key).tolist() == shuffled.tolist()
    assert fast[0].tolist() == slow[0].tolist()
    assert (fast[2] != slow[2]).nnz == 0
    for name in ("offsets", "items", "times", "values", "rows"):
        ours, theirs = getattr(fast[1], name), getattr(slow[1], name)
        assert (ours is None) == (theirs is None)
        assert ours is None or ours.tolist() == theirs.tolist()


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 4))
def test_rising(values: list[int], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        assert rising(np.array(values, np.int64)) == (values == sorted(values))


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_mask_takes_what_positions_take(mask: list[bool]) -> None:
    n = len(mask)
    log = Interactions(np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32))
    taken = log.take(np.array(mask))
    assert taken.rows.tolist() == np.flatnonzero(mask).tolist()


def test_an_unbroken_stretch_is_not_copied() -> None:
    log = Interactions(np.arange(9, dtype=np.int32), np.arange(9, dtype=np.int32))
    assert np.shares_memory(log.take(log.rows >= 4).items, log.items)
    assert not np.shares_memory(log.take(log.rows % 2 == 0).items, log.items)
