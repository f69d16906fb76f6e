"""`read`: a log in any common form becomes a `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.columns import guess, numbers_of, plain, times_of
from oakum.data.dataset import Dataset, Relation
from oakum.data.interactions import Interactions
from oakum.data.ragged import Ids
from oakum.data.readers import tables
from oakum.data.vocabulary import Vocabulary
from oakum.errors import DataError, nearest

FORMATS = ("csv", "tsv", "parquet", "arrow", "jsonl", "inter", "lines", "dat")
_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".dat": "csv", ".data": "csv", ".txt": "txt", ".inter": "csv", ".user": "csv",
    ".item": "csv", ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_LOGS = ("interactions", "ratings", "train", "events", "log", "u.data", "sequences", "plays", "clicks")


def frame_of(source: Any, format: str | None = None) -> pl.DataFrame:
    """Any table as a polars frame: a path, a polars, pandas or Arrow table."""
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, pl.DataFrame):
        return source
    if not isinstance(source, str | Path):
        if hasattr(source, "iloc"):
            out = pl.from_pandas(source)
        elif hasattr(source, "to_pylist"):
            out = pl.from_arrow(source)  # type: ignore[assignment]
        else:
            raise DataError(f"A log cannot be read from a {type(source).__name__}; give a path or a data frame.")
        return out
    path = Path(source)
    if not path.exists():
        folder = path.parent if path.parent.exists() else Path()
        raise DataError(f"There is no file {path}.{nearest(path.name, [p.name for p in folder.iterdir()])}")
    suffixes = [s for s in path.suffixes if s != ".gz"]
    kind = format or _SUFFIX.get(suffixes[-1].lower() if suffixes else "", "")
    if kind == "parquet":
        return tables.parquet(path)
    if kind == "arrow":
        return tables.arrow(path)
    if kind == "jsonl":
        return tables.jsonl(path)
    if kind in ("lines", "txt"):
        if kind == "lines" or tables.is_lines(tables.head_of(path)):
            return tables.lines(path)
        return tables.csv(path)
    if kind in ("csv", "tsv", "dat", "inter"):
        return tables.csv(path, "\t" if kind == "tsv" else None)
    raise DataError(f"{path} has an ending that says nothing about its format; give one of {', '.join(FORMATS)}.")


def read(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    time: str | None = None,
    format: str | None = None,
    users: Any = None,
    items: Any = None,
    relations: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read a log.

    source: a path (CSV, TSV, gzip, Parquet, Arrow, JSON lines, RecBole `.inter`, MovieLens, one user and its items a
    line), a folder that holds one, or a data frame. user, item, value, time: column names; guessed from common names
    where not given, and the guess is stated in `Dataset.notes`. users, items: tables of features with an id column.
    relations: name → table of two id columns (and perhaps a weight).
    Raises `DataError` that names file, row, column, what was found and the cure.
    """
    path = Path(source) if isinstance(source, str | Path) else None
    if path is not None and path.is_dir():
        path = log_in(path)
        users, items = _side(path, "user", users), _side(path, "item", items)
    frame = frame_of(path or source, format)
    where = str(path) if path is not None else "The data frame"
    return dataset_of(
        frame,
        where,
        {"user": user, "item": item, "value": value, "time": time},
        users=users,
        items=items,
        relations=relations,
        name=name or (path.parent.name if path is not None and path.stem in _LOGS else path.stem if path else "log"),
        header=path is not None and path.suffix not in (".parquet", ".arrow", ".feather", ".ipc"),
    )


