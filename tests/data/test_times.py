"""Times: every unit and form of one moment gives the same microseconds."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data.times import microseconds

MOMENT = 1_714_564_800  # 2024-05-01T12:00:00Z
DAY = 1_714_521_600


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        (MOMENT, MOMENT),
        (MOMENT * 10**3, MOMENT),
        (MOMENT * 10**6, MOMENT),
        (MOMENT * 10**9, MOMENT),
        (float(MOMENT), MOMENT),
        (float(MOMENT) * 1e3, MOMENT),
        (str(MOMENT), MOMENT),
        (f"{MOMENT}.0", MOMENT),
        ("2024-05-01", DAY),
        ("2024/05/01", DAY),
        (20240501, DAY),
        ("20240501", DAY),
        ("2024-05-01T12:00:00", MOMENT),
        ("2024-05-01 12:00:00", MOMENT),
        ("2024-05-01T12:00", MOMENT),
        ("2024-05-01T12:00:00Z", MOMENT),
        ("2024-05-01T12:00:00.000Z", MOMENT),
        ("2024-05-01T14:00:00+02:00", MOMENT),
        ("2024-05-01 14:00:00+0200", MOMENT),
        ("2024/05/01 12:00:00", MOMENT),
        (date(2024, 5, 1), DAY),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), MOMENT),
    ],
)
def test_one_moment_in_every_dress(cell: object, seconds: int) -> None:
    out, _ = microseconds(pl.Series("t", [cell, cell]))
    assert out.to_list() == [seconds * 1_000_000] * 2


def test_mixed_forms_in_one_column() -> None:
    out, _ = microseconds(pl.Series("t", ["2024-05-01", "2024-05-01T12:00:00Z", "soon", None]))
    assert out.to_list() == [DAY * 10**6, MOMENT * 10**6, None, None]


def test_a_counter_is_seconds_and_says_so() -> None:
    out, note = microseconds(pl.Series("t", [0, 5, 1]))
    assert out.to_list() == [0, 5_000_000, 1_000_000]
    assert "counter" in note


def test_bad_cells_among_numbers_are_null() -> None:
    out, _ = microseconds(pl.Series("t", ["12", "13", "noon"]))
    assert out.to_list() == [12_000_000, 13_000_000, None]


def test_not_finite_is_no_time() -> None:
    out, _ = microseconds(pl.Series("t", [1.5, float("nan"), float("inf")]))
    assert out.to_list() == [1_500_000, None, None]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_order_of_whole_numbers_is_kept(values: list[int]) -> None:
    out, _ = microseconds(pl.Series("t", values, dtype=pl.Int64))
    assert out.null_count() == 0
    ranked = [t for _, t in sorted(zip(values, out.to_list(), strict=True))]
    assert ranked == sorted(ranked)


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_iso_text_means_what_the_standard_library_means(values: list[datetime]) -> None:
    out, _ = microseconds(pl.Series("t", [v.isoformat() for v in values]))
    epoch = datetime(1970, 1, 1)
    assert out.to_list() == [round((v - epoch).total_seconds() * 1e6) for v in values] or [
        abs(o - (v - epoch).total_seconds() * 1e6) < 20 for o, v in zip(out.to_list(), values, strict=True)
    ] == [True] * len(values)
