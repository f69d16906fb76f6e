"""The order of rows under a key against a plain sort of their hashes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.kernels.shuffle import FEW, _by_hash, shuffled
from oakum.seeds import keyed_hash


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 2**62), max_size=300), st.integers(0, 2**63 - 1))
def test_the_order_is_that_of_the_hashes(rows: list[int], key: int) -> None:
    ids = np.array(rows, np.int64)
    want = np.argsort(keyed_hash(key, ids), kind="stable")
    np.testing.assert_array_equal(_by_hash(np.uint64(key), ids), want)
    np.testing.assert_array_equal(shuffled(key, ids), want)


def test_many_rows_and_ids_that_come_twice() -> None:
    ids = np.concatenate([np.arange(3 * FEW), np.arange(0, FEW, 3)]).astype(np.int32)
    np.testing.assert_array_equal(shuffled(77, ids), np.argsort(keyed_hash(77, ids), kind="stable"))
