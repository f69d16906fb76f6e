"""Places for shares: they sum, and every prefix keeps the shares."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.kernels.allot import deal, largest_remainder


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(1, 60))
def test_places_sum_and_lie_next_to_the_shares(weights: list[float], n: int) -> None:
    w = np.array([weights])
    w = w / w.sum() if w.sum() > 1e-9 else np.zeros_like(w)
    places = largest_remainder(w, n)
    assert places.sum() == (n if w.any() else 0)
    assert (np.abs(places - w * n) < 1 + 1e-6).all()
    order = deal(w, places, n)[0]
    assert np.bincount(order[order >= 0], minlength=len(weights)).tolist() == places[0].tolist()
    if w.any():
        for length in range(1, n + 1):
            had = np.bincount(order[:length], minlength=len(weights))
            assert (np.abs(had - w[0] * length) < len(weights) / 2 + 1).all()


def test_by_hand() -> None:
    assert largest_remainder(np.array([[0.5, 0.3, 0.2]]), 4).tolist() == [[2, 1, 1]]
    assert deal(np.array([[0.7, 0.3]]), np.array([[7, 3]]), 10).tolist() == [[0, 1, 0, 0, 0, 1, 0, 0, 1, 0]]
