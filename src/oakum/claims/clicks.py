"""What the claims about models of labelled rows measure with: data sets, and fits that stop on a validation part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oakum.claims.base import Context


def frappe(context: Context) -> Any:
    """The NFM files of Frappe: 57,722 rows (a tenth of them validates) and 28,860 test rows, ten fields, one click in three.

    The file that its papers train on (four times as many rows) is not to be had: their validation file takes its place.
    """
    from dataclasses import replace

    from oakum.data.read import read_parts
    from oakum.splits import split
    from oakum.splits.protocol import Split

    folder = context.folder("frappe")
    files = (folder / "nfm_validation.parquet", folder / "nfm_test.parquet")
    train, test, _ = read_parts(files, user="user_feature", item="item_feature", value="label", name="frappe")
    inner = split(train, "rows", test=0.0001, valid=0.1, seed=0)
    return Split(inner.train, inner.valid, test, replace(inner.protocol, rule="files"))


def sample(context: Context, name: str) -> Any:
    """The first rows of Criteo or Avazu: train and dev as published, the published test rows and the extra ones together."""
    import numpy as np

    from oakum.data.read import read
    from oakum.splits.protocol import Protocol, Split

    data = read(context.folder(name) / "clicks.parquet", value="label", user="", item="", name=name)
    log = data.interactions
    told = log.fields["split"]
    train, dev = (log.take(told == part) for part in ("train", "dev"))
    test = log.take(np.isin(told, ("test", "extra")))
    return Split(data.with_interactions(train), dev, test, Protocol("published"))


def trained(
    slug: str, parts: Any, plan: Mapping[str, Any] | None = None, *, seed: int = 0, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """The fit, and auc and log_loss on the test rows with their intervals."""
    from oakum.api import fit
    from oakum.evaluation import evaluate

    model = fit(slug, parts, plan=dict(plan or {}), seed=seed, **settings)
    return model, evaluate(model, parts).metrics


def said(found: Mapping[str, Any], names: tuple[str, ...] = ("auc", "log_loss")) -> str:
    """'.9642/.2301'."""
    return "/".join(f"{found[n].value:.4f}".removeprefix("0") for n in names)


def movielens(context: Context) -> Any:
    """MovieLens-1M as AutoInt reads it: gender, age, occupation, zip, release period, time, genres; no ids of people or films.

    Ratings of 3 left out, above 3 positive. Only the 190,063 ratings whose times are known.
    """
    import polars as pl

    from oakum.data.read import read
    from oakum.splits import split

    folder = context.folder("movielens-1m")
    table = lambda name: pl.read_parquet(folder / f"{name}.parquet")
    year = pl.col("release_year")
    rows = (
        table("timestamps_partial")
        .join(table("interactions"), on=["user_id", "item_id"])
        .filter(pl.col("rating") != 3)
        .join(table("users"), on="user_id")
        .join(table("items"), on="item_id")
        .select(
            (pl.col("rating") > 3).cast(pl.Int8).alias("label"),
            "gender",
            "age_group",
            "occupation",
            "zip_code",
            pl.when(year < 1970).then(year // 10 * 10).otherwise(year).alias("period"),
            pl.col("timestamp").cast(pl.Float64).alias("moment"),
            "genres",
        )
    )
    data = read(rows, value="label", user="", item="", time="", name="movielens-1m")
    return split(data, "rows", test=0.1, valid=0.2, seed=context.seed)
