"""Saved indexes: they answer as before, and nothing foreign, changed or out of bounds is loaded."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from oakum.data import Filter
from oakum.errors import ModelFileError
from oakum.index.building import build
from oakum.store.indexes import load_index, save_index

FAISS = find_spec("faiss") is not None
#: Kinds of index as they are tested: with all their parts where faiss is there.
KINDS: dict[str, dict[str, Any]] = {
    "exact": {},
    "ivf": {},
    "planned": {"graph": FAISS},
    **({"hnsw": {}} if FAISS else {}),
}


def vectors(n: int = 400) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    x[3] = np.nan
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["dot", "cosine", "l2"])
def test_a_loaded_index_answers_bit_for_bit(kind: str, metric: Any, tmp_path: Path) -> None:
    x = vectors()
    before = build(x, kind, metric, **KINDS[kind])
    after = load_index(save_index(before, tmp_path / "index"))
    q = np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32)
    for where in (None, Filter(allow=np.arange(0, 400, 5, dtype=np.int32))):
        a, b = before.search(q, 7, where=where), after.search(q, 7, where=where)
        np.testing.assert_array_equal(a.items, b.items)
        np.testing.assert_array_equal(a.scores, b.scores)
        assert a.plan == b.plan
        assert a.recall == b.recall or a.recall != a.recall
    assert after.settings() == before.settings()
    save_index(after, tmp_path / "index")  # over itself
    assert {p.name for p in tmp_path.iterdir()} == {"index"}


def signed(folder: Path, change: Any) -> None:
    """Change arrays and settings and sign the folder again, as whoever means harm would."""
    arrays = load_file(str(folder / "arrays.safetensors"))
    head = json.loads((folder / "index.json").read_text())
    change(arrays, head)
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, str(folder / "arrays.safetensors"))
    head["digest"] = hashlib.sha256((folder / "arrays.safetensors").read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(head))


def put(name: str, value: Any) -> Any:
    def change(arrays: dict[str, np.ndarray], head: dict[str, Any]) -> None:
        arrays[name] = value(arrays[name].copy())

    return change


def at(place: Any, number: int) -> Any:
    def change(a: np.ndarray) -> np.ndarray:
        a[place] = number
        return a

    return change


HARM = {
    "hnsw": [
        put("state/base", at((5, 0), 400)), put("state/base", at((5, 0), -7)), put("state/entry", at(0, 999)),
        put("state/levels", at(5, 30)), put("state/upper_at", at(5, -1)), put("state/upper", at((0, 0), 5000)),
        put("state/base", lambda a: a[:-1]), put("state/base", lambda a: a.astype(np.int64)),
        lambda arrays, head: arrays.pop("state/levels"),
    ],
    "ivf": [
        put("state/member", at(0, 9999)), put("state/member", at(0, -1)), put("state/member", lambda a: a[:-1]),
        put("state/centres", lambda a: a[:, :-1]), put("vectors", lambda a: a[:-1]),
    ],
    "exact": [
        lambda arrays, head: head.update(kind="os.system"), lambda arrays, head: head.update(metric="evil"),
        lambda arrays, head: head.update(version=99), lambda arrays, head: head.update(format="oakum model"),
        lambda arrays, head: arrays.pop("vectors"),
    ],
    "planned": [
        lambda arrays, head: head["settings"]["measures"][0].update(way="shell"),
        lambda arrays, head: head["settings"].pop("measures"), put("state/lists/member", at(0, 10**6)),
        *([put("state/graph/base", at((0, 0), 10**6))] if FAISS else []),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_even_when_signed(kind: str, tmp_path: Path) -> None:
    index = build(vectors(), kind, **KINDS[kind])
    for i, change in enumerate(HARM[kind]):
        folder = save_index(index, tmp_path / str(i))
        signed(folder, change)
        with pytest.raises(ModelFileError):
            load_index(folder)


def test_what_was_changed_is_not_read(tmp_path: Path) -> None:
    folder = save_index(build(vectors(), "exact"), tmp_path / "index")
    path = folder / "arrays.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        load_index(folder)
    path.unlink()
    with pytest.raises(ModelFileError, match="missing"):
        load_index(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    with pytest.raises(ModelFileError, match="no saved index"):
        save_index(build(vectors(), "exact"), tmp_path / "other")
    with pytest.raises(ModelFileError):
        load_index(tmp_path / "nothing")
