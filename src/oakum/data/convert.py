"""A log in another form: written aside, then renamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from oakum.data.dataset import Dataset
from oakum.data.domains import COLUMN, domains, has_domains, item_domain
from oakum.errors import DataError, ParameterError, nearest
from oakum.files import whole

ENDINGS = (".csv", ".tsv", ".parquet", ".arrow", ".jsonl", ".inter", ".txt")
_SINCE_1973 = 10**14  # microseconds above which whole microseconds cannot be taken for another unit


def frame_from(data: Dataset) -> pl.DataFrame:
    """The events under their own ids: user_id, item_id, rating?, timestamp?, context fields, the domain of the item where it has one.

    timestamp: whole seconds where all times are; else whole microseconds, or (before March 1973, where their
    size would not tell the unit) seconds with a fraction.

    """
    log = data.interactions
    columns: dict[str, object] = {}
    if len(data.users):
        columns["user_id"] = data.users.ids.gather(log.users.astype(np.int64))
    if len(data.items):
        columns["item_id"] = data.items.ids.gather(log.items.astype(np.int64))
    if log.values is not None:
        columns["rating" if data.has_pairs else "label"] = log.values
    if log.times is not None:
        if not (log.times % 1_000_000).any():
            columns["timestamp"] = log.times // 1_000_000
        elif log.times.min() >= _SINCE_1973:
            columns["timestamp"] = log.times
        else:
            columns["timestamp"] = log.times / 1e6
    columns.update({k: v for k, v in log.fields.items() if k not in columns})
    if has_domains(data) and COLUMN not in columns:
        names = pl.Series(domains(data).names, dtype=pl.String)
        columns[COLUMN] = names.gather(pl.Series(item_domain(data)[log.items]).replace(-1, None))
    return pl.DataFrame(columns)


def convert(data: Dataset, path: str | Path) -> Path:
    """Write the events as the ending says: .csv .tsv .parquet .arrow .jsonl .inter (RecBole) .txt (a user a
    line).

    `.txt` keeps who had what in the order of each history, and nothing else. The file appears whole or not at
    all. Raises `DataError` where ids cannot be spelt in the form asked for (tabs in `.inter`, spaces in
    `.txt`).

    """
    path = Path(path)
    if path.suffix in (".txt", ".inter") and not data.has_pairs:
        raise DataError(f"'{data.name}' has no users or no items, which {path.suffix} is about. Choose another ending.")
    if path.suffix not in ENDINGS:
        raise ParameterError(
            f"'{path.name}' ends in none of {', '.join(ENDINGS)}, so its format is not "
            f"known.{nearest(path.suffix, ENDINGS)}"
        )
    try:
        with whole(path) as aside:
            _write(data, path.suffix, aside)
    except OSError as error:
        raise DataError(f"{path} could not be written ({error.strerror or error}); nothing was changed.") from None
    return path


def _write(data: Dataset, ending: str, aside: Path) -> None:
    if ending == ".txt":
        _spelt(data, r"\s|^$", "one user a line", "spaces")
        _lines(data).write_csv(aside, include_header=False, quote_style="never", separator="\x01")
        return
    frame = frame_from(data)
    if ending in (".csv", ".tsv"):
        frame.write_csv(aside, separator="," if ending == ".csv" else "\t")
    elif ending == ".parquet":
        frame.write_parquet(aside)
    elif ending == ".arrow":
        frame.write_ipc(aside)
    elif ending == ".jsonl":
        frame.write_ndjson(aside)
    else:
        _spelt(data, r"[\t\r\n]|^$", "RecBole atomic files", "tabs and line breaks")
        kinds = {c: "float" if frame[c].dtype.is_numeric() else "token" for c in frame.columns}
        kinds.update(user_id="token", item_id="token")
        frame = frame.rename({c: f"{c}:{kinds[c]}" for c in frame.columns})
        frame.write_csv(aside, separator="\t", quote_style="never")


def _lines(data: Dataset) -> pl.DataFrame:
    histories = data.histories
    events = pl.DataFrame({"user": histories.owners(), "item": data.items.ids.gather(histories.items.astype(np.int64))})
    rows = events.group_by("user", maintain_order=True).agg(pl.col("item").cast(pl.String).str.join(" "))
    users = data.users.ids.gather(rows["user"]).cast(pl.String)
    return pl.DataFrame({"line": users + " " + rows["item"]})


def _spelt(data: Dataset, banned: str, form: str, what: str) -> None:
    for role, ids in (("user", data.users.ids), ("item", data.items.ids)):
        if ids.dtype == pl.String:
            bad = ids.filter(ids.str.contains(banned))
            if len(bad):
                raise DataError(
                    f"The {role} id {bad[0]!r} cannot be written as {form}, where ids hold no {what}. "
                    "Choose another ending."
                )
