"""Files that are wrong, damaged or meant to harm: one clear sentence each, and nothing else happens."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oakum.data.read import read, read_split, read_sql
from oakum.data.readers import FORMATS
from oakum.data.validate import check
from oakum.errors import DataError, OakumError

GOOD = "user_id,item_id,rating,timestamp\n1,2,3.0,1200000000\n2,3,4.0,1200000001\n"
PARQUET = io.BytesIO()
pl.DataFrame({"user_id": [1, 2, 3], "item_id": [4, 5, 6]}).write_parquet(PARQUET)
ARROW = io.BytesIO()
pl.DataFrame({"user_id": [1, 2, 3], "item_id": [4, 5, 6]}).write_ipc(ARROW)

BAD: dict[str, tuple[bytes, str]] = {
    "missing column": (
        b"user_id,price,colour,size,shop\n1,2,a,b,c\n2,3,a,b,c\n",
        r"no column for the item among 'user_id', 'price'",
    ),
    "empty": (b"", "the file is empty"),
    "blank": (b"\n  \n\n", "the file is empty"),
    "header without rows": (b"user_id,item_id\n", r"a header \(user_id, item_id\) and no rows"),
    "one column": (b"user_id\n1\n2\n", "one column only"),
    "foreign separator": (b"user_id^item_id\n1^2\n2^3\n", r"one column only .*separated by '\^'"),
    "text in numbers": (
        b"user_id,item_id,rating\n1,2,3\n2,3,good\n2,2,bad\n",
        r"row 2 \(line 3\), column 'rating': found 'good', expected a number \(2 rows in all\)",
    ),
    "empty number": (
        b"user_id,item_id,rating\n1,2,3\n2,3,\n",
        r"row 2 \(line 3\), column 'rating': found nothing",
    ),
    "not finite": (
        b"user_id,item_id,rating\n1,2,3\n2,3,inf\n",
        r"row 2 \(line 3\), column 'rating': found .*inf.*finite",
    ),
    "too large": (
        b"user_id,item_id,rating\n1,2,3\n2,3,1e39\n",
        r"row 2 .*'rating': found 1e\+39, which is no finite",
    ),
    "no time": (
        b"user_id,item_id,timestamp\n1,2,2024-01-01\n2,3,yesterday\n",
        r"row 2 \(line 3\), column 'timestamp': 'yesterday' is no time",
    ),
    "no time among numbers": (
        b"user_id,item_id,timestamp\n1,2,1200000000\n2,3,1200000000\n3,3,noon\n",
        r"row 3 \(line 4\), column 'timestamp': 'noon' is no time",
    ),
    "null user": (
        b"user_id,item_id\n1,2\n,3\n4,5\n",
        r"row 2 \(line 3\), column 'user_id': the user id is missing",
    ),
    "null item": (
        b"user_id,item_id\n1,2\n3,\n",
        r"row 2 \(line 3\), column 'item_id': the item id is missing",
    ),
    "one user": (b"user_id,item_id\n1,2\n1,3\n", r"every row has the same user \(1\)"),
    "one item": (b"user_id,item_id\n1,2\n3,2\n", r"every row has the same item \(2\)"),
    "ragged": (b"user_id,item_id\n1,2\n2,3\n3,4,5\n", r"line 4: 3 cells where the first line has 2"),
    "open quote": (b'user_id,item_id\n"1,2\n2,3\n', "line 2: a quoted cell does not end|quote"),
    "latin 1": (b"user_id,item_id\n1,2\nZo\xeb,3\n", "line 3: byte 0xEB is not UTF-8 text"),
    "utf 16": ("user_id,item_id\n1,2\n".encode("utf-16"), "it is UTF-16 text"),
    "binary": (b"user_id,item_id\n1,\x002\n", "binary data where text was expected"),
    "zip": (b"PK\x03\x04" + b"\x01" * 40, "binary data where text was expected"),
    "row after quoted line break": (
        b'user_id,item_id,rating\n"a\nb",1,2\n2,3,x\n',
        r"row 2 \(line 4\), column 'rating'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_text_is_named(tmp_path: Path, name: str) -> None:
    content, sentence = BAD[name]
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read(path)
    assert "log.csv" in str(caught.value)
    assert "\n" not in str(caught.value).replace("\\n", "")
    assert check(path)[0].level == "error"
    assert re.search(sentence, str(check(path)[0]))


def test_a_bad_encoding_far_down_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,item_id\n" + b"".join(b"u%d,i%d\n" % (i % 9, i % 5) for i in range(5000)) + b"\xff,1\n")
    with pytest.raises(DataError, match="line 5002: byte 0xFF is not UTF-8"):
        read(path)


def test_a_header_line_of_gigabytes_is_refused_after_one_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with path.open("wb") as file:
        file.write(b"a" * (1 << 21))
        file.truncate(1 << 33)
    with pytest.raises(DataError, match="no line ends within the first 1 MiB"):
        read(path)


def test_a_small_gzip_of_an_endless_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"a" * (1 << 23)))
    with pytest.raises(DataError, match="no line ends within"):
        read(path)


def test_a_gzip_bomb_is_stopped_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oakum.data.readers.text._UNPACKED", 1 << 20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"1,2\n" * (1 << 22)))
    with pytest.raises(DataError, match="unpacks to more than 200 times"):
        read(path)
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv.gz"]


@pytest.mark.parametrize("cut", [5, 20, -1, -6])
def test_a_truncated_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress((GOOD * 50).encode())[:cut])
    with pytest.raises(DataError, match=r"gzip file (ends too early|is damaged)|empty"):
        read(path)


def test_a_gzip_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(GOOD.encode()))
    packed[-6] ^= 1
    path = tmp_path / "log.csv.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError, match="gzip file is damaged"):
        read(path)
    assert zlib.crc32(b"") == 0


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.parquet", PARQUET.getvalue()[:-9], "cut off"),
        ("a.parquet", GOOD.encode(), "this is not Parquet"),
        ("a.parquet", b"", "the file is empty"),
        ("a.parquet", b"PAR1" + b"\xff" * 60 + b"\x10\0\0\0PAR1", "the Parquet file is damaged"),
        ("a.parquet", b"PAR1" + b"\xff" * 60 + b"\xff\xff\xff\xffPAR1", "the Parquet file is damaged"),
        ("a.arrow", ARROW.getvalue()[:-30], "no whole Arrow file"),
        ("a.arrow", b"", "the file is empty"),
        ("a.feather", b"FEA1" + b"\0" * 20, "Feather 1"),
        ("a.jsonl", b'[{"user_id": 1}]\n', "one JSON list, not JSON lines"),
        ("a.jsonl", b'{"user_id": 1, "item_id": 2}\n{"user_id": 2,\n', "line 2: this is no JSON"),
        ("a.jsonl", b'{"user_id": 1, "item_id": 2}\n7\n', "line 2: a int where an object was expected"),
        ("a.jsonl", b'{"user_id":' + b"[" * 200_000 + b"\n", "nested too deeply|no JSON"),
        ("a.inter", b"user_id\titem_id\n1\t2\n", "header cell 'user_id' has no type"),
        ("train.txt", b"1\n2\n", "one column only|no line holds"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read(path)
    assert name in str(caught.value)


def test_a_missing_path_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(GOOD)
    with pytest.raises(DataError, match=r"There is no file .*rating\.csv\. Did you mean 'ratings\.csv'"):
        read(tmp_path / "rating.csv")
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path / "nowhere" / "x.csv")


def test_a_folder_with_nothing_known_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no log under a known name in this folder \(it holds photo\.png\)"):
        read(tmp_path)
    with pytest.raises(DataError, match="no files called train and test"):
        read_split(tmp_path)


@pytest.mark.parametrize("source", [object(), 7, None, b"bytes", {"user": [1]}])
def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(DataError, match="cannot be read from a"):
        read(source)


def test_addresses_and_strange_paths_are_refused_without_their_password() -> None:
    with pytest.raises(DataError, match="read_sql") as caught:
        read("postgresql://me:secret@host/db")
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError):
        read("a\0b")
    with pytest.raises(DataError):
        read("x" * 5000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(DataError, match="no ordinary file"):
        read(tmp_path / "log.csv")


def test_a_wrong_column_name_suggests_the_right_one(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(GOOD)
    with pytest.raises(DataError, match=r"no column 'usr_id', which was given as the user\. Did you mean 'user_id'"):
        read(path, user="usr_id")
    with pytest.raises(DataError, match="two roles"):
        read(path, user="item_id", item="item_id")


@pytest.mark.parametrize(
    "cell",
    [
        "=cmd|'/c calc'!A1",
        "@SUM(1+1)",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "%s%n",
        "'; DROP TABLE x",
    ],
)
def test_hostile_cells_are_only_text(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "log.csv"
    quoted = '"' + cell.replace('"', '""') + '"'
    path.write_text(f"user_id,item_id\n{quoted},a\nb,{quoted}\n")
    data = read(path)
    assert cell in data.users.ids.to_list()
    assert cell in data.items.ids.to_list()
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "arrow", "jsonl", "dat"])
def test_a_file_name_with_pattern_characters_is_one_file(tmp_path: Path, ending: str) -> None:
    frame = pl.read_csv(io.StringIO(GOOD))
    for name in (f"log[1]*.{ending}", f"log1.{ending}"):
        path = tmp_path / name
        if ending == "parquet":
            frame.write_parquet(path)
        elif ending == "arrow":
            frame.write_ipc(path)
        elif ending == "jsonl":
            frame.write_ndjson(path)
        else:
            text = (GOOD.replace(",", "::") if ending == "dat" else GOOD).encode()
            path.write_bytes(gzip.compress(text) if ending == "csv.gz" else text)
    assert len(read(tmp_path / f"log[1]*.{ending}")) == 2


def test_hostile_messages_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user_id,item_id,rating\n1,2,3\n2,3,"\x1b[2Jx\n' + "y" * 5000 + '"\n')
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_check_reports_every_column_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,rating,timestamp\n1,2,x,2024-01-01\n,3,4,never\n2,2,1,2024-01-02\n2,2,1,2024-01-02\n"
    )
    issues = check(path)
    errors = [i for i in issues if i.level == "error"]
    assert {(i.column, i.row) for i in errors} == {("user_id", 2), ("rating", 1), ("timestamp", 2)}
    repeats = [i for i in issues if i.level == "warning" and "repeat" in i.found]
    assert repeats[0].examples == ("row 4: user 2, item 2",)
    assert {"message", "row", "line", "column", "level"} <= repeats[0].to_json().keys()


def test_check_finds_nothing_wrong_with_a_good_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(GOOD + "1,3,2,1200000003\n2,2,2,1200000003\n")
    assert [i for i in check(path) if i.level != "note"] == []


ENDINGS = ["csv", "tsv", "txt", "dat", "parquet", "arrow", "jsonl", "inter", "csv.gz", "unknown", "data"]
text_like = st.text(st.sampled_from('0123456789ab,;\t| :"\n\r-.{}[]=\x00é'), max_size=200).map(str.encode)


def flipped(whole: bytes) -> st.SearchStrategy[bytes]:
    def flip(edits: list[tuple[int, int]]) -> bytes:
        out = bytearray(whole)
        for place, value in edits:
            out[place % len(out)] = value
        return bytes(out)

    return st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, 255)), min_size=1, max_size=4).map(flip)


CONTENT = st.one_of(
    st.binary(max_size=300),
    text_like,
    text_like.map(gzip.compress),
    flipped(GOOD.encode()),
    flipped(PARQUET.getvalue()),
    flipped(ARROW.getvalue()),
    flipped(gzip.compress(GOOD.encode())),
    st.binary(max_size=60).map(lambda b: b"PAR1" + b + b"PAR1"),
)


@given(CONTENT, st.sampled_from(ENDINGS), st.sampled_from([None, *FORMATS]))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_anything_but_our_own_errors(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, ending: str, format: str | None
) -> None:
    path = tmp_path / f"log.{ending}"
    path.write_bytes(content)
    try:
        data = read(path, format=format)
    except OakumError:
        pass
    else:
        assert len(data) == len(data.interactions.items)
        assert int(data.interactions.users.min()) >= 0
        assert int(data.interactions.items.max()) < data.num_items
    assert all(i.level in ("error", "warning", "note") for i in check(path, format=format))


def test_sql_errors_hide_passwords() -> None:
    with pytest.raises(OakumError) as caught:
        read_sql("nonsense://me:secret@nowhere/db", "select 1")
    assert "secret" not in str(caught.value)
