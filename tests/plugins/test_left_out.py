"""Taking events out of batches gives the histories of a log without them, and touches nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from oakum.claims.lists import in_time_order  # noqa: E402
from oakum.plugins.left_out import LeftOut  # noqa: E402
from oakum.sampling.batches import Negatives, Order, pairs  # noqa: E402
from oakum.sampling.bundles import bundles  # noqa: E402
from oakum.sampling.sequences import sequences  # noqa: E402
from tests.toys import random_log  # noqa: E402


def questions(batch: Any) -> dict[int, tuple[list[int], int]]:
    """Target row -> (history before it, item)."""
    width, flat = batch.inputs.shape[1], batch.inputs.flatten().tolist()
    out = {}
    for row, place, item in zip(batch.rows.tolist(), batch.place.tolist(), batch.items.tolist(), strict=True):
        out[row] = ([i for i in flat[place - place % width : place + 1] if i >= 0], item)
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_histories_close_up_as_if_the_events_had_never_been(seed: int, count: int) -> None:
    data = random_log()
    log = data.interactions
    gone = np.random.default_rng(seed).choice(log.rows, count, replace=False)
    plugin: Any = LeftOut(rows=tuple(int(r) for r in gone)).build(None)
    run: Any = SimpleNamespace(data=data, memo={})
    less = data.with_interactions(log.without(gone))
    order = Order(1, "main", 0, 8)
    wanted = {k: v for b in sequences(less, order, max_length=100) for k, v in questions(b).items()}
    found: dict[int, Any] = {}
    for batch in sequences(data, order, max_length=100):
        before = batch.inputs.clone()
        acted = plugin.batch(run, batch)
        assert torch.equal(batch.inputs, before)  # nothing is changed in place
        assert len(acted.rows) == len(acted.users) == len(acted.place) == len(acted.target_times)
        untouched = ~np.isin(acted.users.numpy(), log.users[np.isin(log.rows, gone)])
        plain = {r: q for r, q in questions(batch).items()}
        for row, same in zip(acted.rows.tolist(), untouched, strict=True):
            if same:
                assert questions(acted)[row] == plain[row]
        found.update(questions(acted))
    assert found == wanted


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_a_window_a_target_loses_the_events_in_all_of_them(seed: int, count: int) -> None:
    data = random_log()
    gone = np.random.default_rng(seed).choice(data.interactions.rows, count, replace=False)
    plugin: Any = LeftOut(rows=tuple(int(r) for r in gone)).build(None)
    less = data.with_interactions(data.interactions.without(gone))
    order = Order(1, "main", 0, 64)
    wanted = {k: v for b in in_time_order(less, order, 100) for k, v in questions(b).items()}
    run: Any = SimpleNamespace(data=data, memo={})
    found = [questions(plugin.batch(run, b)) for b in in_time_order(data, order, 100)]
    assert {k: v for q in found for k, v in q.items()} == wanted


def test_pairs_and_their_negatives_lose_the_rows() -> None:
    data = random_log()
    plugin: Any = LeftOut(rows=(3, 40)).build(None)
    for batch in pairs(data, Order(1, "main", 0, 64)):
        batch.negatives = Negatives(torch.arange(len(batch))[:, None], torch.zeros(len(batch), 1))
        acted = plugin.batch(SimpleNamespace(data=data, memo={}), batch)
        kept = ~torch.isin(batch.rows, torch.tensor([3, 40]))
        assert torch.equal(acted.users, batch.users[kept])
        assert acted.negatives is not None
        assert torch.equal(acted.negatives.items[:, 0], torch.arange(len(batch))[kept])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60))
def test_bundles_lose_the_items_that_only_these_events_gave_them(seed: int, count: int) -> None:
    data = random_log(events=150)  # some pairs occur twice
    gone = np.random.default_rng(seed).choice(data.interactions.rows, count, replace=False)
    plugin: Any = LeftOut(rows=tuple(int(r) for r in gone)).build(None)
    run: Any = SimpleNamespace(data=data, memo={})
    less = data.with_interactions(data.interactions.without(gone)).matrix
    wanted = {u: set(row.indices.tolist()) for u, row in enumerate(less) if len(row.indices) >= 2}
    found: dict[int, set[int]] = {}
    for batch in bundles(data, Order(1, "main", 0, 64), max_size=100):
        acted = plugin.batch(run, batch)
        assert len(acted.rows) == len(acted.users) == len(acted.members)
        held = [[i for i in row if i >= 0] for row in acted.members.tolist()]
        found.update({u: set(row) for u, row in zip(acted.users.tolist(), held, strict=True)})
    assert found == wanted
