"""Saving and loading: whole or not at all, and refused in words."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oakum.api import fit
from oakum.errors import ModelFileError
from oakum.store import FILES, load, save
from tests.toys import random_log


@pytest.fixture(scope="module")
def model() -> Any:
    return fit("item-knn", random_log())


def test_a_model_is_a_folder_of_harmless_files(model: Any, tmp_path: Path) -> None:
    save(model, tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == sorted([*FILES, "schema.json"])
    assert not [p for p in tmp_path.iterdir() if p.name != "m"]
    card = (tmp_path / "m" / "card.md").read_text()
    assert "item-knn" in card
    assert model.record.data in card


def test_the_digest_waits_until_the_record_is_looked_at() -> None:
    data = random_log()
    made = fit("popularity", data)
    assert not {"digest", "histories"} & vars(data).keys()
    assert made.record.data == data.digest == random_log().digest
    other = data.without_users(np.array([0], np.int32))
    assert fit("popularity", other).record.data == other.digest != data.digest


@pytest.mark.parametrize("name", [*FILES, "schema.json"])
def test_one_changed_byte_is_noticed(model: Any, tmp_path: Path, name: str) -> None:
    save(model, tmp_path / "m")
    path = tmp_path / "m" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x20
    path.write_bytes(bytes(content))
    with pytest.raises(ModelFileError):
        load(tmp_path / "m")


@pytest.mark.parametrize("name", [*FILES, "schema.json"])
def test_a_missing_or_linked_file_is_named(model: Any, tmp_path: Path, name: str) -> None:
    save(model, tmp_path / "m")
    path = tmp_path / "m" / name
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelFileError, match=name.split(".")[0]):
        load(tmp_path / "m")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFileError, match="link"):
        load(tmp_path / "m")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*FILES, "schema.json"]),
    at=st.integers(0, 4000),
    byte=st.integers(0, 255),
    fixed=st.booleans(),
)
def test_any_change_is_refused_or_harmless(
    model: Any, tmp_path: Path, name: str, at: int, byte: int, fixed: bool
) -> None:
    """Also when the digests were made to fit: what then loads is a model, what does not is refused in words.

    Not so for Parquet, whose sizes its reader believes: it ends the process where they ask for more memory than there is.
    """
    import hashlib
    import shutil

    folder = tmp_path / "m"
    shutil.rmtree(folder, ignore_errors=True)
    save(model, folder)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(bytes(content))
    if fixed and name != "schema.json" and not name.endswith(".parquet"):
        head = json.loads((folder / "schema.json").read_text())
        head["files"][name] = hashlib.sha256(bytes(content)).hexdigest()
        (folder / "schema.json").write_text(json.dumps(head))
    with contextlib.suppress(ModelFileError):  # any other exception fails the test
        assert len(load(folder).items) == len(model.items)


def test_foreign_folders_and_versions_are_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model folder"):
        load(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelFileError, match="no saved model"):
        load(tmp_path / "other")
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ModelFileError, match="no saved model"):
        save(model, tmp_path / "other")
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"
    save(model, tmp_path / "m")
    head = json.loads((tmp_path / "m" / "schema.json").read_text())
    (tmp_path / "m" / "schema.json").write_text(json.dumps({**head, "version": 99}))
    with pytest.raises(ModelFileError, match="99"):
        load(tmp_path / "m")


def test_an_unknown_slug_suggests_the_nearest(model: Any, tmp_path: Path) -> None:
    import hashlib

    save(model, tmp_path / "m")
    spec = (tmp_path / "m" / "spec.json").read_text().replace('"item-knn"', '"item-kmn"')
    (tmp_path / "m" / "spec.json").write_text(spec)
    head = json.loads((tmp_path / "m" / "schema.json").read_text())
    head["files"]["spec.json"] = hashlib.sha256(spec.encode()).hexdigest()
    (tmp_path / "m" / "schema.json").write_text(json.dumps(head))
    with pytest.raises(ModelFileError, match="Did you mean 'item-knn'"):
        load(tmp_path / "m")


@pytest.mark.parametrize("fails_at", range(8))
def test_a_full_disk_leaves_the_old_model(
    model: Any, tmp_path: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(model, tmp_path / "m")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    real, count = os.replace, {"n": 0}
    import oakum.store as store

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    names = ["_json", "_weights", "card_of", "_digest"]
    if fails_at < len(names):
        monkeypatch.setattr(store, names[fails_at], full)
    else:

        def replace(a: Any, b: Any) -> None:
            count["n"] += 1
            if count["n"] == fails_at - len(names) + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(a, b)

        monkeypatch.setattr(store.os, "replace", replace)
        if fails_at - len(names) >= 2:
            return  # a save makes two renames
    with pytest.raises(ModelFileError, match="No space left"):
        save(model, tmp_path / "m")
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    load(tmp_path / "m")


def test_saving_again_replaces_the_model(model: Any, tmp_path: Path) -> None:
    save(model, tmp_path / "m")
    save(fit("popularity", random_log()), tmp_path / "m")
    assert load(tmp_path / "m").spec.slug == "popularity"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("content", [b"\x80\x04\x95", b"PK\x03\x04", b"\xff" * 16, b"", b"\x00" * 4])
def test_disguised_weights_are_refused(model: Any, tmp_path: Path, content: bytes) -> None:
    import hashlib

    save(model, tmp_path / "m")
    (tmp_path / "m" / "weights.safetensors").write_bytes(content)
    head = json.loads((tmp_path / "m" / "schema.json").read_text())
    head["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "m" / "schema.json").write_text(json.dumps(head))
    with pytest.raises(ModelFileError):
        load(tmp_path / "m")


def test_ids_of_any_spelling_survive(tmp_path: Path) -> None:
    import dataclasses

    import polars as pl

    from oakum.data import Vocabulary

    data = random_log()
    odd = ["", " ", "<script>", "=1+1", "é\u202e", *[f"x{i}" for i in range(25)]]
    data = dataclasses.replace(data, items=Vocabulary(pl.Series("id", odd)))
    save(fit("popularity", data), tmp_path / "m")
    assert load(tmp_path / "m").items.ids.to_list() == odd
    assert np.isfinite(load(tmp_path / "m").recommend(["u1"], k=1)[0]["items"][0]["score"])
