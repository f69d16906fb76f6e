"""Writing a log: what comes back is what went in, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oakum.data.convert import ENDINGS, convert
from oakum.data.dataset import Dataset
from oakum.data.read import read
from oakum.errors import DataError, ParameterError

SECONDS = st.integers(0, 2_000_000_000)
EVENTS = st.lists(
    st.tuples(st.integers(-3, 9), st.integers(0, 9), st.integers(1, 10), SECONDS), min_size=4, max_size=30
)


def log_of(rows: list[tuple[int, int, int, int]], unit: int = 1) -> Dataset:
    whole = [*rows, (100, 100, 1, 0), (101, 101, 2, 1)]
    frame = pl.DataFrame(whole, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")
    return read(frame.with_columns(pl.col("timestamp") * unit + 10**9 * unit))


@given(EVENTS, st.sampled_from([e for e in ENDINGS if e != ".txt"]), st.sampled_from([1, 1_000_003]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_table_form_returns_the_same_log(
    tmp_path: Path, rows: list[tuple[int, int, int, int]], ending: str, unit: int
) -> None:
    data = log_of(rows, unit)
    assert read(convert(data, tmp_path / f"log{ending}")).digest == data.digest


@given(EVENTS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_user_a_line_keeps_every_history(tmp_path: Path, rows: list[tuple[int, int, int, int]]) -> None:
    data = log_of(rows)
    back = read(convert(data, tmp_path / "log.txt"), format="lines")
    assert back.users.ids.to_list() == data.users.ids.to_list()
    for user in range(data.num_users):
        expected = data.items.decode(data.histories.row(user))
        assert back.items.decode(back.histories.row(user)) == expected


def test_fields_and_text_ids_survive(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"user_id": ["a,b", 'c"d'], "item_id": ["x\ny", "=z"], "device": ["web", ""], "price": [1.5, 2.0]}
    )
    data = read(frame)
    for ending in (".csv", ".parquet", ".jsonl", ".arrow"):
        back = read(convert(data, tmp_path / f"log{ending}"))
        assert back.users.ids.to_list() == data.users.ids.to_list()
        assert back.items.ids.to_list() == data.items.ids.to_list()
        assert np.array_equal(back.interactions.fields["device"], data.interactions.fields["device"])


def test_ids_that_a_form_cannot_spell_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    data = read(pl.DataFrame({"user_id": ["a b", "c"], "item_id": ["x\ty", "z"]}))
    for ending, found in ((".txt", "'a b'"), (".inter", "'x\\\\ty'")):
        with pytest.raises(DataError, match=found):
            convert(data, tmp_path / f"log{ending}")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"Did you mean '\.parquet'"):
        convert(log_of([(1, 2, 3, 4)]), tmp_path / "log.parket")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(DataError, match="could not be written"):
        convert(log_of([(1, 2, 3, 4)]), tmp_path / "log.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]
