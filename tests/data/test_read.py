"""Reading: every form of the same log gives the same dataset."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.data.coding import as_ids, codes_of, repeated_pairs, vocabulary_of
from oakum.data.columns import plain
from oakum.data.convert import convert
from oakum.data.dataset import Dataset
from oakum.data.read import read, read_parts, read_split
from oakum.errors import DataError, ParameterError

ROWS = [
    (10, 7, 4.0, 1_200_000_000),
    (3, 7, 5.0, 1_300_000_000),
    (10, 900, 1.5, 1_250_000_000),
    (3, 12, 2.0, 1_260_000_000),
]
FRAME = pl.DataFrame(ROWS, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")


def same(data: Dataset) -> None:
    """The dataset is the log of ROWS."""
    log = data.interactions
    assert data.users.decode(log.users) == [r[0] for r in ROWS]
    assert data.items.decode(log.items) == [r[1] for r in ROWS]
    assert log.values is not None
    assert log.times is not None
    assert log.values.tolist() == [r[2] for r in ROWS]
    assert log.times.tolist() == [r[3] * 1_000_000 for r in ROWS]
    assert log.rows.tolist() == [0, 1, 2, 3]
    assert data.users.ids.to_list() == [3, 10]
    assert data.items.ids.to_list() == [7, 12, 900]


def delimited(separator: str, *, header: bool = True, end: str = "\n") -> str:
    lines = [separator.join(FRAME.columns)] if header else []
    return end.join([*lines, *(separator.join(map(str, r)) for r in ROWS)]) + end


@pytest.mark.parametrize("separator", [",", "\t", ";", "::", "|", " "])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_delimited_text_in_every_dress(tmp_path: Path, separator: str, header: bool, packed: bool) -> None:
    path = tmp_path / ("log.csv.gz" if packed else "log.csv")
    text = delimited(separator, header=header).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    same(read(path))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, end: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbf" + delimited(",", end=end).encode())
    same(read(path))


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".jsonl", ".csv", ".tsv", ".inter"])
def test_what_convert_writes_is_read_back(tmp_path: Path, ending: str) -> None:
    same(read(convert(read(FRAME), tmp_path / f"log{ending}")))


def test_frames_of_every_library() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    same(read(FRAME))
    same(read(FRAME.lazy()))
    same(read(FRAME.to_arrow()))
    same(read(pandas.DataFrame(ROWS, columns=FRAME.columns)))
    assert pyarrow is not None


def test_arrow_stream(tmp_path: Path) -> None:
    path = tmp_path / "log.arrow"
    FRAME.write_ipc_stream(path)
    same(read(path))


def test_a_file_without_ending_is_recognised(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "log")
    same(read(tmp_path / "log"))
    (tmp_path / "other").write_text("".join(json.dumps(r) + "\n" for r in FRAME.to_dicts()))
    same(read(tmp_path / "other"))


@pytest.mark.parametrize(
    "names",
    [
        ("userId", "movieId", "rating", "timestamp"),
        ("USER_ID", "ITEM_ID", "RATING", "TIMESTAMP"),
        ("customer", "product", "stars", "ts"),
        ("visitorid", "itemid", "weight", "time"),
        ("Reviewer ID", "asin", "overall", "unixReviewTime"),
        ("user-id", "artist.id", "plays", "datetime"),
    ],
)
def test_names_are_guessed_and_the_guess_is_stated(names: tuple[str, ...]) -> None:
    data = read(FRAME.rename(dict(zip(FRAME.columns, names, strict=True))))
    same(data)
    for name in names:
        assert any(f"'{name}'" in note for note in data.notes)


def test_given_names_win_and_empty_ones_leave_a_role_out() -> None:
    frame = FRAME.rename({"user_id": "who", "item_id": "user", "rating": "x", "timestamp": "y"})
    same(read(frame, user="who", item="user", value="x", time="y"))
    data = read(FRAME, value="", time="")
    assert data.interactions.values is None
    assert data.interactions.times is None
    assert set(data.interactions.fields) == {"rating", "timestamp"}


def test_order_of_columns_does_not_matter() -> None:
    same(read(FRAME.select("timestamp", "rating", "item_id", "user_id")))


def test_text_ids_stay_text_and_leading_zeros_stay(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n007,a\n7,b\n007,b\n")
    data = read(path)
    assert data.users.ids.to_list() == ["007", "7"]
    assert data.interactions.users.tolist() == [0, 1, 0]


def test_an_id_that_is_text_far_down_makes_all_ids_text(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = [f"{i % 50},{i % 7},3" for i in range(3000)]
    path.write_text("user,item,rating\n" + "\n".join(rows) + "\nguest,1,4.5\n")
    data = read(path)
    assert data.num_users == 51
    assert data.users.encode(["guest", "49"]).min() >= 0
    assert data.interactions.values is not None
    assert data.interactions.values[-1] == 4.5


def test_quoted_cells_with_separators_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user,item\n"Smith, J","two\nlines"\n"say ""hi""",b\n')
    assert read(path).users.ids.to_list() == ["Smith, J", 'say "hi"']


