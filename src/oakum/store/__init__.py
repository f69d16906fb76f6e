"""Saved models: a folder of JSON, safetensors and Parquet. Nothing in it can execute; there is no other reader.

spec.json            slug, hyper-parameters, run record
schema.json          format version, sizes, SHA-256 of every other file
weights.safetensors  weights and facts (learned) or state (closed form), and what guards the model (spec.json says who)
users.parquet, items.parquet   the ids in code order; items with their training counts and what was told of them
history.parquet      training events by user: what is not recommended again, and what sequence models read
card.md              what this is, in words
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError

from oakum.data import Dataset, Interactions, Schema, Vocabulary
from oakum.engine.closed import ClosedForm
from oakum.engine.fitted import Fitted
from oakum.engine.record import Record
from oakum.errors import MissingExtra, ModelFileError, OakumError, ParameterError
from oakum.store.card import card_of

VERSION = 1
FILES = ("spec.json", "weights.safetensors", "users.parquet", "items.parquet", "history.parquet", "card.md")
LARGEST_JSON = 1 << 26
LARGEST_HEADER = 1 << 24


def save(fitted: Fitted, folder: str | Path) -> Path:
    """Write a model. The whole folder is written aside and renamed: afterwards the old one or the new one is there,
    never a mix. Raises `ModelFileError` where it cannot be written; an older model then stays as it was."""
    folder = Path(folder)
    if folder.exists() and not (folder / "schema.json").exists() and any(folder.iterdir()):
        raise ModelFileError(f"{folder} exists and is no saved model; name another folder.")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        _write(fitted, aside)
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
    except (OSError, pl.exceptions.PolarsError, SafetensorError) as error:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ModelFileError(f"The model could not be saved to {folder}: {why}. Nothing there was changed.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _write(fitted: Fitted, folder: Path) -> None:
    spec: dict[str, Any] = {"system": fitted.spec.to_json(), "record": fitted.record.to_json()}
    if fitted.guards:
        spec["guards"] = [defence.to_json() for defence, _ in fitted.guards]
    _json(folder / "spec.json", spec)
    _weights(fitted, folder / "weights.safetensors")
    fitted.users.ids.rename("id").to_frame().write_parquet(folder / "users.parquet")
    items = pl.DataFrame({"id": fitted.items.ids, "count": fitted.item_counts})
    told = _told(fitted.item_table)
    if told:
        items = items.with_columns(about=pl.struct(told))
    items.write_parquet(folder / "items.parquet")
    histories = fitted.histories
    columns: dict[str, Any] = {"user": histories.owners().astype(np.int32), "item": histories.items}
    for name in ("times", "values", "rows"):
        column = getattr(histories, name)
        if column is not None:
            columns[name] = column
    pl.DataFrame(columns).write_parquet(folder / "history.parquet")
    (folder / "card.md").write_text(card_of(fitted), encoding="utf-8")
    schema = {
        "format": "oakum model",
        "version": VERSION,
        "schema": fitted.schema.to_json(),
        "files": {name: _digest(folder / name) for name in FILES},
        "data": fitted.record.data,
    }
    _json(folder / "schema.json", schema)


def _told(table: pl.DataFrame | None) -> list[pl.Series]:
    """The columns that people would filter by or show: numbers, text, dates and lists of them; vectors stay with the
    weights that were made of them."""
    if table is None:
        return []
    plain = lambda t: t.is_numeric() or t in (pl.String, pl.Boolean, pl.Date, pl.Datetime)
    keep = lambda t: plain(t) or (isinstance(t, pl.List) and t.inner in (pl.String, pl.Int64))
    return [c for c in table if keep(c.dtype)]


def _weights(fitted: Fitted, path: Path) -> None:
    doors = {f"guards/{i}/{k}": v for i, (_, door) in enumerate(fitted.guards) for k, v in door.state().items()}
    if isinstance(fitted.model, ClosedForm):
        from safetensors.numpy import save_file

        state = {k: np.ascontiguousarray(v) for k, v in {**fitted.model.state(), **doors}.items()}
        save_file(state, str(path))
        return
    import torch
    from safetensors.torch import save_file as save_torch

    model = fitted.model
    borrowed = tuple(f"{b}." for b in model.borrowed)
    tensors = {f"weights/{k}": v for k, v in model.state_dict().items() if not k.startswith(borrowed or ("\0",))}
    tensors.update({f"facts/{k}": v for k, v in model.facts.items()})
    tensors.update({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in doors.items()})
    save_torch({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, str(path))


def load(folder: str | Path) -> Fitted:
    """Read a saved model; scores are bit-equal to those before saving.

    Every file is checked against its digest before it is read, the class comes from the catalogue by its slug, and
    shapes are checked against the spec. Raises `ModelFileError` with the reason where anything is off.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFileError(f"There is no model folder {folder}.")
    head = _read_json(folder / "schema.json")
    if head.get("format") != "oakum model":
        raise ModelFileError(f"{folder} is no model that Oakum saved.")
    if head.get("version") != VERSION:
        raise ModelFileError(
            f"{folder} is of format version {head.get('version')!r}; this Oakum reads version {VERSION}. Fit it again, or "
            "use the Oakum that saved it."
        )
    files = head.get("files")
    if not isinstance(files, Mapping) or set(files) != set(FILES):
        raise ModelFileError(
            f"{folder}/schema.json names other files than a model has; the folder is damaged or foreign."
        )
    for name in FILES:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ModelFileError(f"{path} is missing (or a link); the folder is not whole.")
        if _digest(path) != files[name]:
            raise ModelFileError(f"{path} was changed after it was saved (its SHA-256 differs); it is not loaded.")
    try:
        return _restore(folder, head)
    except OakumError:
        raise
    except (
        Exception,
        pl.exceptions.PanicException,
    ) as error:  # a well-signed folder may still hold nonsense: say so, whatever form it takes
        raise ModelFileError(f"{folder} cannot be read as a model: {type(error).__name__}: {error}") from None


