"""Batches of bundles, and random parts of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from oakum.data import Ragged  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from oakum.sampling.bundles import bundles, count_bundles, padded, sets_of  # noqa: E402
from oakum.sampling.views import some_of  # noqa: E402
from tests.toys import log_of  # noqa: E402

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=12)


@given(ROWS)
@settings(max_examples=40, deadline=None)
def test_sets_and_padding_are_those_of_plain_python(rows: list[list[int]]) -> None:
    sets = sets_of(Ragged.of(rows), 10)
    laid = padded(sets)
    for r, row in enumerate(rows):
        wanted = sorted(set(row))
        assert sets.row(r).tolist() == wanted
        assert laid[r].tolist() == wanted + [-1] * (laid.shape[1] - len(wanted))


@given(ROWS, st.integers(2, 5), st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_bundle_of_two_or_more_comes_once_an_epoch(
    rows: list[list[int]], size: int, batch: int, epoch: int
) -> None:
    pairs = [(b, i) for b, row in enumerate(rows) for i in row] or [(0, 0)]
    data = log_of(pairs, len(rows), 10)
    held = {b: {i for u, i in pairs if u == b} for b in range(len(rows))}
    seen: dict[int, set[int]] = {}
    for part in bundles(data, Order(1, "main", epoch, batch), max_size=size):
        assert len(part) <= batch
        assert (data.interactions.users[part.rows.numpy()] == part.users.numpy()).all()
        for b, items in zip(part.users.tolist(), part.members.tolist(), strict=True):
            assert b not in seen
            kept = [i for i in items if i >= 0]
            assert len(kept) == len(set(kept)) == min(size, len(held[b]))
            assert set(kept) <= held[b]
            seen[b] = set(kept)
    assert set(seen) == {b for b, items in held.items() if len(items) >= 2}
    assert len(seen) == count_bundles(data)


def test_random_parts_have_the_asked_size_and_differ() -> None:
    torch.manual_seed(0)
    there = torch.rand(200, 9) < 0.7
    there[:, 0] = True
    count = 1 + (torch.rand(200) * there.sum(1)).long().clamp_max(there.sum(1) - 1)
    kept = some_of(there, count)
    assert (kept.sum(1) == count).all()
    assert not (kept & ~there).any()
    share = torch.stack([some_of(torch.ones(500, 4, dtype=torch.bool), torch.full((500,), 2)) for _ in range(4)])
    np.testing.assert_allclose(share.float().mean((0, 1)), 0.5, atol=0.06)