def test_one_user_a_line(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("0 5 3 9\n2 3\n1\n4  9 5\n")
    data = read(path)
    log = data.interactions
    assert data.users.decode(log.users) == [0, 0, 0, 2, 4, 4]
    assert data.items.decode(log.items) == [5, 3, 9, 3, 9, 5]
    assert log.times is None
    back = read(convert(data, tmp_path / "again.txt"), format="lines")
    assert back.digest == data.digest


def test_position_becomes_the_order() -> None:
    frame = pl.DataFrame({"user_id": [1, 1, 2, 2], "position": [2, 1, 1, 2], "item_id": [5, 6, 5, 7]})
    data = read(frame)
    assert data.items.decode(data.histories.row(0)) == [6, 5]
    assert data.interactions.times is not None
    assert data.interactions.times.tolist() == [2_000_000, 1_000_000, 1_000_000, 2_000_000]
    assert any("position" in n and "order" in n for n in data.notes)


def test_position_that_repeats_within_a_user_is_no_order() -> None:
    frame = pl.DataFrame({"user_id": [1, 1, 2], "position": [1, 1, 1], "item_id": [5, 6, 5]})
    data = read(frame)
    assert data.interactions.times is None
    assert data.interactions.fields["position"].tolist() == [1, 1, 1]


def test_extra_columns_become_fields_or_are_named_as_left_out() -> None:
    n = 1200
    frame = pl.DataFrame(
        {
            "user_id": np.arange(n) % 9,
            "item_id": np.arange(n) % 11,
            "device": ["web", None, "app"] * (n // 3),
            "price": [1.5, None] * (n // 2),
            "clicked": [True, False] * (n // 2),
            "comment": [f"text {i}" for i in range(n)],
            "tags": [["a"]] * n,
        }
    )
    data = read(frame)
    fields = data.interactions.fields
    assert set(fields) == {"device", "price", "clicked"}
    assert fields["device"][:3].tolist() == ["web", "", "app"]
    assert np.isnan(fields["price"][1])
    assert any("'comment'" in note and "'tags'" in note for note in data.notes)


def test_repeats_are_kept_and_counted() -> None:
    data = read(pl.concat([FRAME, FRAME.head(1)]))
    assert len(data) == 5
    assert any("1 of 5 rows repeat" in note for note in data.notes)


def test_feature_tables_have_one_row_a_code(tmp_path: Path) -> None:
    items = pl.DataFrame(
        {"item_id": [900, 7, 55], "title": ["nine", "seven", "stranger"], "genres": [["a"], ["b", "c"], []]}
    )
    users = tmp_path / "people.csv"
    users.write_text("user,age\n10,31\n")
    data = read(FRAME, items=items, users=users)
    assert data.tables["items"]["title"].to_list() == ["seven", None, "nine"]
    assert data.tables["items"]["genres"].to_list() == [["b", "c"], None, ["a"]]
    assert data.tables["users"]["age"].to_list() == [None, 31]
    assert any("1 ids of the table of items" in note for note in data.notes)


def test_feature_tables_with_several_rows_an_id_become_lists() -> None:
    tags = pl.DataFrame({"item_id": [7, 7, 12], "tag": ["x", "y", "z"]})
    assert read(FRAME, items=tags).tables["items"]["tag"].to_list() == [["x", "y"], ["z"], None]


def test_features_that_match_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="none of its 1 ids is a known item"):
        read(FRAME, items=pl.DataFrame({"item_id": [1], "title": ["x"]}))


def test_relations() -> None:
    trust = pl.DataFrame({"user_id": [3, 10, 77], "friend_id": [10, 3, 3], "weight": [0.5, 1.0, 2.0]})
    bundles = pl.DataFrame({"bundle_id": [1, 1, 2], "item_id": [7, 12, 900]})
    graph = pl.DataFrame({"item_id": [7, 7], "relation": ["made_by", "acted_by"], "tail_entity": ["e1", "e2"]})
    data = read(FRAME, relations={"trust": trust, "bundles": bundles, "graph": graph})
    edges = data.relations["trust"]
    assert (edges.source, edges.target) == ("users", "users")
    assert edges.sources.tolist() == [0, 1]
    assert edges.weights is not None
    assert edges.weights.tolist() == [0.5, 1.0]
    assert (data.relations["bundles"].source, data.relations["bundles"].target) == ("bundles", "items")
    assert data.tables["bundles"]["id"].to_list() == ["1", "2"]
    assert data.relations["bundles"].targets.tolist() == [0, 1, 2]
    assert {"graph/made_by", "graph/acted_by"} <= data.relations.keys()
    assert data.relations["graph/made_by"].target == "entities"


@pytest.mark.parametrize("ending", ["parquet", "csv", "txt"])
def test_a_published_split_is_coded_over_one_vocabulary(tmp_path: Path, ending: str) -> None:
    parts = {
        "train": [(0, 5), (0, 6), (2, 5), (2, 8), (2, 9)],
        "valid": [(0, 8)],
        "test": [(1, 7), (2, 6), (2, 10)],
    }
    for name, rows in parts.items():
        frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
        if ending == "parquet":
            frame.write_parquet(tmp_path / f"{name}.parquet")
        elif ending == "csv":
            frame.write_csv(tmp_path / f"{name}.csv")
        else:
            lines = [f"{u} " + " ".join(str(i) for v, i in rows if v == u) for u in sorted({u for u, _ in rows})]
            (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    data, test, valid = read_parts(tmp_path, format="lines" if ending == "txt" else None)
    assert data.users.ids.to_list() == [0, 1, 2]
    assert data.items.ids.to_list() == [5, 6, 7, 8, 9, 10]
    assert (len(data), len(test)) == (5, 3)
    assert valid is not None
    assert data.interactions.rows.tolist() == [0, 1, 2, 3, 4]
    assert valid.rows.tolist() == [5]
    assert test.rows.tolist() == [6, 7, 8]
    assert data.items.decode(test.items) == [7, 6, 10]
    pair, held = read_split(tmp_path, format="lines" if ending == "txt" else None)
    assert pair.digest == data.digest
    assert held.digest() == test.digest()
    assert any("validation" in note for note in pair.notes)
    whole = read(tmp_path, format="lines" if ending == "txt" else None)
    assert len(whole) == 9
    assert set(whole.interactions.fields["part"].tolist()) == {"train", "valid", "test"}


def test_repeats_are_counted_and_the_pairs_kept(tmp_path: Path) -> None:
    rows = [(3, 7), (1, 7), (3, 5), (3, 7), (None, 7), (1, 7)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    data = read(frame, on_bad="drop")
    assert any(note.startswith("2 of 5 rows repeat a user and item") for note in data.notes)
    assert "pairs" in vars(data)
    assert [data.pairs.row(u).tolist() for u in range(2)] == [[1], [0, 1]]
    assert data.matrix.toarray().tolist() == [[0, 1], [1, 1]]
    assert data.item_counts.tolist() == [1, 2]
    assert data.user_counts.tolist() == [1, 2]
    train = read_parts(frame.drop_nulls(), pl.DataFrame({"user_id": [1], "item_id": [5]}))[0]
    assert [train.pairs.row(u).tolist() for u in range(2)] == [[1], [0, 1]]
    for name in ("train", "test"):  # read as one log, whose pairs are those of both
        frame.drop_nulls().with_columns(pl.col("item_id") + (name == "test")).write_csv(tmp_path / f"{name}.csv")
    both = read(tmp_path)
    assert [both.items.decode(both.pairs.row(u)) for u in range(2)] == [[7, 8], [5, 6, 7, 8]]


def test_parts_of_different_columns_are_not_guessed_together() -> None:
    test = pl.DataFrame({"case_id": [1, 2], "target_item_id": [7, 12]})
    with pytest.raises(DataError, match="no column for the user"):
        read_split((FRAME, test))


def test_movielens_folders(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text(delimited("\t", header=False))
    flags = "|".join(["0", "1", "1"] + ["0"] * 16)
    (tmp_path / "u.item").write_bytes(f"7|Caf\xe9 (1995)|01-Jan-1995||http://x|{flags}\n".encode("latin-1"))
    (tmp_path / "u.user").write_text("3|24|M|technician|85711\n10|53|F|other|94043\n")
    data = read(tmp_path)
    same(data)
    assert data.tables["items"]["title"].to_list() == ["Café (1995)", None, None]
    assert data.tables["items"]["genres"][0].to_list() == ["Action", "Adventure"]
    assert data.tables["users"]["age"].to_list() == [24, 53]


def test_movielens_1m_and_later_forms(tmp_path: Path) -> None:
    one, late = tmp_path / "ml-1m", tmp_path / "ml-25m"
    one.mkdir()
    late.mkdir()
    (one / "ratings.dat").write_text(delimited("::", header=False))
    (one / "movies.dat").write_bytes("7::Caf\xe9: x::Drama|War\n".encode("latin-1"))
    (late / "ratings.csv").write_text(delimited(",").replace("user_id", "userId").replace("item_id", "movieId"))
    (late / "movies.csv").write_text('movieId,title,genres\n7,"Café, x",Drama|War\n12,y,(no genres listed)\n')
    for folder in (one, late):
        data = read(folder)
        same(data)
        assert data.tables["items"]["genres"][0].to_list() == ["Drama", "War"]
        assert data.name == folder.name
    same(read(one / "ratings.dat"))


def test_recbole_atomic_files(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text(
        delimited("\t").replace(
            "user_id\titem_id\trating\ttimestamp",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        )
    )
    (tmp_path / "ml.item").write_text(
        "item_id:token\tgenre:token_seq\tvector:float_seq\n7\tdrama war\t0.5 1\n12\tcomedy\t2 3\n"
    )
    data = read(tmp_path)
    same(data)
    assert data.name == "ml"
    assert data.tables["items"]["genre"].to_list() == [["drama", "war"], ["comedy"], None]
    assert data.tables["items"]["vector"].to_list() == [[0.5, 1.0], [2.0, 3.0], None]


def test_a_damaged_side_table_nobody_asked_for_does_not_stop_reading(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "interactions.parquet")
    (tmp_path / "items.parquet").write_bytes(b"PAR1 broken PAR1")
    data = read(tmp_path)
    same(data)
    assert any("left out" in note for note in data.notes)


def test_unknown_format_is_a_parameter_error(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "log.csv")
    with pytest.raises(ParameterError, match="'cvs' is no format of logs"):
        read(tmp_path / "log.csv", format="cvs")


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(delimited(",").encode()))
    same(read(path))
    assert list((tmp_path / "t").iterdir()) == []


ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    st.lists(st.integers(-5, 60), min_size=1, max_size=40),
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, max_size=40),
)


@given(ids)
@settings(max_examples=80, deadline=None)
def test_codes_are_places_in_the_sorted_distinct_ids(values: list[Any]) -> None:
    column = as_ids(pl.Series("id", values))
    known = column.to_list()
    expected = sorted(set(known), key=lambda v: v if isinstance(v, int) else v.encode())
    vocabulary = vocabulary_of([column])
    assert vocabulary.ids.to_list() == expected
    assert codes_of(column, vocabulary).tolist() == [expected.index(v) for v in known]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=40))
@settings(max_examples=50, deadline=None)
def test_repeated_pairs_counts_what_a_set_counts(pairs: list[tuple[int, int]]) -> None:
    users = np.array([p[0] for p in pairs], np.int32)
    items = np.array([p[1] for p in pairs], np.int32)
    assert repeated_pairs(users, items, 7) == len(pairs) - len(set(pairs))


def test_plain_names() -> None:
    assert [plain(n) for n in ("userId", "User ID", "user-id", "user_id:token", "USERID")] == [
        "user_id", "user_id", "user_id", "user_id", "userid",
    ]  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "users", "items"),
    [
        ("movielens-100k", 100_000, 943, 1_682),
        ("movielens-latest-small", 100_836, 610, 9_724),
        ("amazon-beauty", 198_502, 22_363, 12_101),
        ("amazon-spammers", 51_346, 4_902, 16_885),
        ("wikipedia-edits", 157_474, 8_227, 1_000),
        ("gowalla", 1_027_370, 29_858, 40_981),
        ("lastfm-trust", 52_668, 1_880, 4_489),
        ("yelp-social", 198_397, 16_239, 14_284),
    ],
)
def test_real_sets_have_the_sizes_their_owners_state(
    data_dir: Path, name: str, rows: int, users: int, items: int
) -> None:
    data = read(data_dir / name)
    assert (len(data), data.num_users, data.num_items) == (rows, users, items)
    assert data.name == name


@pytest.mark.data
def test_a_real_split_and_a_real_trust_network(data_dir: Path) -> None:
    data, test = read_split(data_dir / "lastfm-trust", relations={"trust": data_dir / "lastfm-trust" / "trust.parquet"})
    assert len(data) + len(test) == 52_668
    assert test.rows.min() == len(data)
    assert data.relations["trust"].source == data.relations["trust"].target == "users"
    assert len(data.relations["trust"].sources) > 10_000
