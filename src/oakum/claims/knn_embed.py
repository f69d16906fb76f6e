"""What kNN-Embed's sheet says holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oakum.claims.base import Claim, Context, Outcome


def _toy(seed: int, **settings: Any) -> tuple[Any, Any]:
    """A mixture over random vectors and a random log, and the requests of its users."""
    import numpy as np
    from scipy import sparse

    from oakum.data import Queries, Ragged
    from oakum.models.classic.knn_embed import KNNEmbed, Mixture

    rng = np.random.default_rng(seed)
    rows = [np.unique(rng.integers(0, 120, 9)).tolist() for _ in range(60)]
    at = np.array([(u, i) for u, row in enumerate(rows) for i in row]).T
    x = sparse.csr_matrix((np.ones(at.shape[1], np.float32), at), shape=(60, 120))
    vectors = rng.normal(size=(120, 8)).astype(np.float32)
    mix = Mixture.over(KNNEmbed.make(**settings), vectors, x, seed)
    return mix, Queries(np.arange(60, dtype=np.int32), Ragged.of(rows))


def weights(context: Context) -> Outcome:
    """Mixture weights, and one cluster against one vector."""
    import numpy as np

    from oakum.data import Filter

    off, low = 0.0, 1.0
    for smoothing in (0.0, 0.3, 1.0):
        mix, queries = _toy(context.seed, num_clusters=10, smoothing=smoothing)
        p, _ = mix.mixture(queries)
        off, low = max(off, float(np.abs(p.sum(1) - 1).max())), min(low, float(p.min()))
    mix, queries = _toy(context.seed, num_clusters=10, smoothing=0.0)
    plain = np.stack([np.bincount(mix.clusters[queries.histories.row(r)], minlength=10) for r in range(60)])
    gap = float(np.abs(mix.mixture(queries)[0] - plain / plain.sum(1, keepdims=True)).max())
    one, queries = _toy(context.seed, num_clusters=1, smoothing=0.0)
    items = one.lists(queries, 20, Filter(exclude=queries.histories))[0]
    same = 0
    for r in range(60):
        cosines = one.unit @ one.people[r]
        cosines[queries.histories.row(r)] = -np.inf
        same += set(items[r]) == set(np.argsort(-cosines)[:20])
    return Outcome(
        f"|Σ p̃ − 1| at most {off:.1e}, smallest p̃ {low:.1e}; λ = 0 differs from the plain mixture by {gap:.1e}; K = 1 gives the "
        f"single vector's list for {same} of 60",
        off < 1e-5 and low >= 0 and gap < 1e-6 and same == 60,
    )


def lists(context: Context) -> Outcome:
    """Sums of places, and what the lists hold."""
    import numpy as np

    from oakum.data import Filter

    mix, queries = _toy(context.seed, num_clusters=12, smoothing=0.3)
    places = mix.components(queries, 30)[1]
    items = mix.lists(queries, 30, Filter(exclude=queries.histories))[0]
    whole = all(len(set(row)) == 30 and -1 not in row for row in items.tolist())
    unseen = all(not set(items[r]) & set(queries.histories.row(r)) for r in range(60))
    sums = bool((places.sum(1) == 30).all())
    return Outcome(
        f"places sum to 30: {sums}; 30 distinct items: {whole}; none seen: {unseen}; equality with a slow loop is a test of the suite",
        sums and whole and unseen and bool(np.isfinite(places).all()),
    )


def _blobs(seed: int, groups: int, size: int, width: int = 16) -> Any:
    import numpy as np

    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(groups, width))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    return (middles[np.repeat(np.arange(groups), size)] + rng.normal(size=(groups * size, width)) * 0.08).astype(
        "float32"
    )


def _people(rows: list[list[int]], items: int) -> tuple[Any, Any]:
    import numpy as np
    from scipy import sparse

    from oakum.data import Queries, Ragged

    at = np.array([(u, i) for u, row in enumerate(rows) for i in row]).T
    x = sparse.csr_matrix((np.ones(at.shape[1], np.float32), at), shape=(len(rows), items))
    return x, Queries(np.arange(len(rows), dtype=np.int32), Ragged.of(rows))


def interests(context: Context) -> Outcome:
    """Two blobs in the proportion 7 : 3."""
    import numpy as np

    from oakum.data import Filter
    from oakum.models.classic.knn_embed import KNNEmbed, Mixture

    rng = np.random.default_rng(context.seed)
    rows = [[*rng.choice(100, 7, False).tolist(), *(100 + rng.choice(100, 3, False)).tolist()] for _ in range(100)]
    x, queries = _people(rows, 200)
    share = {}
    for clusters in (1, 2):
        mix = Mixture.over(
            KNNEmbed(num_clusters=clusters, smoothing=0.0), _blobs(context.seed, 2, 100), x, context.seed
        )
        items = mix.lists(queries, 50, Filter(exclude=queries.histories))[0]
        share[clusters] = (items < 100).sum(1)
    off = int(np.abs(share[2] - 35).max())
    one = float(np.mean(share[1]) / 50)
    return Outcome(
        f"single vector {one:.1%} from one blob; mixture off 35 : 15 by at most {off} item", one > 0.95 and off <= 1
    )


def hidden(context: Context) -> Outcome:
    """Eight pairs of interests; a fifth of the people show only the first of theirs."""
    import numpy as np

    from oakum.data import Filter
    from oakum.metrics.statistics import estimate
    from oakum.models.classic.knn_embed import KNNEmbed, Mixture

    rng = np.random.default_rng(context.seed)
    rows, wanted = [], {}  # 30 items an interest, 6 had: lists of 24 can be filled from the shown interest alone
    for u in range(400):
        first, second = (2 * (u % 8) + s for s in (0, 1))
        own = (30 * first + rng.choice(30, 6, False)).tolist()
        other = (30 * second + rng.choice(30, 6, False)).tolist()
        if rng.random() < 0.2:
            wanted[u] = set(other)
            other = []
        rows.append([*own, *other])
    x, queries = _people(rows, 480)
    found = {}
    for smoothing in (0.0, 0.3, 0.6):
        mix = Mixture.over(
            KNNEmbed(num_clusters=16, smoothing=smoothing), _blobs(context.seed, 16, 30), x, context.seed
        )
        items = mix.lists(queries, 24, Filter(exclude=queries.histories))[0]
        found[smoothing] = estimate(np.array([len(set(items[u]) & w) / len(w) for u, w in wanted.items()]))
    text = ", ".join(f"λ = {k:g}: {v.value:.3f} [{v.low:.3f}, {v.high:.3f}]" for k, v in found.items())
    clear = found[0.3].low > 0.01 and found[0.6].low > found[0.3].value
    return Outcome(f"recall of the hidden interest {text}", found[0.0].value == 0 and clear)


def _log(context: Context, name: str) -> Any:
    import polars as pl

    from oakum.data.read import read

    files = {
        "amazon-beauty": "sequences", "douban-sequences": "mixed_sequences", "cross-domain-amazon": "cell-electronic_train",
    }  # fmt: skip
    frame = pl.read_parquet(context.folder(name) / f"{files[name]}.parquet")
    return read(frame.select("user_id", "item_id"), name=name)


def _probe(context: Context, name: str, users: int) -> dict[str, tuple[Any, float, float]]:
    """Recall@50 by user, mean diversity and mean number of clusters in a list, of each way to make lists."""
    from dataclasses import replace

    import numpy as np

    from oakum.data import Filter, Ragged
    from oakum.engine.fit import fit
    from oakum.metrics import measure
    from oakum.metrics.context import Context as Facts
    from oakum.models.classic.knn_embed import KNNEmbed
    from oakum.splits import split

    parts = split(_log(context, name), "holdout", test=0.2, valid=0.0, seed=context.seed)
    truth = parts.truth()
    rng = np.random.default_rng(context.seed)
    truth = truth.take(np.sort(rng.choice(len(truth), min(users, len(truth)), replace=False)))
    many = fit(KNNEmbed(smoothing=0.0), parts.train, seed=context.seed)
    one = fit(KNNEmbed(smoothing=0.0, num_clusters=1), parts.train, seed=context.seed)
    mix = many.model.mix
    facts = Facts(
        item_vectors=mix.unit, item_categories=Ragged.of([[c] if c >= 0 else [] for c in mix.clusters.tolist()])
    )
    out = {}
    for label, model, smoothing in (
        ("single", one, 0.0), ("λ 0", many, 0.0), ("λ .1", many, 0.1), ("λ .3", many, 0.3), ("λ .8", many, 0.8),
    ):  # fmt: skip
        own = model.model.mix
        model.model.mix = replace(own, spec=own.spec.replace(smoothing=smoothing))
        ranking = model.rank(truth.queries, 50, where=Filter(exclude=truth.histories))
        found = measure(ranking, truth, ["recall@50", "intra_list_diversity@50", "category_count@50"], facts)
        diversity, clusters = (float(np.nanmean(found[n])) for n in ("intra_list_diversity@50", "category_count@50"))
        out[label] = np.asarray(found["recall@50"]), diversity, clusters
    return out


def real(name: str, users: int, least: float) -> Callable[[Context], Outcome]:
    """The sheet's probe on one log: what the mixture wins over one vector."""

    def measure(context: Context) -> Outcome:
        from oakum.metrics.statistics import compare

        found = _probe(context, name, users)
        means = {k: float(v[0].mean()) for k, v in found.items()}
        gain = means["λ 0"] / means["single"] - 1
        spread = found["λ 0"][1] / found["single"][1]
        text = "; ".join(f"{k} {means[k]:.4f} / {v[1]:.3f} / {v[2]:.0f}" for k, v in found.items())
        text = f"recall@50 / diversity / clusters in a list: {text}; gain {gain:+.0%}, diversity × {spread:.1f}"
        holds, why = gain >= least and spread >= 1.7, ""
        if name == "amazon-beauty":
            smooth = means["λ .8"] / means["λ 0"] - 1
            gap = compare(found["λ .8"][0], found["λ 0"][0], seed=context.seed).difference
            text += f"; λ .8 against 0: {smooth:+.1%}, paired {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
            if smooth < 0.05:
                holds = False
                why = (
                    f"Smoothing wins, by less than 5 % on {users:,} people of another random split: the sheet's 500 people "
                    "leave a standard error of .012 on a recall of .16, more than the 5 % asked."
                )
        return Outcome(text, holds, why)

    return measure


