"""The language of filters against a slow evaluator of three-valued logic, and what it refuses."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data.expressions import DEEPEST, LONGEST, Expression
from oakum.errors import ParameterError

ROWS = [
    {"price": p, "stock": n, "kind": k, "tags": t, "new": b}
    for p, n, k, t, b in [
        (1.0, 3, "drum", ["red", "old"], True),
        (None, 0, "harp", [], False),
        (float("nan"), 7, None, ["red"], None),
        (20.5, -2, "drum", None, True),
        (10.0, 10, "fife or drum", ["blue"], False),
    ]
]
TABLE = pl.DataFrame(ROWS, schema={"price": pl.Float64, "stock": pl.Int64, "kind": pl.String, "tags": pl.List(pl.String), "new": pl.Boolean})  # fmt: skip
SIGNS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
Tree = tuple[Any, ...]


def slow(tree: Tree, row: dict[str, Any]) -> bool | None:
    """One row at a time; None is unknown."""
    kind, *rest = tree
    if kind == "not":
        found = slow(rest[0], row)
        return None if found is None else not found
    if kind in ("and", "or"):
        found = [slow(t, row) for t in rest]
        ends = kind == "or"
        return ends if ends in found else None if None in found else not ends
    value = row[rest[0]]
    value = None if isinstance(value, float) and np.isnan(value) else value
    if kind == "missing":
        return value is None
    if value is None:
        return None
    if kind == "truth":
        return bool(value)
    if kind == "in":
        return value in rest[1]
    if kind == "has":
        return rest[1] in value
    return bool(SIGNS[kind](value, rest[1]))


def spelt(tree: Tree) -> str:
    kind, *rest = tree
    if kind == "not":
        return f"not ({spelt(rest[0])})"
    if kind in ("and", "or"):
        return "(" + f" {kind} ".join(spelt(t) for t in rest) + ")"
    if kind == "missing":
        return f"{rest[0]} is missing"
    if kind == "truth":
        return str(rest[0])
    quoted = lambda v: f'"{v}"' if isinstance(v, str) else repr(v)
    if kind == "in":
        return f"{rest[0]} in [{', '.join(map(quoted, rest[1]))}]"
    if kind == "has":
        return f"{quoted(rest[1])} in {rest[0]}"
    return f"{rest[0]} {kind} {quoted(rest[1])}"


numbers = st.sampled_from([-2, 0, 1, 3, 7, 10, 20.5, 1e3])
kinds = st.sampled_from(["drum", "harp", "fife or drum", "x"])
tests = st.one_of(
    st.tuples(st.sampled_from(sorted(SIGNS)), st.sampled_from(["price", "stock"]), numbers),
    st.tuples(st.sampled_from(sorted(SIGNS)), st.just("kind"), kinds),
    st.tuples(st.just("in"), st.just("price"), st.lists(numbers, max_size=3)),
    st.tuples(st.just("in"), st.just("kind"), st.lists(kinds, max_size=3)),
    st.tuples(st.just("has"), st.just("tags"), st.sampled_from(["red", "blue", "x"])),
    st.tuples(st.just("missing"), st.sampled_from(["price", "kind", "tags", "new"])),
    st.tuples(st.just("truth"), st.just("new")),
)
trees = st.recursive(
    tests,
    lambda t: st.one_of(
        st.tuples(st.just("not"), t), st.tuples(st.just("and"), t, t), st.tuples(st.just("or"), t, t, t)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_masks_agree_with_the_slow_way(tree: Tree) -> None:
    empty_in = lambda t: (t[0] == "in" and not t[2]) or any(isinstance(x, tuple) and empty_in(x) for x in t[1:])
    expected = [slow(tree, row) is True for row in ROWS]
    found = Expression.parse(spelt(tree)).mask(TABLE).tolist()
    if not empty_in(tree):  # nothing is in an empty list, whatever it is: also what is missing
        assert found == expected, spelt(tree)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("5 <= price < 20.5", [4]),
        ("not not new", [0, 3]),
        ("kind == 'drum' or kind == \"harp\" and stock == 0", [0, 1, 3]),
        ("`kind` not in ['drum']", [1, 4]),
        ("price is not missing", [0, 3, 4]),
        ("true", [0, 1, 2, 3, 4]),
        ("stock > price", [0]),
        ("price in [1, 20.5]", [0, 3]),
        ('kind == "fife or drum"', [4]),
        ("not price < 5", [3, 4]),
    ],
)
def test_examples(text: str, chosen: list[int]) -> None:
    assert np.flatnonzero(Expression.parse(text).mask(TABLE)).tolist() == chosen


def test_dates_are_written_as_text() -> None:
    table = pl.DataFrame({"from": pl.Series(["2024-01-01", "2024-06-01", None]).str.to_date()})
    assert Expression.parse('from >= "2024-05-01"').mask(table).tolist() == [False, True, False]
    with pytest.raises(ParameterError, match="is no date"):
        Expression.parse('from >= "soon"').mask(table)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("price = 3", "Write == for"),
        ("prise < 3", "Did you mean 'price'"),
        ("kind < 3", "compares a number with the column 'kind', which is a text"),
        ("price", "not true or false"),
        ("tags == 'red'", '"a" in tags'),
        ("5 in tags", "hold texts"),
        ("price in kind", "holds no lists"),
        ("price in 5", "comes a list"),
        ("stock in ['a']", "compares a number with 'a'"),
        ("price <", "found the end"),
        ("(price < 3", r"expected '\)'"),
        ("price < 3 stock > 1", "'and', 'or' or the end"),
        ("__import__('os').system('x')", "means nothing|cannot be read"),
        ("price.__class__ == 1", "means nothing there"),
        ("", "found the end"),
        ("kind == 'drum", "means nothing there"),
        ("(" * (DEEPEST + 1) + "new" + ")" * (DEEPEST + 1), "nests more than"),
        ("new or " * LONGEST, "characters"),
    ],
)
def test_refusals_are_sentences(text: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Expression.parse(text).mask(TABLE)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(["price", "kind", "tags", "new", "<", "==", "in", "[", "]", "(", ")", "and", "or", "not", "is", "missing", "5", "'a'", ","]), max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_applied_or_refused_in_words(text: str) -> None:
    try:
        mask = Expression.parse(text).mask(TABLE)
    except ParameterError:
        return
    assert mask.dtype == bool
    assert len(mask) == len(TABLE)


def test_long_flat_filters_are_cheap() -> None:
    assert Expression.parse(" or ".join(["new"] * 500)).mask(TABLE).tolist() == [True, False, False, True, False]
