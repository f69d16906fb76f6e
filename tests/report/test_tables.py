"""Tables: numbers stand right, rows of one shape stand together."""

from __future__ import annotations

from oakum.report.tables import table, tables


def test_columns_of_numbers_are_known() -> None:
    rows = [["a", "-0.1067 [-0.1221, -0.0896]", "12 (0.3 %)", "x1"], ["b", "0.5 [0.4, 0.6]", "–", "2"]]
    found = table(["name", "gain", "accounts", "note"], rows)
    assert list(found.numeric) == [False, True, True, False]
    assert found.rows[0][1] == "−0.1067 [−0.1221, −0.0896]"


def test_names_and_dates_keep_their_hyphens() -> None:
    rows = [["item-knn", "2024-06-30", "-x"], ["bpr-mf", "2024-07-01", "a-1"]]
    found = table(["a", "b", "c"], rows)
    assert found.rows == rows
    assert not any(found.numeric)


def test_rows_of_one_shape_stand_together() -> None:
    found = tables([{"system": "a", "lift": 1.5}, {"group": "new", "users": 3}, {"system": "b", "lift": 2.5}])
    assert [t.head for t in found] == [["system", "lift"], ["group", "users"]]
    assert found[0].rows == [["a", "1.5"], ["b", "2.5"]]


def test_a_table_without_rows_is_empty() -> None:
    assert list(table(["a", "b"], []).numeric) == [False, False]
    assert tables([]) == []
