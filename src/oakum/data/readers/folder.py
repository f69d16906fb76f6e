"""What a folder holds: a log under a usual name, published parts, side tables."""

from __future__ import annotations

from pathlib import Path

from oakum.data.issues import refuse
from oakum.data.readers import movielens
from oakum.errors import DataError

SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".txt": "text", ".dat": "text", ".data": "text",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".inter": "atomic", ".user": "atomic", ".item": "atomic", ".net": "atomic", ".link": "atomic",
}  # fmt: skip
_LOGS = (
    "interactions",
    "ratings",
    "sequences",
    "reviews",
    "events",
    "log",
    "logs",
    "clicks",
    "purchases",
    "checkins",
    "plays",
    "context_log",
    "usage_log",
    "interaction",
    "data",
    "report_techniques",
)
_SIDES = {"users": ("users", "reports"), "items": ("items", "techniques")}
_PARTS = {"train": ("train", "training"), "valid": ("valid", "validation", "val", "dev"), "test": ("test",)}


def format_of(path: Path) -> str | None:
    """The format that a file name says, `.gz` aside."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def stem_of(path: Path) -> str:
    """The file name without its endings."""
    return path.name.split(".")[0] or path.name


def parts_in(folder: Path) -> dict[str, Path]:
    """Published parts by role; a name counts when it is the word, or the word and a suffix or prefix
    (`test_cold_items`). The folder may also be the name of one of several sets (`set_at`).
    """
    if not folder.is_dir():
        return set_at(folder)
    files = sorted(
        p
        for p in folder.iterdir()
        if p.is_file() and format_of(p) in ("csv", "tsv", "text", "parquet", "arrow", "jsonl")
    )
    found = {}
    for role, words in _PARTS.items():
        exact = [p for p in files if stem_of(p).lower() in words]
        loose = [p for p in files if any(w in stem_of(p).lower().split("_") for w in words)]
        loose = [p for p in loose if not any(w in stem_of(p).lower().split("_") for w in ("negatives", "negative"))]
        chosen = exact or loose
        if len(chosen) > 1:
            _refuse_several(folder)
            names = ", ".join(p.name for p in chosen[:8])
            refuse(
                folder,
                f"several files may be the {role} part ({names})",
                "Give the files themselves: (train, test).",
            )
        if chosen:
            found[role] = chosen[0]
    return found


def sets_in(folder: Path) -> dict[str, dict[str, Path]]:
    """Several published sets in one folder, by name: `name_train.*` and `name_test.*`, perhaps `name_valid.*`."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name, _, word = stem_of(path).rpartition("_")
        role = next((r for r, words in _PARTS.items() if word.lower() in words), None)
        if name and role is not None and path.is_file() and format_of(path) is not None:
            found.setdefault(name, {})[role] = path
    return {
        name: {role: parts[role] for role in _PARTS if role in parts}
        for name, parts in found.items()
        if {"train", "test"} <= parts.keys()
    }


def set_at(path: Path) -> dict[str, Path]:
    """The parts of the set that `folder/name` names; empty where it names none."""
    return {} if path.exists() else sets_in(path.parent).get(path.name, {})


def _refuse_several(folder: Path) -> None:
    sets = sets_in(folder)
    if len(sets) > 1:
        refuse(folder, f"several published sets ({', '.join(sets)})", f"Name one of them: {folder / next(iter(sets))}.")


def log_in(folder: Path) -> Path | None:
    """The one log of a folder, by its usual names; None where the folder holds published parts instead."""
    known = movielens.in_folder(folder)
    if known is not None:
        return known
    files = sorted(p for p in folder.iterdir() if p.is_file())
    inter = [p for p in files if p.suffix == ".inter"]
    if len(inter) == 1:
        return inter[0]
    readable = [p for p in files if format_of(p) is not None]
    for stem in _LOGS:
        for path in readable:
            if stem_of(path).lower() == stem:
                return path
    try:
        if {"train", "test"} <= parts_in(folder).keys():
            return None
    except DataError:
        pass
    if len(readable) == 1:
        return readable[0]
    _refuse_several(folder)
    names = ", ".join(p.name for p in files[:10]) or "nothing"
    refuse(
        folder,
        f"no log under a known name in this folder (it holds {names})",
        "Name the file itself, or call it interactions, ratings or events; parts are called train and test.",
    )


def sides_in(folder: Path) -> dict[str, Path]:
    """Tables of users and items that lie beside a log: `users.*`, `items.*`; `reports.*`, `techniques.*`."""
    out: dict[str, Path] = {}
    for side, names in _SIDES.items():
        for path in (p for name in reversed(names) for p in sorted(folder.glob(f"{name}.*"))):
            if path.is_file() and format_of(path) in ("csv", "tsv", "parquet", "arrow", "jsonl"):
                out[side] = path
    return out