def _restore(folder: Path, head: Mapping[str, Any]) -> Fitted:
    from oakum.catalogue import entry, load_class

    content = _read_json(folder / "spec.json")
    system = content["system"]
    try:
        entry(str(system.get("slug")), "model")
        spec = load_class(str(system["slug"])).from_json(system)
    except ParameterError as error:
        raise ModelFileError(f"{folder}/spec.json: {error}") from None
    schema = Schema.from_json(head["schema"])
    users = Vocabulary(pl.read_parquet(folder / "users.parquet")["id"])
    items = pl.read_parquet(folder / "items.parquet")
    if len(users) != schema.num_users or len(items) != schema.num_items:
        raise ModelFileError(f"{folder}: {len(users)} users and {len(items)} items where the schema says otherwise.")
    events = pl.read_parquet(folder / "history.parquet")
    column = lambda name: events[name].to_numpy() if name in events.columns else None
    log = Interactions(
        events["user"].to_numpy(), events["item"].to_numpy(), column("values"), column("times"),
        events["rows"].to_numpy() if "rows" in events.columns else np.arange(len(events)),
    )  # fmt: skip
    for name, codes, size in (("user", log.users, len(users)), ("item", log.items, len(items))):
        if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < size:
            raise ModelFileError(f"{folder}/history.parquet holds a {name} code outside the vocabulary.")
    tables = {"items": items["about"].struct.unnest()} if "about" in items.columns else {}
    name = str(content["record"].get("data_name", "log"))
    data = Dataset(log, users, Vocabulary(items["id"]), tables, name=name)
    path = folder / "weights.safetensors"
    _check_header(path)
    model = _model(spec, schema, path)
    doors = _doors(content, path)
    fitted = Fitted(spec, model, schema, data, Record.from_json(content["record"]))
    fitted.item_counts = items["count"].to_numpy().astype(np.int64)
    for defence, state in doors:
        fitted = fitted.guarded(defence, defence.restore(fitted, state))
    return fitted


def _doors(content: Mapping[str, Any], path: Path) -> list[tuple[Any, dict[str, NDArray[Any]]]]:
    """The third doors that a model was saved behind, innermost first, with their arrays."""
    from safetensors.numpy import load_file

    from oakum.catalogue import entry, load_class

    named = content.get("guards") or []
    if not named:
        return []
    arrays, out = load_file(str(path)), []
    for i, guard in enumerate(named):
        entry(str(guard.get("slug")), "defence")
        state = {k.removeprefix(f"guards/{i}/"): v for k, v in arrays.items() if k.startswith(f"guards/{i}/")}
        out.append((load_class(str(guard["slug"])).from_json(guard), state))
    return out


def _model(spec: Any, schema: Schema, path: Path) -> Any:
    from oakum.engine.fit import spec_is_learned

    if not spec_is_learned(spec):
        from safetensors.numpy import load_file

        model = spec.build(schema)
        state: dict[str, NDArray[Any]] = load_file(str(path))
        model.restore({k: v for k, v in state.items() if not k.startswith("guards/")})
        return model
    try:
        import torch
        from safetensors.torch import load_file as load_torch
    except ModuleNotFoundError:
        raise MissingExtra(f"The saved system '{spec.slug}'", "torch") from None
    with torch.random.fork_rng(devices=[]):
        model = spec.build(schema)
    tensors = load_torch(str(path))
    weights = {k[8:]: v for k, v in tensors.items() if k.startswith("weights/")}
    model.resize(weights)
    own = model.state_dict()
    borrowed = tuple(f"{b}." for b in model.borrowed)
    for name, value in own.items():
        if borrowed and name.startswith(borrowed):
            continue
        if name not in weights or weights[name].shape != value.shape or weights[name].dtype != value.dtype:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            raise ModelFileError(f"{path}: '{name}' should be {tuple(value.shape)} by its spec, found {found}.")
    model.load_state_dict(weights, strict=not borrowed)
    model.put_facts({k[6:]: v for k, v in tensors.items() if k.startswith("facts/")})
    return model.eval()


def _check_header(path: Path) -> None:
    """The header of a safetensors file, before anything is allocated for it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LARGEST_HEADER, size - 8):
            raise ModelFileError(f"{path} is no safetensors file (its header would be {length} bytes of {size}).")
        header = json.loads(file.read(length))
    room = size - 8 - length
    for name, tensor in header.items():
        if name != "__metadata__" and not 0 <= tensor["data_offsets"][0] <= tensor["data_offsets"][1] <= room:
            raise ModelFileError(f"{path}: '{name}' points outside the file.")


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, default=str, ensure_ascii=False), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file():
        raise ModelFileError(f"{path.parent} is no saved model: {path.name} is missing (or a link).")
    if path.stat().st_size > LARGEST_JSON:
        raise ModelFileError(f"{path} is larger than {LARGEST_JSON >> 20} MiB, which no model's {path.name} is.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is not JSON ({str(error).splitlines()[0]}).") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} should hold a JSON object.")
    return value


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()
