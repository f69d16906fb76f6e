"""Who had what, counted: the same on either side of the size that decides how."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data import Dataset, Interactions, Vocabulary, interactions


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=40), st.booleans())
def test_distinct_users_of_an_item_are_counted_as_in_sets(events: list[tuple[int, int]], large: bool) -> None:
    users, items = (np.array([e[side] for e in events], np.int32) for side in (0, 1))
    data = Dataset(Interactions(users, items), Vocabulary.of(range(6)), Vocabulary.of(range(9)))
    with patch.object(interactions, "MANY", 0 if large else interactions.MANY):
        assert data.matrix.nnz == len(set(events))
        assert data.item_counts.tolist() == [len({u for u, i in events if i == item}) for item in range(9)]
    assert data.item_counts.dtype == np.int64
