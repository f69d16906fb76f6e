"""The order of rows under a key against a plain sort of their hashes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.kernels._deal import by_hash
from oakum.kernels._deal import picked as pick
from oakum.kernels.shuffle import FEW, picked, shuffled
from oakum.seeds import keyed_hash


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 2**62), max_size=300), st.integers(0, 2**63 - 1))
def test_the_order_is_that_of_the_hashes(rows: list[int], key: int) -> None:
    ids = np.array(rows, np.int64)
    want = np.argsort(keyed_hash(key, ids), kind="stable")
    np.testing.assert_array_equal(by_hash(np.uint64(key), ids), want)
    np.testing.assert_array_equal(shuffled(key, ids), want)


def test_many_rows_and_ids_that_come_twice() -> None:
    ids = np.concatenate([np.arange(3 * FEW), np.arange(0, FEW, 3)]).astype(np.int32)
    np.testing.assert_array_equal(shuffled(77, ids), np.argsort(keyed_hash(77, ids), kind="stable"))


def test_rows_are_picked_alike_by_both() -> None:
    rng = np.random.default_rng(0)
    rows, users, items = np.arange(90)[::-1], *(rng.integers(0, 9, (2, 90)).astype(np.int32))
    at = rng.permutation(90)[:40]
    for few, many in zip(picked(at, rows, users, items), pick(at, rows, users, items), strict=True):
        assert few.dtype == many.dtype == np.int64
        np.testing.assert_array_equal(few, many)
