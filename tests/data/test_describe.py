"""Figures of a log, against counting by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oakum.data.describe import describe
from oakum.data.read import read
from oakum.data.validate import check

FRAME = pl.DataFrame(
    {
        "user_id": [1, 1, 1, 2, 2, 3],
        "item_id": [7, 7, 8, 7, 7, 7],
        "rating": [5, 5, 3, 4, 4, 1],
        "timestamp": [86_400 * d for d in (1, 2, 3, 4, 4, 11)],
    }
)


def test_every_figure_of_a_small_log() -> None:
    told = describe(read(FRAME, items=pl.DataFrame({"item_id": [7], "title": ["x"]})))
    assert (told["events"], told["users"], told["items"]) == (6, 3, 2)
    assert told["density"] == pytest.approx(4 / 6)
    assert told["repeated_pairs"] == 2
    assert told["share_of_repeats"] == pytest.approx(2 / 6, abs=1e-4)
    assert told["duplicates"] == 1
    assert told["days"] == 10
    assert told["from"] == "1970-01-02 00:00"
    assert told["values"] == {"1": 1, "3": 1, "4": 2, "5": 2}
    assert told["items_features"] == {"title": 0.5}
    assert told["events_a_user"]["max"] == 2
    assert json.loads(json.dumps(told)) == told


def test_gini_is_the_mean_absolute_difference() -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"user_id": rng.integers(0, 40, 500), "item_id": (rng.random(500) ** 3 * 30).astype(int)})
    data = read(frame)
    counts = data.item_counts.astype(float)
    expected = np.abs(counts[:, None] - counts[None, :]).mean() / (2 * counts.mean())
    assert describe(data)["gini_of_popularity"] == pytest.approx(expected, abs=1e-4)


def test_many_values_become_a_histogram() -> None:
    frame = FRAME.with_columns(pl.Series("rating", np.linspace(0, 1, 6)))
    frame = pl.concat([frame.with_columns(pl.col("rating") + k, pl.col("item_id") + k) for k in range(9)])
    counts = describe(read(frame))["values"]
    assert len(counts) == 10
    assert sum(counts.values()) == 54


def test_check_warns_of_what_spoils_a_training() -> None:
    frame = pl.DataFrame({"user_id": [1, 2, 3, 3], "item_id": [1, 1, 1, 2], "timestamp": [9] * 4, "rating": [1] * 4})
    found = " ".join(str(i) for i in check(frame))
    assert "2 of 3 users have one item only" in found
    assert "every event has the same time" in found
    assert "every value is 1" in found


@pytest.mark.data
def test_a_real_log(data_dir: Path) -> None:
    told = describe(read(data_dir / "movielens-100k"))
    assert told["density"] == pytest.approx(0.0630, abs=5e-4)
    assert sum(told["values"].values()) == 100_000
    assert told["duplicates"] == 0
    assert told["from"].startswith("1997-09")
