"""Views in line: what a batch says was known before an event, against a loop over the log."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.data import item_domain  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from oakum.sampling.cross_domain import VIEWS, aligned, count_aligned, windows  # noqa: E402
from oakum.sampling.sequences import alike  # noqa: E402
from tests.oracles.cross_domain import known_before  # noqa: E402
from tests.toys import beside, log_of, random_log  # noqa: E402


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 9), st.booleans())
def test_what_was_known_before_each_event(seed: int, length: int, size: int, swapped: bool) -> None:
    rng = np.random.default_rng(seed)
    events = int(rng.integers(1, 120))
    pairs = [(int(u), int(i)) for u, i in zip(rng.integers(0, 7, events), rng.integers(0, 11, events), strict=True)]
    data = log_of(pairs, 7, 11, times=rng.integers(0, 30, events).tolist())
    sides = rng.integers(0, 3, 11).astype(np.int8)  # some items of neither
    if swapped:
        sides[sides > 0] = 3 - sides[sides > 0]
    expected = known_before(data, sides, length)
    found, sequences = {}, 0
    for batch in aligned(data, sides, Order(seed, "joint", 0, size), max_length=length):
        sequences += len(batch.mix)
        assert batch.last.sum() == len(batch.mix)
        for r in range(len(batch)):
            seen = []
            for view, until in zip(VIEWS, batch.known[r], strict=True):
                window = getattr(batch, view)[batch.sequence[r]]
                seen.append([int(i) for i in window[:until] if i >= 0])
            found[int(batch.rows[r])] = tuple(seen)
            assert int(batch.slot[r]) == sum(int(b) == int(batch.sequence[r]) for b in batch.sequence[:r])
    assert found == expected
    assert sequences == count_aligned(data, sides)


def test_owners_items_and_the_latest_prediction() -> None:
    data = beside(random_log(events=200))
    sides = np.where(item_domain(data) == 0, 1, 2).astype(np.int8)
    log = data.interactions
    for batch in aligned(data, sides, Order(1, "joint", 0, 8), max_length=50):
        order = np.argsort(log.rows)
        at = np.searchsorted(log.rows[order], batch.rows.numpy())
        np.testing.assert_array_equal(log.users[order][at], batch.users.numpy())
        np.testing.assert_array_equal(log.items[order][at], batch.items.numpy())
        for user, item in zip(batch.users[batch.last].tolist(), batch.items[batch.last].tolist(), strict=True):
            history = data.histories.row(user)
            assert history[sides[history] == 1][-1] == item


def test_no_event_of_the_target_gives_no_batch() -> None:
    data = log_of([(0, 0), (0, 1), (1, 2)], 2, 3)
    sides = np.array([2, 2, 1], np.int8)  # the only event of the target is a user's first
    assert list(aligned(data, sides, Order(0, "joint", 0, 4), max_length=5)) == []
    assert count_aligned(data, sides) == 0


def test_windows_of_histories() -> None:
    data = log_of([(0, 0), (0, 1), (0, 2), (0, 1), (1, 2)], 3, 3)
    mix, source, target = windows(data.histories, np.array([1, 2, 0], np.int8), 2)
    assert mix.tolist() == [[1, 1], [-1, -1], [-1, -1]]
    assert source.tolist() == [[1, 1], [-1, -1], [-1, -1]]
    assert target.tolist() == [[0], [-1], [-1]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 60), min_size=1, max_size=60), st.integers(1, 20))
def test_users_of_a_batch_are_alike(lengths: list[int], size: int) -> None:
    sizes = np.array(lengths)
    groups = list(alike(np.arange(len(sizes)), sizes, sizes - 1, Order(0, "x", 0, size)))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    ranges = sorted((sizes[g].min(), sizes[g].max()) for g in groups)
    assert all(low[1] <= high[0] * 1.2 for low, high in pairwise(ranges))
