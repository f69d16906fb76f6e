"""Oakum, asked as its users ask it: a log goes in, lists come out. Run in its own environment, like every peer."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

DISTRIBUTION = "oakum"
THREADS = int(
    os.environ.get("OMP_NUM_THREADS", 1)
)  # a fit takes one unless it is told: more help a graph, not a network


def imports(case: Any) -> dict[str, Any]:
    """The package and its `fit`; what that needs is imported when it is called."""
    with case.timed():
        import oakum

        assert callable(oakum.fit)
    return {}


def load(case: Any) -> dict[str, Any]:
    """`read`, and the matrix of distinct pairs."""
    import oakum

    with case.timed():
        data = oakum.read(case.folder / case.settings["file"])
        shape = data.matrix.shape
    return {"users": shape[0], "items": shape[1]}


def popularity(case: Any) -> dict[str, Any]:
    """Distinct users an item."""
    return _fit(case, _log(case), "popularity")


def item_knn(case: Any) -> dict[str, Any]:
    """Cosine with its usual shrinkage; the candidate's k neighbours are kept."""
    return _fit(case, _log(case), "item-knn", k=case.settings["k"])


def ease(case: Any) -> dict[str, Any]:
    """EASE."""
    return _fit(case, _log(case), "ease", l2=case.settings["l2"])


def ials(case: Any) -> dict[str, Any]:
    """The same loss as implicit's: confidence α on what was seen and 1 elsewhere, λ' on every row alike."""
    s = case.settings
    weight = 1 / (s["alpha"] - 1)
    return _fit(
        case, _log(case), "ials", embedding_dim=s["embedding_dim"], epochs=s["epochs"], unobserved_weight=weight,
        l2=s["l2"] * weight / (1 + weight), frequency_exponent=0.0,
    )  # fmt: skip


def bpr_mf(case: Any) -> dict[str, Any]:
    """Plain gradient steps over triples with uniform negatives, as in the paper and as the peers do it."""
    from oakum.engine.triples import Triples

    s = case.settings
    return _fit(
        case, _log(case), "bpr-mf", embedding_dim=s["embedding_dim"], l2=s["l2"], epochs=s["epochs"], optimiser="sgd",
        learning_rate=s["learning_rate"], batch_size=65_536, step=Triples(),
    )  # fmt: skip


def lightgcn(case: Any) -> dict[str, Any]:
    """Whole training steps with sampling, from one batch to the next."""
    from oakum.data import Dataset
    from oakum.engine.fit import fit
    from oakum.engine.learner import Phase
    from oakum.models.graph.lightgcn import LightGCN, LightGCNModel
    from oakum.sampling.batches import Batch, Order

    s = case.settings

    class Few(LightGCNModel):
        """The first batches of an epoch."""

        def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
            last = (0.0, 0.0)
            for n, batch in enumerate(itertools.islice(super().batches(data, phase, order), s["steps"] + 2)):
                now = time.process_time(), time.perf_counter()
                if n > 1:  # the first step prepares what the others use
                    case.took("work", now[0] - last[0], now[1] - last[1])
                last = now
                yield batch

    class Spec(LightGCN):
        """LightGCN that stops early."""

        def build(self, schema: Any) -> Few:
            return Few(self, schema)

    spec = Spec(embedding_dim=s["embedding_dim"], num_layers=s["num_layers"], l2=s["l2"])
    fit(
        spec,
        _log(case),
        plan={"batch_size": s["batch_size"], "learning_rate": s["learning_rate"], "epochs": 1, "threads": THREADS},
    )
    return {}


def sasrec(case: Any) -> dict[str, Any]:
    """SASRec with one negative a place, over as many epochs as fit into the CPU time of a peer's one."""
    s, epochs = case.settings, 4
    user, item = case.array("sequence_users"), case.array("sequence_items")
    data = _read(user_id=user, item_id=item, timestamp=np.arange(len(user)))
    made = _fit(
        case, data, "sasrec", embedding_dim=s["embedding_dim"], num_layers=s["num_layers"], num_heads=s["num_heads"], loss="bce",
        max_length=s["max_length"], dropout=s["dropout"], learning_rate=s["learning_rate"], batch_size=s["batch_size"],
        epochs=epochs,
    )  # fmt: skip
    targets = int(np.minimum(np.bincount(user) - 1, s["max_length"]).clip(min=0).sum())
    return {**made, "targets": targets * epochs, "epochs": epochs}


