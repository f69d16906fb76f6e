"""MovieLens as GroupLens publishes it: `u.data` (100K), `ratings.dat` (1M, 10M), `ratings.csv` (20M and
later).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import polars as pl

from oakum.data.issues import refuse
from oakum.data.readers.delimited import read_delimited
from oakum.data.readers.table import Table

LOGS = ("u.data", "ratings.dat", "ratings.csv")
_RATING = ["user_id", "item_id", "rating", "timestamp"]
_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)


def in_folder(folder: Path) -> Path | None:
    """The log of a MovieLens folder, if it is one (ratings.csv counts only with movies.csv beside it)."""
    for name in LOGS:
        if (folder / name).is_file() and (name != "ratings.csv" or (folder / "movies.csv").is_file()):
            return folder / name
    return None


def read_movielens(path: Path, stack: ExitStack) -> Table:
    """The ratings, with the tables of movies and people that lie beside them."""
    if path.name == "ratings.csv":
        table = read_delimited(path, stack)
    else:
        table = read_delimited(path, stack, "\t" if path.name == "u.data" else "::", _RATING)
        table.roles = {"user": "user_id", "item": "item_id", "value": "rating", "time": "timestamp"}
    table.name = path.parent.name or "movielens"
    folder = path.parent
    if (folder / "u.item").is_file() and path.name == "u.data":
        table.sides["items"] = _u_item(folder / "u.item")
    if (folder / "u.user").is_file() and path.name == "u.data":
        table.sides["users"] = _cells(folder / "u.user", "|", ["user_id", "age", "gender", "occupation", "zip_code"])
    if (folder / "movies.dat").is_file() and path.name == "ratings.dat":
        table.sides["items"] = _genres(_cells(folder / "movies.dat", "::", ["item_id", "title", "genres"]))
    if (folder / "users.dat").is_file() and path.name == "ratings.dat":
        table.sides["users"] = _cells(
            folder / "users.dat", "::", ["user_id", "gender", "age", "occupation", "zip_code"]
        )
    if (folder / "movies.csv").is_file() and path.name == "ratings.csv":
        with ExitStack() as own:
            movies = read_delimited(folder / "movies.csv", own).frame.collect()
        table.sides["items"] = _genres(
            movies.rename({c: n for c, n in (("movieId", "item_id"),) if c in movies.columns})
        )
    return table


def _cells(path: Path, separator: str, names: list[str]) -> pl.DataFrame:
    """A small side table in Latin-1, the encoding of the early sets (UTF-8 where it is that)."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    rows = [line.split(separator) for line in text.splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < len(names):
            refuse(
                path,
                f"{len(row)} cells where {len(names)} were expected",
                "Download the set again.",
                line=number,
            )
    frame = pl.DataFrame({n: [r[i] for r in rows] for i, n in enumerate(names)}, schema=dict.fromkeys(names, pl.String))
    for name in (names[0], "age"):
        if name in frame.columns:
            whole = frame[name].cast(pl.Int64, strict=False)
            frame = frame.with_columns(whole) if whole.null_count() == 0 else frame
    return frame


def _u_item(path: Path) -> pl.DataFrame:
    flags = [f"genre_{i}" for i in range(len(_GENRES))]
    frame = _cells(path, "|", ["item_id", "title", "release_date", "video_release_date", "url", *flags])
    genres = pl.concat_list(
        pl.when(pl.col(f) == "1").then(pl.lit(g)).otherwise(None) for f, g in zip(flags, _GENRES, strict=True)
    ).list.drop_nulls()
    return frame.select("item_id", "title", "release_date", genres.alias("genres"))


def _genres(frame: pl.DataFrame) -> pl.DataFrame:
    if "genres" not in frame.columns or frame["genres"].dtype != pl.String:
        return frame
    kept = pl.when(pl.col("genres") == "(no genres listed)").then(None).otherwise(pl.col("genres")).str.split("|")
    return frame.with_columns(kept.alias("genres"))
