"""Places among close numbers against NumPy's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data.marks import places


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=80), st.integers(0, 200), st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_places_are_those_of_the_sorted_distinct_numbers(values: list[int], below: int, above: int) -> None:
    numbers = np.array(values, np.int32)
    distinct, expected = np.unique(numbers, return_inverse=True)
    found = places(numbers, min(values) - below, max(values) + above)
    assert found.tolist() == distinct.tolist()
    assert numbers.tolist() == expected.tolist()
