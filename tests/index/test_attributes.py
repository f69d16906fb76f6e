"""Filters over item columns against plain Python over the rows."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.errors import ParameterError
from oakum.index.attributes import All, AnyOf, Attributes, Between, Condition, Is, Not, condition_of

ROWS: list[dict[str, Any]] = [
    {"kind": k, "year": y, "price": p, "tags": t, "new": n}
    for k, y, p, t, n in [
        ("a", 1990, 2.5, ["x", "y"], True), ("b", 1991, None, [], False), (None, 1991, 7.0, ["y"], None),
        ("a", None, 7.0, None, True), ("c", 2001, float("nan"), ["z", "x"], False), ("b", 2001, 0.0, ["x", "x"], True),
        ("a", 1985, -1.0, ["w"], False),
    ]
]  # fmt: skip


def fulfils(row: dict[str, Any], c: Condition) -> bool:
    match c:
        case Is(column, value):
            own = row[column]
            return value in own if isinstance(own, list) else own is not None and own == value
        case Between(column, low, high):
            own = row[column]
            return own is not None and own == own and (low is None or own >= low) and (high is None or own <= high)
        case All(parts):
            return all(fulfils(row, p) for p in parts)
        case AnyOf(parts):
            return any(fulfils(row, p) for p in parts)
        case Not(part):
            return not fulfils(row, part)
    raise AssertionError


leaves = st.one_of(
    st.builds(Is, st.just("kind"), st.sampled_from(["a", "b", "c", "none such"])),
    st.builds(Is, st.just("tags"), st.sampled_from(["x", "y", "z", "q"])),
    st.builds(Is, st.just("new"), st.booleans()),
    st.builds(Is, st.just("year"), st.sampled_from([1990, 1991, 3000])),
    st.builds(Between, st.just("year"), st.none() | st.integers(1980, 2005), st.none() | st.integers(1980, 2005)),
    st.builds(Between, st.just("price"), st.none() | st.floats(-2, 8), st.none() | st.floats(-2, 8)),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(conditions)
def test_filters_are_what_the_rows_say(condition: Condition) -> None:
    own = Attributes(pl.DataFrame(ROWS))
    wanted = [fulfils(row, condition) for row in ROWS]
    assert own.select(condition).tolist() == wanted
    assert own.count(condition) == sum(wanted)
    low, high = own.bounds(condition)
    assert low <= sum(wanted) <= high
    made = own.filter(condition)
    assert made.allow is not None
    np.testing.assert_array_equal(made.allow, np.flatnonzero(wanted))
    assert not made.allow.flags.writeable


def test_operators_text_sets_and_times() -> None:
    table = pl.DataFrame(
        {
            "genres": ["Comedy|Drama", "Drama", None, ""],
            "places": ["Bars, Food", "Food", "Bars", ""],
            "day": [date(2020, 1, 1), date(2021, 1, 1), None, date(2019, 5, 5)],
        }
    )
    own = Attributes(table, sets={"places": ","})
    assert own.select(Is("genres", "Drama") & ~Is("places", "Bars")).tolist() == [False, True, False, False]
    assert own.select(Is("places", "Food") | Is("places", "Bars")).tolist() == [True, True, True, False]
    assert own.count(Between("day", date(2019, 1, 1), date(2020, 12, 31))) == 2
    assert own.values("genres") == ["Drama", "Comedy"]


def test_conditions_from_json() -> None:
    text = {"all": [{"is": ["kind", "a"]}, {"not": {"between": ["year", None, 1990]}}, {"any": []}]}
    made = condition_of(text)
    assert made == All((Is("kind", "a"), Not(Between("year", None, 1990)), AnyOf(())))
    deep: Any = {"is": ["kind", "a"]}
    for _ in range(40):
        deep = {"not": deep}
    for wrong in (
        deep,
        {"is": ["kind"]},
        {"is": "kind"},
        {"between": ["year", [], 3]},
        [],
        "x",
        {"all": 3},
        {"is": [1, 2]},
    ):
        with pytest.raises(ParameterError):
            condition_of(wrong)


def test_mistakes_are_said() -> None:
    own = Attributes(pl.DataFrame(ROWS))
    with pytest.raises(ParameterError, match="Did you mean 'price'"):
        own.select(Is("prise", 1))
    with pytest.raises(ParameterError, match="has no order"):
        own.select(Between("kind", "a", "b"))
    with pytest.raises(ParameterError, match="cannot be compared"):
        own.select(Between("year", "abc", None))
    with pytest.raises(ParameterError, match="no column 'genre'"):
        Attributes(pl.DataFrame(ROWS), sets={"genre": "|"})
