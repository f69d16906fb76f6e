"""A log in another form: written aside, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from oakum.data.dataset import Dataset
from oakum.errors import DataError, ParameterError

ENDINGS = (".csv", ".tsv", ".parquet", ".arrow", ".jsonl", ".inter", ".txt")


def frame_from(data: Dataset) -> pl.DataFrame:
    """The events under their own ids: user_id, item_id, rating?, timestamp? (seconds), further fields."""
    log = data.interactions
    columns: dict[str, object] = {
        "user_id": data.users.ids.gather(log.users.astype("int64")),
        "item_id": data.items.ids.gather(log.items.astype("int64")),
    }
    if log.values is not None:
        columns["rating"] = log.values
    if log.times is not None:
        columns["timestamp"] = log.times // 1_000_000 if not (log.times % 1_000_000).any() else log.times / 1e6
    columns.update({k: v for k, v in log.fields.items() if k not in columns})
    return pl.DataFrame(columns)


def convert(data: Dataset, path: str | Path) -> Path:
    """Write the log as its ending says: .csv .tsv .parquet .arrow .jsonl .inter (RecBole) .txt (a user a line)."""
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise ParameterError(f"'{path.name}' ends in none of {', '.join(ENDINGS)}, so its format is not known.")
    frame = frame_from(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix in (".csv", ".tsv"):
            frame.write_csv(aside, separator="," if path.suffix == ".csv" else "\t")
        elif path.suffix == ".parquet":
            frame.write_parquet(aside)
        elif path.suffix == ".arrow":
            frame.write_ipc(aside)
        elif path.suffix == ".jsonl":
            frame.write_ndjson(aside)
        elif path.suffix == ".inter":
            kinds = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
            frame = frame.rename({c: f"{c}:{kinds.get(c, 'float')}" for c in frame.columns})
            frame.write_csv(aside, separator="\t")
        else:
            if not data.users.ids.dtype.is_integer() or not data.items.ids.dtype.is_integer():
                raise ParameterError("The form of one user a line needs whole numbers as ids; choose another ending.")
            grouped = frame.group_by("user_id", maintain_order=True).agg("item_id").sort("user_id")
            with aside.open("w") as out:
                for user, items in grouped.iter_rows():
                    out.write(" ".join(map(str, [user, *items])) + "\n")
        os.replace(aside, path)
    except OSError as error:
        raise DataError(f"{path} could not be written ({error.strerror or error}); nothing was changed.") from None
    finally:
        aside.unlink(missing_ok=True)
    return path
