"""The claims of the shilling sheet about detectors on published labels."""

from __future__ import annotations

from functools import cache
from typing import Any

from oakum.claims.base import Context, Outcome


@cache
def labelled(folder: Any, column: str) -> tuple[Any, Any]:
    """A log and who of its accounts is fake, bool [users]; labels of accounts without events are dropped."""
    import numpy as np
    import polars as pl

    from oakum.data.read import read

    data = read(pl.read_parquet(folder / "ratings.parquet"), name=folder.name)
    labels = pl.read_parquet(folder / "user_labels.parquet")
    codes = data.users.encode(labels["user_id"].to_list())
    fake = np.zeros(data.num_users, bool)
    fake[codes[(codes >= 0) & (labels[column].to_numpy() == 1)]] = True
    return data, fake


def _judged(scores: Any, fake: Any) -> tuple[Any, str]:
    """AUC with its interval over accounts, and with precision at the true number of fakes in words."""
    import numpy as np

    from oakum.metrics.calibration import auc_by_row
    from oakum.metrics.statistics import estimate, proportion

    known = np.isfinite(scores)
    found = estimate(auc_by_row(scores[known], fake[known].astype(float)))
    total = int(fake[known].sum())
    hit = int(fake[known][np.argsort(-scores[known], kind="stable")[:total]].sum())
    at = proportion(hit, total)
    return (
        found,
        f"AUC {found.value:.2f} [{found.low:.2f}, {found.high:.2f}], precision = recall {at.value:.2f} [{at.low:.2f}, {at.high:.2f}]",
    )


BLIND = ("pca", "rdma", "degsim", "length-variance", "coordination", "degree", "fap", "implicit")


def _blind(context: Context, name: str, column: str, why: str) -> Outcome:
    from oakum.catalogue import load_class

    data, fake = labelled(context.folder(name), column)
    rows, worse = [], []
    for slug in BLIND:
        found, words = _judged(load_class(slug)().scores(data), fake)
        rows.append(f"{slug} {words}")
        worse += [slug] if found.low <= 0.5 else []
    text = f"{int(fake.sum())} fakes among {data.num_users}: {'; '.join(rows)}"
    return Outcome(text, not worse, f"No better than chance: {', '.join(worse)}. {why}" if worse else "")


def injected_labels(context: Context) -> Outcome:
    """Blind detectors on FilmTrust with its 150 average-attack accounts."""
    return _blind(
        context, "filmtrust-average-attack", "is_fake",
        "The accounts' fillers are random, so they have five items in common with few others, and fewer than that count as no likeness in "
        "DegSim; with `least=2` they stand out at the other end.",
    )  # fmt: skip


def real_labels(context: Context) -> Outcome:
    """Blind detectors on Amazon's real review spammers."""
    return _blind(
        context, "amazon-spammers", "is_spammer",
        "These accounts review as many products as others do, more popular ones, and rate nearly all of them at the top: to detectors of "
        "injected profiles, which look for cold items and odd ratings, that is what people do.",
    )  # fmt: skip


def with_labels(context: Context) -> Outcome:
    """What a fifth of the labels is worth on Amazon: DegreeSAD's tree and FAP's seeds, judged on the other accounts, five folds."""
    from dataclasses import replace

    import numpy as np
    import polars as pl

    from oakum.defences.detect.degree import DegreeSAD, popularity_features
    from oakum.defences.detect.fap import FAP
    from oakum.seeds import generator

    data, fake = labelled(context.folder("amazon-spammers"), "is_spammer")
    part = generator(context.seed, "folds of the labels").integers(0, 5, data.num_users)
    features = popularity_features(data.matrix, data.item_counts)
    found: dict[str, list[Any]] = {"degree": [], "fap": []}
    words: dict[str, str] = {}
    for fold in range(5):
        told = part == fold
        tree = DegreeSAD().learn(features[told], fake[told])
        table = pl.DataFrame({"known_fake": (told & fake).astype(np.int8)})
        spread = FAP().scores(replace(data, tables={"users": table}))
        for slug, scores in (("degree", tree.predict(features)), ("fap", spread)):
            value, words[slug] = _judged(np.where(told, np.nan, scores), fake)
            found[slug].append(value)
    means = {s: float(np.mean([v.value for v in r])) for s, r in found.items()}
    holds = all(v.low > 0.5 for r in found.values() for v in r)
    text = "; ".join(f"{s} mean AUC over folds {means[s]:.2f}, last fold {words[s]}" for s in found)
    return Outcome(text, holds, "" if holds else "In some fold the interval reaches chance.")
