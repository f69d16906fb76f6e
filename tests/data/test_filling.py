"""Columns filled batch by batch against a table that is held whole; rows with faulty cells left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data import filling
from oakum.data.coding import as_ids
from oakum.data.filling import IdColumn, merged
from oakum.data.read import read, read_parts
from oakum.data.validate import check
from oakum.errors import DataError, ParameterError

whole_numbers = st.one_of(
    st.integers(-5, 60),
    st.integers(0, 2**20),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**31, -(2**31), 2**62]),
)
words = st.text(st.characters(codec="utf-8"), max_size=20)
columns = st.one_of(
    st.lists(st.one_of(st.none(), whole_numbers), min_size=1, max_size=60).map(lambda v: pl.Series(v, dtype=pl.Int64)),
    st.lists(st.one_of(st.none(), words), min_size=1, max_size=60).map(lambda v: pl.Series(v, dtype=pl.String)),
    st.lists(st.integers(0, 99).map(str), min_size=1, max_size=60).map(pl.Series),
    st.lists(st.integers(0, 255), min_size=1, max_size=60).map(lambda v: pl.Series(v, dtype=pl.UInt8)),
    st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=9).map(pl.Series),
)


@given(columns, st.integers(1, 9), st.sampled_from([0, 4, 1000]), st.sampled_from([2, 1 << 23]), st.data())
@settings(max_examples=200, deadline=None)
def test_codes_are_places_in_the_sorted_distinct_ids(
    column: pl.Series, batch: int, few: int, span: int, data: st.DataObject
) -> None:
    left_out = np.array(data.draw(st.lists(st.integers(0, len(column) - 1), max_size=3, unique=True)), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "MANY", few)
        patch.setattr(filling, "_SPAN", span)
        patch.setattr(filling, "_BLOCK", 7)
        ids = IdColumn(3)
        for start in range(0, len(column), batch):
            ids.add(column.slice(start, batch))
        codes, known = ids.finish(left_out)
    cells: list[Any] = as_ids(column).to_list()
    cells = [None if r in left_out else cell for r, cell in enumerate(cells)]
    expected = sorted({c for c in cells if c is not None}, key=lambda v: v if isinstance(v, int) else v.encode())
    assert known.to_list() == expected
    assert codes.tolist() == [-1 if c is None else expected.index(c) for c in cells]


def test_a_vocabulary_of_several_tables() -> None:
    first = (np.array([0, 1, -1], np.int32), pl.Series([5, 9]))
    second = (np.array([1, 0], np.int32), pl.Series([7, 9]))
    codes, ids = merged([first, second])
    assert ids.to_list() == [5, 7, 9]
    assert [c.tolist() for c in codes] == [[0, 2, -1], [2, 1]]
    _, mixed = merged([(first[0].copy(), first[1]), (second[0], pl.Series(["9", "a"]))])
    assert mixed.to_list() == ["5", "9", "a"]


def many(n: int = 5000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user_id": rng.integers(0, 50, n) * 10**12,
            "item_id": [f"item {i}" for i in rng.integers(0, 90, n)],
            "rating": rng.integers(1, 6, n).astype(float),
            "timestamp": rng.integers(1_500_000_000, 1_600_000_000, n),
            "device": rng.choice(["web", "app", ""], n),
        }
    )


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("few", [0, 10**9])
def test_batches_give_what_the_frame_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, few: int
) -> None:
    frame, path = many(), tmp_path / f"log.{ending}"
    {
        "csv": frame.write_csv,
        "parquet": lambda p: frame.write_parquet(p, row_group_size=700),
        "jsonl": frame.write_ndjson,
    }[ending](path)
    whole = read(frame)
    monkeypatch.setattr(filling, "MANY", few)
    data = read(path)
    assert data.digest == whole.digest
    assert data.users.ids.to_list() == sorted(set(frame["user_id"].to_list()))
    assert data.interactions.fields["device"].tolist() == frame["device"].to_list()


@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64, pl.Float32, pl.Datetime("ms"), pl.Date, pl.UInt64, pl.String])
def test_times_of_every_type(kind: Any) -> None:
    seconds = pl.Series("t", [1_209_600_000, 1_296_000_000, 1_252_800_000])  # whole days
    moments = (seconds * 1000).cast(pl.Datetime("ms")) if kind in (pl.Datetime("ms"), pl.Date) else seconds
    frame = pl.DataFrame({"user": [1, 2, 2], "item": [1, 1, 2], "time": moments.cast(kind)})
    times = read(frame).interactions.times
    assert times is not None
    assert np.allclose(times, seconds.to_numpy() * 1_000_000, atol=0 if kind != pl.Float32 else 1e8)


def bad_rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": [1, None, 2, 3, 2, 77, 1],
            "item": ["a", "b", None, "c", "c", "z", "b"],
            "rating": ["1", "2", "3", "x", "5", None, "inf"],
            "time": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06", "2024-01-07"],
        }
    )


@pytest.mark.parametrize("few", [0, 1000])
def test_faulty_rows_can_be_left_out_and_it_is_said(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(filling, "MANY", few)
    with pytest.raises(DataError, match=r"row 2.*'user': the user id is missing.*on_bad='drop'"):
        read(bad_rows())
    data = read(bad_rows(), on_bad="drop")
    assert data.interactions.rows.tolist() == [0, 4]
    assert data.users.ids.to_list() == [1, 2]
    assert data.items.ids.to_list() == ["a", "c"]
    assert data.interactions.values is not None
    assert data.interactions.values.tolist() == [1.0, 5.0]
    (note,) = [n for n in data.notes if "Left out 5 of 7 rows" in n]
    for part in (
        "'user': the user id is missing (row 2)",
        "'item': the item id is missing (row 3)",
        "found 'x'",
        "(row 4)",
    ):
        assert part in note


def test_a_file_with_times_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\n1,5,100\n2,6,soon\n1,6,\n2,6,300\n")
    with pytest.raises(DataError, match=r"'soon' is no time"):
        read(path)
    data = read(path, on_bad="drop")
    assert data.interactions.rows.tolist() == [0, 3]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [100_000_000, 300_000_000]


def test_nothing_is_left_where_every_row_is_faulty() -> None:
    frame = pl.DataFrame({"user": [None, None], "item": [1, 2]}, schema={"user": pl.Int64, "item": pl.Int64})
    with pytest.raises(DataError, match="No row is left"):
        read(frame, on_bad="drop")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ParameterError, match="'refuse' or 'drop'"):
        read(bad_rows(), on_bad="fill")


def test_published_parts_drop_too() -> None:
    train = pl.DataFrame({"user": [1, None, 2], "item": [5, 6, 6]})
    test = pl.DataFrame({"user": [1, 2], "item": [None, 5]})
    data, held, _ = read_parts(train, test, on_bad="drop")
    assert data.interactions.rows.tolist() == [0, 2]
    assert held.rows.tolist() == [4]


def test_check_names_the_faults_of_all_columns() -> None:
    found = [i for i in check(bad_rows()) if i.level == "error"]
    assert [i.column for i in found] == ["user", "item", "rating"]
    assert [(i.row, i.count) for i in found] == [(2, 1), (3, 1), (4, 1)]