CLAIMS = (
    Claim("weights", "Σ p̃ = 1 and p̃ ≥ 0; λ = 0 is the plain mixture; K = 1 without smoothing is the single vector", "exact", weights),
    Claim("lists", "Places sum to N; N distinct unseen items", "exact", lists),
    Claim(
        "interests", "Two disjoint interests 70 : 30: one vector shows one blob, the mixture both",
        "over 95 % from one blob; within ±1 item of 70 : 30", interests,
    ),
    Claim("hidden", "An interest hidden from a fifth of the people is found by smoothing alone", "recall 0 to clearly above 0", hidden),
    Claim(
        "beauty", "Amazon Beauty: mixture at least single, diversity 1.7 times, λ .8 beats λ 0 by 5 %",
        "recall@50 / diversity: single .1533 / .291, λ 0 .1561 / .534, λ .8 .1748 / .472", real("amazon-beauty", 5000, 0.0), (), True, 25, reference="the single-vector model of the paper",
    ),
    Claim(
        "douban", "Douban books and another domain: the mixture wins by over 30 %, diversity 1.7 times",
        "single .0969 / .199, λ 0 .1559 / .554, λ .3 .1558 / .527, λ .8 .1451 / .474", real("douban-sequences", 500, 0.3), (), True, 40, reference="the single-vector model of the paper",
    ),
    Claim(
        "cross-domain", "Two Amazon domains (cell phones and electronics, in place of toys and games): over 30 %, diversity 1.7 times",
        "single .0174 / .064, λ 0 .0277 / .277, λ .8 .0288 / .217 on toys and games", real("cross-domain-amazon", 1000, 0.3), (), True, 30,
    ),
)  # fmt: skip
