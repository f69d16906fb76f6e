"""The resumable state of a run: one safetensors file, written aside and renamed, so it is old or new, never mixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from oakum.engine.optimisers import Update
from oakum.errors import ModelFileError, OakumError
from oakum.files import whole

NAME = "checkpoint.safetensors"


def write(folder: Path, tensors: Mapping[str, Tensor], position: Mapping[str, Any]) -> None:
    """Save named tensors and a JSON position; an earlier state stays until the new one is whole."""
    try:
        with whole(folder / NAME) as aside:
            kept = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
            save_file(kept, str(aside), metadata={"oakum": json.dumps(position)})
    except (OSError, SafetensorError) as error:
        raise OakumError(
            f"The resumable state could not be written to {folder}: {error}. The last one stays."
        ) from None


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The saved state, or None where there is none."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            position = json.loads((file.metadata() or {})["oakum"])
            return {k: file.get_tensor(k) for k in file.keys()}, position  # noqa: SIM118
    except Exception as error:
        raise ModelFileError(
            f"The resumable state {path} cannot be read ({error}); delete it to start from the beginning."
        ) from None


def clear(folder: Path) -> None:
    """Remove the state of a finished run."""
    (folder / NAME).unlink(missing_ok=True)


def pack_optimiser(update: Update, prefix: str) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: prefix/index/name."""
    out = {}
    for index, state in update.state_dict()["state"].items():
        for name, value in state.items():
            out[f"{prefix}/{index}/{name}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return out


def unpack_optimiser(update: Update, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The inverse of `pack_optimiser`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}/"):
            index, name = key[len(prefix) + 1 :].split("/", 1)
            state.setdefault(int(index), {})[name] = value
    update.load_state_dict({"state": state})
