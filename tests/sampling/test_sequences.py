"""Training windows hold every target once, with exactly what came before it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Interactions, Ragged, Vocabulary  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from oakum.sampling.sequences import (  # noqa: E402
    PAD,
    Sequences,
    count_prefixes,
    count_sequences,
    pad_left,
    prefixes,
    sequences,
)
from tests.oracles.sequences import Window, windows  # noqa: E402

ITEMS = 9


def dataset(lists: list[list[int]]) -> tuple[Dataset, list[list[tuple[int, int, int, float]]]]:
    """A log whose events lie in turn among the users, with times and values; and the same as plain lists."""
    turns = [(t, u) for u, items in enumerate(lists) for t in range(len(items))]
    turns.sort()
    users = np.array([u for _, u in turns], np.int32)
    items = np.array([lists[u][t] for t, u in turns], np.int32)
    times = np.arange(len(turns), dtype=np.int64) * 1_000 + 5
    values = (np.arange(len(turns)) % 5 + 1).astype(np.float32)
    ids = lambda letter, n: Vocabulary(pl.Series("id", [f"{letter}{k}" for k in range(n)]))
    data = Dataset(Interactions(users, items, values, times), ids("u", len(lists)), ids("i", ITEMS))
    plain: list[list[tuple[int, int, int, float]]] = [[] for _ in lists]
    for row, (_, u) in enumerate(turns):
        plain[u].append((int(items[row]), row, int(times[row]), float(values[row])))
    return data, plain


def read_back(batch: Sequences) -> list[Window]:
    """Every target of a batch with what stands before it."""
    out = []
    width = batch.inputs.shape[1]
    assert batch.times is not None
    assert batch.values is not None
    assert batch.target_times is not None
    for b in range(len(batch)):
        row, column = divmod(int(batch.place[b]), width)
        codes = batch.inputs[row, : column + 1].tolist()
        begin = next(k for k, c in enumerate(codes) if c != PAD)
        read = tuple(
            (codes[k], int(batch.times[row, k]), float(batch.values[row, k])) for k in range(begin, column + 1)
        )
        out.append(
            Window(read, int(batch.users[b]), int(batch.items[b]), int(batch.rows[b]), int(batch.target_times[b]))
        )
    return out


LOGS = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=9), min_size=1, max_size=8).filter(any)


@settings(max_examples=150, deadline=None)
@given(lists=LOGS, max_length=st.integers(1, 6), size=st.integers(1, 5), targets=st.sampled_from(["each", "last"]))
def test_every_target_once_with_what_came_before(
    lists: list[list[int]], max_length: int, size: int, targets: str
) -> None:
    data, plain = dataset(lists)
    found = list(sequences(data, Order(3, "main", 0, size), max_length=max_length, targets=targets, wants=2))
    got = sorted((w for batch in found for w in read_back(batch)), key=lambda w: w.row)
    assert got == sorted(windows(plain, max_length, targets), key=lambda w: w.row)
    assert sum(batch.inputs.shape[0] for batch in found) == count_sequences(data)
    for batch in found:
        assert batch.wants == 2
        assert batch.inputs.shape[1] <= max_length
        pads = batch.inputs == PAD
        assert not (pads[:, 1:] & ~pads[:, :-1]).any()  # padding stands on the left and nowhere else
        assert not pads.all(0).any()  # no column is padding alone
        assert (batch.times[pads] == 0).all()
        assert (batch.values[pads] == 0).all()


def many(seed: int = 0, users: int = 400) -> tuple[Dataset, list[list[tuple[int, int, int, float]]]]:
    rng = np.random.default_rng(seed)
    lengths = np.minimum(2 + rng.geometric(0.12, users), 60)
    return dataset([rng.integers(0, ITEMS, n).tolist() for n in lengths])


def test_little_is_padded_and_batches_hold_about_the_same_number_of_targets() -> None:
    data, plain = many()
    found = list(sequences(data, Order(0, "main", 0, 32), max_length=50))
    cells = sum(batch.inputs.numel() for batch in found)
    targets = [len(batch) for batch in found]
    # Lengths alike to an eighth of an octave differ by 9 %; the batches where two classes meet pad a little more.
    assert cells < 1.2 * sum(targets)
    wished = 32 * np.mean([min(50, len(p) - 1) for p in plain])
    assert max(targets) <= wished + 50
    assert sorted(targets)[1] >= wished - 50  # one batch may hold what is left over
    assert abs(len(found) - 400 / 32) <= 2


def test_the_order_comes_from_seed_phase_and_epoch_alone() -> None:
    data, _ = many()
    rows = lambda order: [b.rows.tolist() for b in sequences(data, order, max_length=50)]
    first = rows(Order(0, "main", 0, 32))
    assert first == rows(Order(0, "main", 0, 32))
    for other in (Order(1, "main", 0, 32), Order(0, "second", 0, 32), Order(0, "main", 1, 32)):
        assert rows(other) != first


def test_lengths_come_mixed_over_the_epoch() -> None:
    data, _ = many()
    widths = [b.inputs.shape[1] for b in sequences(data, Order(0, "main", 0, 16), max_length=50)]
    assert widths != sorted(widths)
    assert widths != sorted(widths, reverse=True)


def test_without_one_user_the_others_keep_their_order() -> None:
    lists = [[k % ITEMS, (k + 1) % ITEMS, (k + 2) % ITEMS] for k in range(40)]
    data, _ = dataset(lists)
    log = data.interactions
    fewer = data.with_interactions(log.take(log.users != 7))
    whole, less = (
        [u for b in sequences(d, Order(0, "main", 0, 1000), max_length=5, targets="last") for u in b.users.tolist()]
        for d in (data, fewer)
    )
    assert [u for u in whole if u != 7] == less


def test_nothing_to_predict_gives_no_batch() -> None:
    data, _ = dataset([[1], [2], []])
    assert list(sequences(data, Order(0, "main", 0, 4), max_length=5)) == []
    assert count_sequences(data) == 0


def test_a_log_without_times_and_values_has_none_in_its_windows() -> None:
    ids = lambda n: Vocabulary(pl.Series("id", [f"x{k}" for k in range(n)]))
    log = Interactions(np.array([0, 0, 0], np.int32), np.array([1, 2, 0], np.int32))
    (batch,) = sequences(Dataset(log, ids(1), ids(3)), Order(0, "main", 0, 4), max_length=5)
    assert batch.times is None
    assert batch.values is None
    assert batch.inputs.tolist() == [[1, 2]]
    assert batch.items.tolist() == [2, 0]


def test_pad_left_keeps_the_latest() -> None:
    found = pad_left(Ragged.of([[1, 2, 3, 4], [5], []]), 3)
    np.testing.assert_array_equal(found, [[2, 3, 4], [PAD, PAD, 5], [PAD, PAD, PAD]])


@settings(max_examples=150, deadline=None)
@given(LOGS, st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_prefixes_hold_every_target_once_with_its_past_or_with_all_others(
    lists: list[list[int]], max_length: int, batch_size: int, around: bool
) -> None:
    data, plain = dataset(lists)
    found = []
    for batch in prefixes(data, Order(3, "main", 1, batch_size), max_length=max_length, around=around):
        assert len(batch.inputs) == len(batch)
        assert (batch.inputs >= 0).any(1).all()
        found += read_back(batch)
    expected = []
    for user, events in enumerate(plain):
        for at, (item, row, time, _) in enumerate(events):
            others = events[:at] + (events[at + 1 :] if around else [])
            if others:
                read = tuple((i, t, v) for i, _, t, v in others[-max_length:])
                expected.append(Window(read, user, item, row, time))
    assert sorted(found, key=lambda w: w.row) == sorted(expected, key=lambda w: w.row)
    assert count_prefixes(data, around=around) == len(expected)


def test_deleting_a_row_leaves_the_order_of_other_prefixes() -> None:
    data, _ = dataset([[1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [3, 4, 5, 6, 7]])
    log = data.interactions
    last = log.rows.max()
    fewer = data.with_interactions(log.take(log.rows != last))
    rows = lambda d: [int(r) for b in prefixes(d, Order(0, "main", 0, 1), max_length=1) for r in b.rows]
    assert len(rows(data)) == 12
    inside = lambda d: [int(r) for b in prefixes(d, Order(0, "main", 0, 100), max_length=1) for r in b.rows]
    assert [r for r in inside(data) if r != last] == inside(fewer)
