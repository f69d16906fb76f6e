"""Which columns are words, and how they become one text."""

from __future__ import annotations

import polars as pl
import pytest

from oakum.data import Dataset
from oakum.data.texts import item_texts, text_columns
from oakum.errors import DataError, ParameterError
from tests.toys import random_log


def with_items(table: pl.DataFrame | None) -> Dataset:
    data = random_log(items=30)
    return Dataset(data.interactions, data.users, data.items, {} if table is None else {"items": table})


def test_title_description_and_categories_in_that_order_whatever_the_order_of_columns() -> None:
    table = pl.DataFrame(
        {
            "genres": ["Drama|War", None, ""],
            "price": [1.0, 2.0, 3.0],
            "Plot": ["A  man\nwalks.", "", None],
            "Title": ["Heat (1995)", "Blue.", None],
        }
    )
    data = Dataset(
        random_log(items=3, users=3).interactions, random_log().users, random_log(items=3).items, {"items": table}
    )
    found = item_texts(data)
    assert found.texts == ("Heat (1995). A man walks. Drama, War", "Blue", "")
    assert found.columns == ("Title", "Plot", "genres")
    assert found.note == (
        "The text of an item is its Title, then its Plot, then its genres, joined by full stops. 1 of 3 items have none."
    )
    assert item_texts(data, ("title",)).texts == ("Heat (1995)", "Blue", "")


def test_lists_are_joined_and_said_once() -> None:
    table = pl.DataFrame({"name": ["a"] * 30, "tags": [["x", "y", "x", None]] * 30})
    assert item_texts(with_items(table)).texts[0] == "a. x, y"


def test_without_a_known_name_columns_of_words_count() -> None:
    prose = [f"this is line {i}" for i in range(30)]
    table = pl.DataFrame({"code": [f"B{i}" for i in range(30)], "say": prose, "same": ["one of few"] * 30})
    assert text_columns(table) == [("description", "say")]
    assert item_texts(with_items(table)).texts == tuple(prose)


def test_a_kind_that_is_absent_gives_way_to_those_that_are_there() -> None:
    assert item_texts(with_items(pl.DataFrame({"plot": ["x y"] * 30})), ("title",)).columns == ("plot",)


@pytest.mark.parametrize("table", [None, pl.DataFrame({"price": [1.0] * 30})])
def test_no_text_is_refused_with_the_cure(table: pl.DataFrame | None) -> None:
    with pytest.raises(DataError, match="read the log with items=TABLE that has a column called title"):
        item_texts(with_items(table))


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ParameterError, match="'title'"):
        item_texts(random_log(), ("titel",))
