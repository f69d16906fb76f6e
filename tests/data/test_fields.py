"""Columns become slots: the vocabulary is that of the training rows, in any order of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data.fields import MISSING, UNKNOWN, Coder, FieldCoder, Layout, kind_of
from oakum.errors import DataError, ParameterError

cells = st.lists(st.sampled_from(["a", "b", "c", "dd", "", None, "é"]), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(cells, cells, st.integers(1, 3))
def test_a_category_is_what_a_dictionary_says(train: list[Any], asked: list[Any], least: int) -> None:
    coder = FieldCoder.learn("x", pl.Series(train, dtype=pl.String), kind="categorical", min_count=least)
    kept = sorted(v for v in {*train} - {"", None} if train.count(v) >= least)
    slow = {v: 2 + i for i, v in enumerate(sorted(kept, key=lambda w: w.encode()))}
    codes, values = coder.encode(pl.Series(asked, dtype=pl.String))
    wanted = [MISSING if v in ("", None) else slow.get(v, UNKNOWN) for v in asked]
    assert codes[:, 0].tolist() == wanted
    assert (values == 1).all()
    assert coder.size.rows == 2 + len(kept)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), min_size=1, max_size=20),
    st.lists(st.lists(st.sampled_from("abcdefxy"), max_size=5), min_size=1, max_size=20),
)
def test_a_list_averages_its_known_members(train: list[list[str]], asked: list[list[str]]) -> None:
    coder = FieldCoder.learn("x", pl.Series(train, dtype=pl.List(pl.String)), kind="multi", min_count=1)
    codes, values = coder.encode(pl.Series(asked, dtype=pl.List(pl.String)))
    known = sorted({v for row in train for v in row})
    for r, row in enumerate(asked):
        members = [known.index(v) + 2 for v in dict.fromkeys(row) if v in known][: coder.width]
        if not members:
            assert codes[r, 0] == (UNKNOWN if row else MISSING)
            assert values[r].tolist() == [1.0] + [0.0] * (coder.width - 1)
        else:
            assert codes[r, : len(members)].tolist() == members
            assert values[r, : len(members)].tolist() == pytest.approx([1 / len(members)] * len(members))
            assert (values[r, len(members) :] == 0).all()


def test_numbers_are_scaled_by_the_training_rows_and_gaps_are_missing() -> None:
    coder = FieldCoder.learn("x", np.array([1.5, 2.5, np.nan, 3.5]))
    codes, values = coder.encode(np.array([2.5, np.nan, 3.5]))
    assert codes[:, 0].tolist() == [1, MISSING, 1]
    assert values[:, 0].tolist() == pytest.approx([0.0, 1.0, 1.0 / np.std([1.5, 2.5, 3.5])])


def test_words_of_a_text() -> None:
    coder = FieldCoder.learn("title", pl.Series(["The red Boat", "the blue boat!", None]), kind="text", min_count=2)
    assert coder.vocabulary is not None
    assert coder.vocabulary.ids.to_list() == ["boat", "the"]
    codes, values = coder.encode(pl.Series(["Boat of THE sea", "sea", None]))
    assert codes.tolist() == [[2, 3], [UNKNOWN, 0], [MISSING, 0]]
    assert values.tolist() == [[0.5, 0.5], [1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("name", "column", "kind"),
    [
        ("gender", pl.Series(["F", "M"] * 60), "categorical"),
        ("age", pl.Series([18, 25] * 60), "categorical"),
        ("clicks", pl.Series(range(1000)), "numeric"),
        ("site_id", pl.Series([*range(500), *range(500)]), "categorical"),
        ("impression_id", pl.Series(range(1000)), ""),
        ("price", pl.Series([1.5, 2.0] * 60), "numeric"),
        ("genres", pl.Series(["Drama|Comedy", "Drama"] * 60), "multi"),
        ("genres", pl.Series([["Drama"], ["Comedy", "Drama"]] * 60), "multi"),
        ("title", pl.Series([f"The number {i}" for i in range(300)]), "text"),
        ("vector", pl.Series([[0.1, 0.2]] * 10), ""),
        ("hour", pl.Series([7] * 10), ""),
    ],
)
def test_kinds(name: str, column: pl.Series, kind: str) -> None:
    assert kind_of(name, column) == kind


def test_order_of_rows_does_not_matter_and_facts_restore_everything() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "site": pl.Series([f"s{k}" for k in rng.integers(0, 9, 300)]),
        "age": pl.Series(rng.integers(0, 5, 300)),
        "price": pl.Series(rng.normal(size=300)),
        "tags": pl.Series(["|".join(rng.choice(list("abcd"), 2, replace=False)) for _ in range(300)]),
    }
    order = rng.permutation(300)
    coder = Coder.learn(columns)
    turned = Coder.learn({k: v.gather(order) for k, v in columns.items()})
    again = Coder.from_facts(Layout.from_sizes(coder.layout.sizes("f"), "f"), coder.facts())
    whole = coder.encode(columns, 300)
    for other in (turned, again):
        assert other.layout == coder.layout
        for a, b in zip(whole, other.encode(columns, 300), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    one = coder.encode({k: v.gather([7]) for k, v in columns.items()}, 1)
    np.testing.assert_array_equal(one[0][0], whole[0][7])
    np.testing.assert_array_equal(one[1][0], whole[1][7])
    assert coder.encode({}, 2)[0].sum() == 0


def test_weights_count_the_rows_that_a_cell_stands_for() -> None:
    coder = FieldCoder.learn("x", pl.Series(["a", "b", "c"]), kind="categorical", weights=np.array([3, 1, 0]))
    assert coder.vocabulary is not None
    assert coder.vocabulary.ids.to_list() == ["a"]


def test_bad_input_is_said() -> None:
    with pytest.raises(ParameterError, match="'banana' for 'x'"):
        FieldCoder.learn("x", pl.Series(["a"]), kind="banana")
    with pytest.raises(DataError, match="'x' is to be numeric"):
        FieldCoder.learn("x", pl.Series(["a"]), kind="numeric")
    with pytest.raises(DataError, match="'x' has 1 cells for 2 rows"):
        Coder.learn({"x": pl.Series(["a", "b"])}).encode({"x": pl.Series(["a"])}, 2)
