"""Saved indexes: a folder of JSON and safetensors. Graphs are stored as arrays of ours, so no other reader exists.

index.json          kind, measure, settings and what was measured; the SHA-256 of the arrays
arrays.safetensors  the vectors, and what searching needs beside them
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from oakum.errors import ModelFileError, OakumError
from oakum.index.base import Geometry, Index
from oakum.index.building import KINDS
from oakum.store import _check_header, _digest, _json, _read_json

VERSION = 1


def save_index(index: Index, folder: str | Path) -> Path:
    """Write an index; the folder appears whole or stays as it was. Raises `ModelFileError` where it cannot be written."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    if folder.exists() and not (folder / "index.json").exists() and any(folder.iterdir()):
        raise ModelFileError(f"{folder} exists and is no saved index; name another folder.")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    arrays = {"vectors": index.geometry.vectors, **{f"state/{k}": v for k, v in index.state().items()}}
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, str(aside / "arrays.safetensors"))
        head = {
            "format": "oakum index",
            "version": VERSION,
            "kind": index.kind,
            "metric": index.geometry.metric,
            "settings": index.settings(),
            "digest": _digest(aside / "arrays.safetensors"),
        }
        _json(aside / "index.json", head)
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
    except (OSError, SafetensorError) as error:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ModelFileError(f"The index could not be saved to {folder}: {why}. Nothing there was changed.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
    return folder


def load_index(folder: str | Path) -> Index:
    """Read a saved index: it answers and plans as it did before saving. Raises `ModelFileError` with the reason where the
    folder is foreign, was changed after saving, or holds arrays that do not fit together."""
    from safetensors.numpy import load_file

    folder = Path(folder)
    head = _read_json(folder / "index.json")
    if head.get("format") != "oakum index":
        raise ModelFileError(f"{folder} is no index that Oakum saved.")
    if head.get("version") != VERSION:
        raise ModelFileError(
            f"{folder} is of index version {head.get('version')!r}; this Oakum reads version {VERSION}. Build it again."
        )
    path = folder / "arrays.safetensors"
    if path.is_symlink() or not path.is_file():
        raise ModelFileError(f"{path} is missing (or a link); the folder is not whole.")
    if _digest(path) != head.get("digest"):
        raise ModelFileError(f"{path} was changed after it was saved (its SHA-256 differs); it is not loaded.")
    try:
        _check_header(path)
        arrays: dict[str, Any] = load_file(str(path))
        geometry = Geometry(arrays["vectors"], head["metric"])
        state = {k.removeprefix("state/"): v for k, v in arrays.items() if k != "vectors"}
        found: Index = KINDS[head["kind"]].restored(geometry, head["settings"], state)
    except OakumError as error:
        raise ModelFileError(f"{folder}: {error}") from None
    except Exception as error:  # a well-signed folder may still hold nonsense: say so, whatever form it takes
        raise ModelFileError(f"{folder} cannot be read as an index: {type(error).__name__}: {error}") from None
    return found
