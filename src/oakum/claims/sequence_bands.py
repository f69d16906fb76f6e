"""What counting models reach where order matters: the figures that published sequence models have to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import figures

KNN = {"k": 100, "shrink": 10.0, "side": "history"}
DECAYED = {**KNN, "decay": 0.8}
MARKOV = {"decay": 0.8, "normalise": False}
BAND = 0.05  # relative: what is left open there (half-lives, how ties fall) moves no figure by more


def leave_last(folder: Path, remove_seen: bool) -> tuple[Any, Any, Any]:
    """A log of sequences: all but the last event of each person, and what is asked of them."""
    from oakum.data.read import read
    from oakum.splits import split

    parts = split(read(folder / "sequences.parquet"), "leave-last", valid=0)
    parts = replace(parts, protocol=replace(parts.protocol, remove_seen=remove_seen))
    truth = parts.truth()
    return parts.train, truth, truth.filter(remove_seen=remove_seen)


def prefixes(folder: Path, remove_seen: bool) -> tuple[Any, Any, Any]:
    """Sessions: the training ones, and published prefixes with the item that came next."""
    import numpy as np
    import polars as pl

    from oakum.data import Ragged
    from oakum.data.read import read
    from oakum.splits.protocol import Truth

    train = read(folder / "train.parquet", user="session_id", item="item_id")
    test = pl.read_parquet(folder / "test.parquet")
    lists = test["prefix_item_ids"]
    offsets = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy())]).astype(np.int64)
    histories = Ragged(offsets, train.items.encode(lists.explode()))
    found = train.items.encode(test["target_item_id"])
    known = np.where(found < 0, train.num_items, found).astype(np.int32)  # an item of the test alone cannot be found
    truth = Truth(
        np.full(len(test), -1, np.int32), Ragged(np.arange(len(test) + 1), known), histories.keep(histories.items >= 0)
    )
    return train, truth, truth.filter(remove_seen=remove_seen)


def _reach(
    slug: str, data: str, settings: dict[str, Any], want: dict[str, float], form: Any, remove_seen: bool
) -> Callable[[Context], Outcome]:
    def measure(context: Context) -> Outcome:
        import numpy as np

        from oakum.api import fit
        from oakum.metrics import measure as measured

        train, truth, where = form(context.folder(data), remove_seen)
        fitted = fit(slug, train, seed=context.seed, **settings)
        k = 2 * max(int(n.partition("@")[2]) for n in want)
        ranking = fitted.rank(truth.queries, k, where=where, fallback=True)
        found = {n: float(np.mean(v)) for n, v in measured(ranking, truth, list(want)).items()}
        missed = [n for n, v in want.items() if found[n] < v * (1 - BAND)]
        why = f"Below the band: {', '.join(missed)}." if missed else ""
        if missed and slug == "popularity":
            why += " The figure counts events, so that repeats weigh; here everybody counts once."
        return Outcome(figures(found), not missed, why)

    return measure


def _claims(
    data: str, metrics: tuple[str, str], rows: dict[str, tuple[str, dict[str, Any], tuple[float, float]]], *,
    form: Any = leave_last, remove_seen: bool = True,
) -> list[Claim]:  # fmt: skip
    rule = "last event" if form is leave_last else "published prefixes"
    mask = "seen items removed" if remove_seen else "seen items stay"
    return [
        Claim(
            f"{name} {data}",
            f"{name} on {data}, {rule}, all items ranked, {mask}",
            f"{figures(dict(zip(metrics, want, strict=True)))} (within {BAND:.0%} or above)",
            _reach(slug, data, settings, dict(zip(metrics, want, strict=True)), form, remove_seen),
            (slug,),
            True,
            6.0,
            "an independent NumPy count",
        )
        for name, (slug, settings, want) in rows.items()
    ]


TEN, TWENTY = ("hit_rate@10", "ndcg@10"), ("hit_rate@20", "mrr@20")
BANDS = (
    *_claims("amazon-beauty", TEN, {
        "popularity": ("popularity", {}, (0.0114, 0.0054)),
        "decayed item-knn": ("item-knn", DECAYED, (0.0770, 0.0458)),
        "decayed markov": ("markov", MARKOV, (0.0821, 0.0504)),
    }),
    *_claims("amazon-sports", TEN, {
        "popularity": ("popularity", {}, (0.0091, 0.0052)),
        "decayed item-knn": ("item-knn", DECAYED, (0.0524, 0.0322)),
        "decayed markov": ("markov", MARKOV, (0.0495, 0.0295)),
    }),
    *_claims("amazon-instruments", TEN, {
        "popularity": ("popularity", {}, (0.0509, 0.0330)),
        "decayed item-knn": ("item-knn", DECAYED, (0.1233, 0.0982)),
        "decayed markov": ("markov", MARKOV, (0.1115, 0.0872)),
    }),
    *_claims("lastfm-sequences", TEN, {
        "popularity": ("popularity", {}, (0.0376, 0.0172)),
        "item-knn": ("item-knn", KNN, (0.0560, 0.0293)),
        "decayed markov": ("markov", MARKOV, (0.0541, 0.0279)),
    }),
    *_claims("yelp-sequences", TEN, {
        "popularity": ("popularity", {}, (0.0100, 0.0051)),
        "own history": ("own-history", {}, (0.0661, 0.0427)),
        "item-knn": ("item-knn", KNN, (0.0609, 0.0334)),
        "markov": ("markov", {}, (0.0295, 0.0173)),
    }, remove_seen=False),
    *_claims("steam-sequences", TEN, {
        "popularity": ("popularity", {}, (0.0740, 0.0352)),
        "own history": ("own-history", {}, (0.1465, 0.1321)),
        "markov": ("markov", {}, (0.1726, 0.1455)),
        "decayed markov": ("markov", MARKOV, (0.1657, 0.1119)),
    }, remove_seen=False),
    *_claims("retailrocket-sessions", TWENTY, {
        "popularity": ("popularity", {}, (0.0238, 0.0050)),
        "own history": ("own-history", {}, (0.3908, 0.2596)),
        "markov": ("markov", {}, (0.3547, 0.1856)),
        "decayed markov": ("markov", MARKOV, (0.4754, 0.2260)),
    }, form=prefixes, remove_seen=False),
    *_claims("diginetica-sessions", TWENTY, {
        "popularity": ("popularity", {}, (0.0093, 0.0021)),
        "own history": ("own-history", {}, (0.2109, 0.1377)),
        "markov": ("markov", {}, (0.3460, 0.1315)),
        "decayed markov": ("markov", MARKOV, (0.4248, 0.1455)),
        "decayed item-knn": ("item-knn", DECAYED, (0.4098, 0.1208)),
    }, form=prefixes, remove_seen=False),
)  # fmt: skip