def dataset_of(
    frame: pl.DataFrame,
    where: str,
    given: dict[str, str | None],
    *,
    users: Any = None,
    items: Any = None,
    relations: Mapping[str, Any] | None = None,
    name: str = "log",
    header: bool = True,
    vocabularies: tuple[Vocabulary, Vocabulary] | None = None,
) -> Dataset:
    """A checked `Dataset` from a frame; rows keep their place as row id."""
    first_line = 2 if header else 1
    if not len(frame.columns):
        raise DataError(f"{where} has no columns; expected a user, an item and perhaps a value and a time.")
    roles, notes = guess(frame.columns, given, where)
    if not len(frame):
        raise DataError(
            f"{where} has the columns {', '.join(frame.columns)} but no rows; there is nothing to learn from."
        )
    coded = []
    for role in ("user", "item"):
        column = frame[roles[role]]
        if column.null_count():
            row = int(column.is_null().arg_max() or 0)
            raise DataError(
                f"{where}, row {row + 1} (line {row + first_line}), column '{roles[role]}': the {role} id is missing "
                f"({column.null_count():,} rows in all). Every event needs one; remove or fill these rows."
            )
        coded.append(_code(column, None if vocabularies is None else vocabularies[0 if role == "user" else 1]))
    (user_codes, user_ids), (item_codes, item_ids) = coded
    if vocabularies is None:
        for role, ids in (("user", user_ids), ("item", item_ids)):
            if len(ids) < 2:
                raise DataError(
                    f"{where} has one {role} only ({ids.ids[0]!r} in column '{roles[role]}'); a recommender needs at least two. "
                    f"If this is the wrong column, say which holds the {role} with --{role} NAME."
                )
    values = times = None
    if "value" in roles:
        values = numbers_of(frame[roles["value"]], roles["value"], where, first_line)
    if "time" in roles:
        if frame[roles["time"]].null_count():
            row = int(frame[roles["time"]].is_null().arg_max() or 0)
            raise DataError(
                f"{where}, row {row + 1} (line {row + first_line}), column '{roles['time']}': the time is missing. Fill or "
                "remove such rows, or leave the column out."
            )
        times, note = times_of(frame[roles["time"]], roles["time"], where, first_line)
        notes.append(note)
    fields: dict[str, NDArray[Any]] = {}
    for column_name in frame.columns:
        if column_name in roles.values():
            continue
        column = frame[column_name]
        if (column.dtype.is_numeric() or column.dtype == pl.Boolean) and not column.null_count():
            fields[plain(column_name)] = column.to_numpy()
        elif column.dtype == pl.String and column.n_unique() <= 1000:
            fields[plain(column_name)] = column.fill_null("").to_numpy().astype(str)
        else:
            notes.append(f"Left out column '{column_name}' ({column.dtype}): not a number and not a category.")
    log = Interactions(user_codes, item_codes, values, times, fields=fields)
    tables_ = {}
    for side, source, ids in (("users", users, user_ids), ("items", items, item_ids)):
        if source is not None:
            tables_[side] = _features(source, ids, side)
    edges = {}
    for key, source in (relations or {}).items():
        edges[key], note = _relation(source, user_ids, item_ids, key)
        notes.append(note)
    twice = len(log) - log.matrix(len(user_ids), len(item_ids)).nnz
    if twice:
        notes.append(f"{twice:,} of {len(log):,} rows repeat a user-item pair; models that count people merge them.")
    return Dataset(log, user_ids, item_ids, tables_, edges, name, tuple(notes))


def _code(column: pl.Series, known: Vocabulary | None) -> tuple[Ids, Vocabulary]:
    """Codes and vocabulary of an id column: sorted, whole numbers as such, everything else as text."""
    if column.dtype.is_integer():
        column = column.cast(pl.Int64)
        if known is None and len(column):
            low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
            span = high - low + 1
            if span <= max(1_000_000, 4 * len(column)):  # a table is faster than a join where ids are compact
                raw = column.to_numpy() - low
                present = np.zeros(span, bool)
                present[raw] = True
                ids = np.flatnonzero(present)
                table = np.full(span, -1, np.int32)
                table[ids] = np.arange(len(ids), dtype=np.int32)
                return table[raw], Vocabulary(pl.Series("id", ids + low, dtype=pl.Int64))
    else:
        whole = column.dtype.is_float() and bool((column == column.floor()).all())
        column = column.cast(pl.Int64) if whole else column.cast(pl.String)
    if known is None:
        known = Vocabulary(column.unique().sort().rename("id"))
    return known.encode(column), known


def _features(source: Any, ids: Vocabulary, side: str) -> pl.DataFrame:
    """A table aligned with the codes: one row each, nulls where nothing is known."""
    frame = frame_of(source)
    role = side[:-1]
    roles, _ = guess(
        [*frame.columns, "__other"], {("item" if role == "user" else "user"): "__other"}, f"The {side} table"
    )
    key = roles[role]
    frame = frame.with_columns(pl.Series("__code", ids.encode(frame[key]))).filter(pl.col("__code") >= 0)
    frame = frame.unique("__code", keep="first", maintain_order=True).drop(key)
    codes = pl.DataFrame({"__code": np.arange(len(ids), dtype=np.int32)})
    return codes.join(frame, on="__code", how="left", maintain_order="left").drop("__code")


