"""What is measured: one entry a task. A task names a function that every peer's file has, the data, the settings, what
counts as quality, and the seconds that the machine's rates allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oakum.bench.machine import FITS, Limit, products


@dataclass(frozen=True)
class Task:
    """slug and title: its names. function: what is called; of a peer "name:function" where it is another. timing: the
    piece of work that counts ("process" is all of it, from the start of the interpreter). per: (fact, n) makes it seconds for
    n of them. quality: the rule of `quality.py`. limit: seconds at the machine's rates, or the name of a function of
    peers/machine.py that measures them. full: only with --full. toy: the data on which compiled code is loaded before the clock starts, none where that is the task."""

    slug: str
    title: str
    function: str
    data: str
    peers: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    timing: str = "work"
    per: tuple[str, float] | None = None
    unit: str = "CPU s"
    quality: str = ""
    limit: Limit | str | None = None
    full: bool = False
    toy: str = "toy"
    toy_settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def of_vectors(share: float) -> Limit:
    """A dot product with every vector that passes."""
    return lambda m, f, s: products(m, f["queries"], share * f["vectors"], 64)


SETS = (("ml-1m", "MovieLens-1M"), ("gowalla", "Gowalla"))


def _loads() -> list[Task]:
    slow = {"parquet": ("lenskit", "cornac", "recbole"), "csv": ("cornac",)}
    return [
        Task(
            f"load-{kind}-{title.lower()}",
            f"Load {title} rows of {kind}",
            "load",
            f"log-{rows}",
            ("implicit", "rectools", *(slow[kind] if rows == 2000 else ())),
            {"file": f"log.{kind}"},
            limit="decode",
            full=rows > 2000,
            toy="log-600",
        )
        for rows, title in ((2000, "2M"), (20_000, "20M"))
        for kind in ("parquet", "csv")
    ]


def _fits(data: str, name: str) -> list[Task]:
    """peers that are slow to set up are asked on the small set alone."""
    small = data == "ml-1m"

    def fit(slug: str, title: str, peers: str, slow: str, note: str = "", **settings: Any) -> Task:
        asked = (*peers.split(), *(slow.split() if small else ()))
        function = slug.replace("-", "_")
        return Task(
            f"{slug}-{data}",
            f"{title}, {name}",
            function,
            data,
            asked,
            settings,
            quality="ranking",
            limit=FITS[slug],
            note=note,
            toy="warm" if slug == "popularity" else "toy",
        )

    own = "Oakum knows the distinct pairs of a log once it has read it, and Cornac its matrix: both are made before."
    out = [
        fit("popularity", "Popularity", "rectools cornac", "lenskit recbole", own),
        fit("item-knn", "ItemKNN", "implicit rectools", "lenskit recbole", k=100),
        fit("ials", "iALS", "implicit rectools", "lenskit", embedding_dim=64, alpha=10.0, l2=0.05, epochs=15),
        fit("bpr-mf", "BPR-MF", "cornac implicit", "", embedding_dim=64, epochs=50, learning_rate=0.05, l2=0.01),
    ]
    return out + ([fit("ease", "EASE", "lenskit cornac rectools", "recbole", l2=300.0)] if small else [])


def _networks() -> list[Task]:
    rate = {"learning_rate": 1e-3}
    gcn = {**rate, "embedding_dim": 64, "num_layers": 3, "batch_size": 2048, "l2": 1e-4, "steps": 5}
    sasrec = {**rate, "embedding_dim": 64, "num_layers": 2, "num_heads": 2, "dropout": 0.2, "batch_size": 128}
    deepfm = {**rate, "embedding_dim": 16, "hidden": [400, 400, 400], "batch_size": 4096, "epochs": 2}
    steps = [
        Task(
            f"lightgcn-{data}",
            f"LightGCN, a training step, {name}",
            "lightgcn",
            data,
            ("pyg", "recbole"),
            gcn,
            unit="CPU s a batch",
            toy_settings={"steps": 1, "batch_size": 256},
            limit=FITS["lightgcn"],
        )
        for data, name in SETS
    ]
    sequences = [
        Task(
            f"sasrec-{length}",
            f"SASRec, 100,000 targets, Amazon Games, length {length}",
            "sasrec",
            "games",
            ("rectools", "recbole") if length == 50 else ("rectools",),
            {**sasrec, "max_length": length},
            per=("targets", 1e5),
            unit="CPU s / 100k targets",
            quality="ranking",
            full=length > 50,
            limit=lambda m, f, s: 1e5 * 3e5 / m["flop"],
            note="Quality after four epochs of Oakum and one of RecTools; RecBole takes three steps and ranks nothing.",
        )
        for length in (50, 200)
    ]
    rows = Task(
        "deepfm",
        "DeepFM, two epochs, Frappe",
        "deepfm",
        "frappe",
        ("recbole",),
        deepfm,
        quality="auc",
        toy="frappe-toy",
        limit=lambda m, f, s: s["epochs"] * f["x"] * 6 * (160 * 400 + 2 * 400 * 400 + 400) / m["flop"],
    )
    return [*steps, *sequences, rows]


def _answers() -> list[Task]:
    ranks = [
        Task(
            f"topk-{title}",
            f"Top-20 of {items:,} items for {users:,} users",
            "topk",
            f"factors-{items}",
            ("implicit", "rectools", *(("recbole",) if items < 10_000 else ())),
            quality="agreement",
            toy="factors-80",
            full=items > 200_000,
            limit=lambda m, f, s: products(m, f["asked"], f["items"], 64),
        )
        for title, items, users in (
            ("3k", 3043, 6022),
            ("41k", 40_981, 29_858),
            ("200k", 200_000, 5000),
            ("1m", 1_000_000, 5000),
        )
    ]
    metrics = [
        Task(
            f"metrics-{n}k",
            f"NDCG@10, Recall@20, MAP@20 of {n:,},000 users",
            "metrics",
            f"lists-{n}",
            ("ir_tools:pytrec_eval", "ir_tools:ir_measures", "rectools", *(("ir_tools:ranx",) if n == 100 else ())),
            quality="ndcg",
            full=n > 100,
            toy="lists-60",
            limit=lambda m, f, s: 240 * f["top"] / m["bytes"],
        )
        for n in (100, 1000)
    ]
    return [*ranks, *metrics]


def _searches() -> list[Task]:
    return [
        Task(
            f"vectors-{title}-{timing}",
            f"1,000 requests to {title} vectors{words}",
            "vectors",
            f"vectors-{n}",
            # hnswlib builds the same graph as faiss and is slower under filters: it is asked with --full.
            (
                *(f"vectors:faiss_{kind}" for kind in ("flat", "lists", "graph")),
                "scann",
                *(("vectors:hnswlib",) if n > 200 else ()),
            ),
            timing=timing,
            quality="recall",
            full=n > 200,
            toy="vectors-2",
            limit=of_vectors(share),
        )
        for n, title in ((200, "200k"), (1000, "1m"))
        for timing, words, share in (
            ("plain", "", 1.0),
            ("ten", ", a tenth passes", 0.1),
            ("one", ", a hundredth passes", 0.01),
        )
    ]


def _starts() -> list[Task]:
    peers = ("implicit", "cornac", "rectools", "lenskit", "recbole")
    first = "Cold start to a first list of a toy log"
    return [
        Task("import", "Import the package", "imports", "toy", peers, toy=""),
        Task("start", first, "start", "toy", peers, {"k": 10}, timing="process", toy=""),
    ]


def _all() -> Iterator[Task]:
    yield from _loads()
    for data, name in SETS:
        yield from _fits(data, name)
    yield from _networks()
    yield from _answers()
    yield from _starts()
    yield from _searches()


TASKS: dict[str, Task] = {t.slug: t for t in _all()}
