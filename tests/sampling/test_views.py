"""What is replaced in histories: as much as was asked, never padding, never by the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from oakum.sampling.views import other_within, replaced, some_rows  # noqa: E402


@settings(max_examples=30, deadline=None)
@given(b=st.integers(1, 12), t=st.integers(1, 6), n=st.integers(1, 8), seed=st.integers(0, 99))
def test_exactly_so_many_valid_events_of_the_chosen_rows_change(b: int, t: int, n: int, seed: int) -> None:
    torch.manual_seed(seed)
    lengths = torch.randint(0, t + 1, (b,))
    there = torch.arange(t) >= t - lengths[:, None]
    items = torch.randint(0, 5, (b, t))
    rows = some_rows(lengths > 0, 0.5)
    assert int(rows.sum()) == int((lengths > 0).sum()) // 2
    assert not (rows & (lengths == 0)).any()
    out = replaced(items, there, rows, n, lambda old: (old + 1) % 5)
    changed = out != items
    assert torch.equal(changed.sum(1), torch.where(rows, lengths.clamp_max(n), torch.zeros_like(lengths)))
    assert not (changed & ~there).any()


def test_every_place_and_every_row_may_be_chosen() -> None:
    torch.manual_seed(0)
    items, there = torch.zeros(4000, 5, dtype=torch.long), torch.ones(4000, 5, dtype=torch.bool)
    rows = some_rows(torch.ones(4000, dtype=torch.bool), 0.5)
    share = replaced(items, there, rows, 1, lambda old: old + 1).sum(0) / 2000
    assert ((share > 0.15) & (share < 0.25)).all()


def test_others_are_uniform_within_the_group_and_never_the_same() -> None:
    torch.manual_seed(0)
    group = torch.tensor([0, 1, 0, 1, 0, 2])
    order = torch.argsort(group, stable=True)
    size = torch.bincount(group)
    start = size.cumsum(0) - size
    items = torch.arange(6).repeat(3000)
    found = other_within(order, start, size, group, items).view(3000, 6)
    assert (found != torch.arange(6)).all()
    assert set(found[:, 0].tolist()) == {2, 4}
    assert set(found[:, 1].tolist()) == {3}
    assert set(found[:, 5].tolist()) == {0, 1, 2, 3, 4}  # alone in its group: any other item
    counts = torch.bincount(found[:, 5], minlength=5)[:5]
    assert ((counts > 480) & (counts < 720)).all()