def deepfm(case: Any) -> dict[str, Any]:
    """DeepFM on labelled rows."""
    from oakum.api import fit

    s = case.settings
    width = case.array("x").shape[1]
    rows = lambda x, y: _read(
        {"value": "label", "user": "c0", "item": "c1"}, label=y, **{f"c{j}": x[:, j] for j in range(width)}
    )
    train, test = (rows(case.array(f"{part}x"), case.array(f"{part}y")) for part in ("", "test_"))
    with case.timed():
        model = fit(
            "deepfm", train, embedding_dim=s["embedding_dim"], hidden=tuple(s["hidden"]), dropout=0.0, min_count=1,
            categorical=tuple(f"c{j}" for j in range(2, width)), batch_size=s["batch_size"], epochs=s["epochs"],
            learning_rate=s["learning_rate"],
        )  # fmt: skip
    return {"chances": model.predict(test)}


def topk(case: Any) -> dict[str, Any]:
    """`rank` over given factors."""
    from oakum.data import Filter, Queries, Ragged
    from oakum.recommending import rank

    class Factors:
        """Any model of two tables."""

        def query_vectors(self, queries: Queries) -> Any:
            return users[queries.users]

        def item_vectors(self) -> Any:
            return items

    users, items, seen = case.array("user_factors"), case.array("item_factors"), case.train
    asked = case.users.astype(np.int32)
    histories = Ragged(seen.indptr.astype(np.int64), seen.indices.astype(np.int32)).take(asked)
    with case.timed():
        found = rank(Factors(), Queries(asked, histories), 20, where=Filter(exclude=histories))
    return {"lists": found.items, "users": case.users}


def metrics(case: Any) -> dict[str, Any]:
    """Arrays to three metrics."""
    from oakum.data import Ragged, Ranking
    from oakum.data.interactions import distinct_pairs
    from oakum.metrics import measure
    from oakum.splits.protocol import Truth

    top, scores, user, item = (case.array(n) for n in ("top", "scores", "truth_users", "truth_items"))
    with case.timed():
        n = len(top)
        relevant = distinct_pairs(user.astype(np.int32), item.astype(np.int32), n, 100_000)
        truth = Truth(np.arange(n, dtype=np.int32), relevant, Ragged.empty(n))
        values = measure(Ranking(top.astype(np.int32), scores), truth, ["ndcg@10", "recall@20", "map@20"])
    return {name.partition("@")[0]: float(v.mean()) for name, v in values.items()}


def vectors(case: Any) -> dict[str, Any]:
    """The planned index as it is built by default: it measures its ways of search and takes the cheapest that finds enough."""
    from oakum.data import Filter
    from oakum.index.filtered import Planned

    x, q = case.array("vectors"), case.array("queries")
    with case.timed("build"):
        index = Planned.build(x, "dot")
    out: dict[str, Any] = {}
    for name in ("plain", "ten", "one"):
        where = None if name == "plain" else Filter(allow=case.array(f"pass_{name}"))
        for _ in range(3):
            with case.timed(name):
                found = index.search(q, 10, where=where)
        out |= {f"found_{name}": found.items, f"way_{name}": found.plan}
    return out


def start(case: Any) -> dict[str, Any]:
    """Import, read and fit a few rows, recommend."""
    return popularity(case)


def _read(roles: dict[str, Any] | None = None, **columns: Any) -> Any:
    import polars as pl

    import oakum

    return oakum.read(pl.DataFrame(columns), **(roles or {}))


def _log(case: Any) -> Any:
    user, item = case.pairs()
    return _read(user_id=user, item_id=item)


def _fit(case: Any, data: Any, system: str, **settings: Any) -> dict[str, Any]:
    """Fit and rank: the log counts as read, all that follows is timed, also the matrix that is made of it."""
    from oakum.api import fit
    from oakum.data import Filter

    with case.timed():
        model = fit(system, data, **settings)
    codes = data.users.encode(case.users)
    asked = case.users[codes >= 0]
    with case.timed("rank"):
        queries = model.queries(codes[codes >= 0])
        found = model.rank(queries, 20, where=Filter(exclude=queries.histories))
    items = np.asarray(data.items.ids)
    return {"lists": np.where(found.items >= 0, items[np.maximum(found.items, 0)], -1), "users": asked}
