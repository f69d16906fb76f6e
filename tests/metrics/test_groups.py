from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from oakum.data import Ragged
from oakum.errors import DataError
from oakum.metrics import groups


def test_quartiles_are_equal_and_never_part_equal_values():
    found = groups.quartiles(np.arange(100), "x")
    assert np.bincount(found.codes).tolist() == [25, 25, 25, 25]
    tied = groups.quartiles([1, 1, 1, 1, 1, 1, 2, np.nan], "x").codes
    assert len(set(tied[:6])) == 1
    assert tied[6] > tied[0]
    assert tied[7] == -1


def test_activity_and_tenure():
    histories = Ragged(
        np.array([0, 1, 3, 3, 6]), np.zeros(6, np.int32), times=np.array([5, 0, 10, 0, 50, 100], np.int64)
    )
    assert np.argsort(groups.activity(histories).codes, kind="stable").tolist() == [2, 0, 1, 3]
    tenure = groups.tenure(histories)
    assert tenure.codes[2] == -1
    assert tenure.codes[0] < tenure.codes[1] < tenure.codes[3]
    at = groups.tenure(histories, np.array([1000, 20, 0, 110]))
    assert at.codes[0] > at.codes[3] > at.codes[1]
    with pytest.raises(DataError, match="event times"):
        groups.tenure(Ragged.of([[1]]))


def test_columns_and_popularity():
    table = pl.DataFrame({"age": [30, None, 20]})
    found = groups.by_column(table, "age", np.array([2, -1, 0, 1]))
    assert found.labels == ("20", "30")
    assert found.codes.tolist() == [0, -1, 1, -1]
    with pytest.raises(DataError, match="Did you mean 'age'"):
        groups.by_column(table, "agee")
    classes = groups.popularity_classes(np.arange(100))
    assert np.bincount(classes.codes).tolist() == [50, 25, 20, 5]
