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