def _relation(source: Any, users: Vocabulary, items: Vocabulary, key: str) -> tuple[Relation, str]:
    frame = frame_of(source)
    if len(frame.columns) < 2:
        raise DataError(f"The relation '{key}' needs two id columns; found {', '.join(frame.columns)}.")
    first, second = frame.columns[:2]
    sides = []
    for column in (first, second):
        as_users = float((users.encode(frame[column]) >= 0).mean())
        as_items = float((items.encode(frame[column]) >= 0).mean())
        named = plain(column)
        is_item = named in _names("item") or (named not in _names("user") and as_items > as_users)
        sides.append("items" if is_item else "users")
    a = (users if sides[0] == "users" else items).encode(frame[first])
    b = (users if sides[1] == "users" else items).encode(frame[second])
    kept = (a >= 0) & (b >= 0)
    note = f"Relation '{key}': {int(kept.sum()):,} of {len(kept):,} edges join known {sides[0]} and {sides[1]}."
    return Relation(sides[0], sides[1], a[kept], b[kept]), note


def _names(role: str) -> list[str]:
    from oakum.data.columns import NAMES

    return NAMES[role]


def log_in(folder: Path) -> Path:
    """The log of a folder, by its usual names."""
    for stem in _LOGS:
        for found in sorted(folder.glob(f"{stem}*")):
            if found.suffix in _SUFFIX or found.name == "u.data":
                return found
    inter = sorted(folder.glob("*.inter"))
    if inter:
        return inter[0]
    names = sorted(p.name for p in folder.iterdir())[:10]
    raise DataError(
        f"The folder {folder} holds no log by a known name ({', '.join(_LOGS[:4])} with a usual ending). Found: "
        f"{', '.join(names) or 'nothing'}. Name the file itself."
    )


def _side(log: Path, role: str, given: Any) -> Any:
    if given is not None:
        return given
    stems = {"user": ("users",), "item": ("items", "movies")}[role]
    for stem in stems:
        for found in sorted(log.parent.glob(f"{stem}.*")):
            if found.suffix in (".parquet", ".csv", ".tsv", ".jsonl"):
                frame = frame_of(found)
                if any(plain(c) in _names(role) for c in frame.columns):
                    return frame
    return None


def read_parts(
    train: Any, test: Any, valid: Any = None, **options: Any
) -> tuple[Dataset, Interactions, Interactions | None]:
    """Published parts over one vocabulary: (training data, test events, validation events or None).

    Row ids of the test part lie above those of the training part; ids that only occur in one part are known in all.
    """
    frames = [frame_of(p) for p in (train, valid, test) if p is not None]
    given = {r: options.get(r) for r in ("user", "item", "value", "time")}
    where = [str(p) if isinstance(p, str | Path) else "The data frame" for p in (train, valid, test) if p is not None]
    roles = [guess(f.columns, given, w)[0] for f, w in zip(frames, where, strict=True)]
    ids = []
    for role in ("user", "item"):
        columns = [f[r[role]].rename("id") for f, r in zip(frames, roles, strict=True)]
        if not all(c.dtype.is_integer() for c in columns):
            columns = [c.cast(pl.String) for c in columns]
        ids.append(_code(pl.concat([c.cast(pl.Int64) if c.dtype.is_integer() else c for c in columns]), None)[1])
    name = options.get("name") or (Path(train).parent.name if isinstance(train, str | Path) else "log")
    made = [
        dataset_of(f, w, given, name=name, vocabularies=(ids[0], ids[1])) for f, w in zip(frames, where, strict=True)
    ]
    start = len(made[0])
    parts = []
    for part in made[1:]:
        log = part.interactions
        rows = log.rows + start
        start += len(log)
        parts.append(Interactions(log.users, log.items, log.values, log.times, rows, log.fields))
    return made[0], parts[-1], parts[0] if valid is not None else None
