"""Domains at the door, and the helpers that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oakum.data import domains, has_domains, item_domain
from oakum.data.convert import convert
from oakum.data.read import read, read_parts
from oakum.errors import DataError, ParameterError

LOG = pl.DataFrame(
    {
        "user_id": [1, 1, 2, 2, 3, 3],
        "item_id": [10, 90, 11, 91, 10, 90],
        "domain": ["book", "film", "book", "film", "book", "film"],
    }
)


def test_a_column_of_the_log_becomes_one_of_the_items() -> None:
    data = read(LOG)
    assert data.tables["items"]["domain"].to_list() == ["book", "book", "film", "film"]
    assert "domain" not in data.interactions.fields
    assert domains(data).names == ("book", "film")
    assert item_domain(data).tolist() == [0, 0, 1, 1]
    assert domains(data).items("film").tolist() == [2, 3]
    assert any("book (2 items)" in n for n in data.notes)


def test_an_item_of_two_domains_leaves_the_column_where_it_was() -> None:
    data = read(LOG.with_columns(pl.Series("domain", ["book", "film", "book", "book", "film", "film"])))
    assert not has_domains(data)
    assert data.interactions.fields["domain"].tolist()[0] == "book"
    assert any("stays a context field: 1 items" in n for n in data.notes)


def test_a_table_of_items_says_it_and_wins() -> None:
    table = pl.DataFrame({"item_id": [10, 11, 90], "domain": ["a", "", "b"]})
    data = read(LOG, items=table)
    assert domains(data).names == ("a", "b")
    assert item_domain(data).tolist() == [0, -1, 1, -1]
    assert "domain" in data.interactions.fields


def test_what_is_written_keeps_its_domains(tmp_path: Path) -> None:
    table = pl.DataFrame({"item_id": [10, 11, 90], "domain": ["a", "", "b"]})
    data = read(LOG.drop("domain"), items=table)
    again = read(convert(data, tmp_path / "log.csv"))
    assert item_domain(again).tolist() == [0, -1, 1, -1]
    assert domains(again).names == ("a", "b")


def test_numbers_are_names_too() -> None:
    assert domains(read(LOG.with_columns(domain=pl.Series([0, 1, 0, 1, 0, 1])))).names == ("0", "1")


def test_no_domains_and_an_unknown_one_are_refused_in_words() -> None:
    with pytest.raises(DataError, match="has no domains: read it with"):
        domains(read(LOG.drop("domain")))
    with pytest.raises(ParameterError, match=r"no domain 'bok'\. Known: book, film\."):
        domains(read(LOG)).items("bok")
    several = pl.DataFrame({"item_id": [10, 10, 11, 90, 91], "domain": ["book", "film", "book", "film", "film"]})
    with pytest.raises(DataError, match=r"1 items of .* are of several domains"):
        domains(read(LOG.drop("domain"), items=several))


def split_by_domain(folder: Path) -> None:
    for (name,), part in LOG.group_by("domain"):
        part.drop("domain").write_csv(folder / f"{name}_ratings.csv")


def test_a_folder_of_a_log_for_each_domain(tmp_path: Path) -> None:
    split_by_domain(tmp_path)
    pl.DataFrame({"item_id": [10], "genre": ["x"]}).write_csv(tmp_path / "extra.csv")
    data = read(tmp_path)
    assert domains(data).names == ("book", "film")
    assert item_domain(data).tolist() == [0, 0, 1, 1]
    assert len(data) == 6
    assert data.name == tmp_path.name


def test_logs_that_share_items_are_no_domains(tmp_path: Path) -> None:
    split_by_domain(tmp_path)
    LOG.head(2).drop("domain").write_csv(tmp_path / "more.csv")
    with pytest.raises(DataError, match="share 2 item ids"):
        read(tmp_path)


def test_the_log_that_names_domains_is_taken(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "mixture.csv")
    LOG.filter(pl.col("domain") == "book").drop("domain").write_csv(tmp_path / "books.csv")
    data = read(tmp_path)
    assert len(data) == 6
    assert any("left out books.csv" in n for n in data.notes)


def test_one_of_several_sets_in_a_folder(tmp_path: Path) -> None:
    for name in ("a-b", "c-d"):
        LOG.write_csv(tmp_path / f"{name}_train.csv")
        LOG.head(4).with_columns(pl.col("item_id") + 1).write_csv(tmp_path / f"{name}_test.csv")
    with pytest.raises(DataError, match=r"several published sets \(a-b, c-d\)\. Name one of them"):
        read(tmp_path)
    with pytest.raises(DataError, match="several published sets"):
        read_parts(tmp_path)
    train, test, valid = read_parts(tmp_path / "c-d")
    assert (len(train), len(test), valid) == (6, 4, None)
    assert train.name == "c-d"
    assert "domain" not in test.fields  # 11 is in both parts, as book
    whole = read(tmp_path / "c-d")
    assert whole.name == "c-d"
    assert whole.interactions.fields["part"].tolist() == ["train"] * 6 + ["test"] * 4
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path / "e-f")


@pytest.mark.data
def test_published_sets_of_several_domains(data_dir: Path) -> None:
    data = read(data_dir / "douban-sequences")
    assert (data.name, len(data), data.num_items) == ("douban-sequences", 1_072_367, 64_404)
    assert np.bincount(item_domain(data)).tolist() == [33_697, 30_707]
    train, test, _ = read_parts(data_dir / "cross-domain-amazon" / "cell-electronic")
    assert (len(train), len(test)) == (140_398, 32_213)
    assert domains(train).names == ("cell_phones", "electronics")
