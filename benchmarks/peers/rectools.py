"""RecTools; its ALS, BPR and ItemKNN are implicit's behind its own interface."""

from __future__ import annotations

from typing import Any

import numpy as np

DISTRIBUTION = "rectools"


def imports(case: Any) -> dict[str, Any]:
    """The package with its models."""
    with case.timed():
        import rectools.models  # noqa: F401
    return {}


def load(case: Any) -> dict[str, Any]:
    """A pandas frame becomes its data set, and that a matrix."""
    import pandas as pd
    from rectools.dataset import Dataset

    path = case.folder / case.settings["file"]
    with case.timed():
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        frame = frame.rename(columns={"rating": "weight", "timestamp": "datetime"})
        frame["datetime"] = pd.to_datetime(frame["datetime"], unit="s")
        matrix = Dataset.construct(frame).get_user_item_matrix()
    return {"users": matrix.shape[0], "items": matrix.shape[1]}


def popularity(case: Any) -> dict[str, Any]:
    """PopularModel."""
    from rectools.models import PopularModel

    return _fit(case, PopularModel())


def item_knn(case: Any) -> dict[str, Any]:
    """implicit's cosine."""
    from implicit.nearest_neighbours import CosineRecommender
    from rectools.models import ImplicitItemKNNWrapperModel

    return _fit(case, ImplicitItemKNNWrapperModel(CosineRecommender(K=case.settings["k"])))


def ease(case: Any) -> dict[str, Any]:
    """EASE; its ranker multiplies by the transposed weights, which costs quality."""
    from rectools.models import EASEModel

    return _fit(case, EASEModel(regularization=case.settings["l2"]))


def ials(case: Any) -> dict[str, Any]:
    """implicit's conjugate gradients."""
    from implicit.als import AlternatingLeastSquares
    from rectools.models import ImplicitALSWrapperModel

    s = case.settings
    model = AlternatingLeastSquares(
        s["embedding_dim"], regularization=s["l2"], alpha=s["alpha"], iterations=s["epochs"], random_state=0
    )
    return _fit(case, ImplicitALSWrapperModel(model))


def sasrec(case: Any) -> dict[str, Any]:
    """SASRec with one negative a place, every sequence padded to the full length."""
    import torch
    from rectools.models import SASRecModel

    torch.set_num_threads(1)
    s = case.settings
    user, item = case.array("sequence_users"), case.array("sequence_items")
    model = SASRecModel(
        n_factors=s["embedding_dim"], n_blocks=s["num_layers"], n_heads=s["num_heads"], dropout_rate=s["dropout"],
        session_max_len=s["max_length"], epochs=1, lr=s["learning_rate"], batch_size=s["batch_size"], loss="BCE",
        train_min_user_interactions=2, verbose=0,
    )  # fmt: skip
    made = _fit(case, model, _frame(user, item, np.arange(len(user))))
    return {**made, "targets": int(np.minimum(np.bincount(user) - 1, s["max_length"]).clip(min=0).sum())}


def topk(case: Any) -> dict[str, Any]:
    """Its ranker over given factors."""
    from rectools.models.rank import Distance, ImplicitRanker

    ranker = ImplicitRanker(Distance.DOT, case.array("user_factors"), case.array("item_factors"))
    with case.timed():
        users, items, _ = ranker.rank(case.users, k=20, filter_pairs_csr=case.train)
    lists = np.full((len(case.users), 20), -1)
    users = np.asarray(users)
    first = np.searchsorted(users, users)
    lists[users, np.arange(len(users)) - first] = items
    return {"lists": lists, "users": case.users}


def metrics(case: Any) -> dict[str, Any]:
    """Frames, then three metrics; NDCG divides by what can be reached, which is not its default."""
    import pandas as pd
    from rectools.metrics import MAP, NDCG, Recall, calc_metrics

    top, user, item = (case.array(n) for n in ("top", "truth_users", "truth_items"))
    wanted = {"ndcg": NDCG(10, divide_by_achievable=True), "recall": Recall(20), "map": MAP(20)}
    with case.timed():
        n, k = top.shape
        found = pd.DataFrame(
            {"user_id": np.repeat(np.arange(n), k), "item_id": top.ravel(), "rank": np.tile(np.arange(1, k + 1), n)}
        )
        values = calc_metrics(wanted, found, pd.DataFrame({"user_id": user, "item_id": item}))
    return {name: float(v) for name, v in values.items()}


def start(case: Any) -> dict[str, Any]:
    """Import, fit on a few rows, recommend."""
    return popularity(case)


def _frame(user: Any, item: Any, seconds: Any) -> Any:
    import pandas as pd

    frame = pd.DataFrame({"user_id": user, "item_id": item, "weight": 1.0})
    frame["datetime"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(seconds, unit="s")
    return frame


def _fit(case: Any, model: Any, frame: Any = None) -> dict[str, Any]:
    import pandas as pd
    from rectools.dataset import Dataset

    if frame is None:
        user, item = case.pairs()
        frame = _frame(user, item, np.zeros(len(user)))
    data = Dataset.construct(frame)
    with case.timed():
        model.fit(data)
    asked = case.users[np.isin(case.users, frame["user_id"].unique())]
    with case.timed("rank"):
        found = model.recommend(asked, data, k=20, filter_viewed=True)
    lists = np.full((len(asked), 20), -1)
    rows = pd.Series(np.arange(len(asked)), index=asked).loc[found["user_id"]].to_numpy()
    lists[rows, found["rank"].to_numpy() - 1] = found["item_id"].to_numpy()
    return {"lists": lists, "users": asked}
