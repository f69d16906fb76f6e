"""implicit, and pandas with SciPy for loading, as its users do."""

from __future__ import annotations

from typing import Any

import numpy as np

DISTRIBUTION = "implicit"


def imports(case: Any) -> dict[str, Any]:
    """The package with its models."""
    with case.timed():
        import implicit.als  # noqa: F401
    return {}


def load(case: Any) -> dict[str, Any]:
    """Categories of pandas, then CSR."""
    import pandas as pd
    from scipy import sparse

    path = case.folder / case.settings["file"]
    with case.timed():
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        user, item = (frame[c].astype("category").cat for c in ("user_id", "item_id"))
        matrix = sparse.csr_matrix((np.ones(len(frame), np.float32), (user.codes, item.codes)))
    return {"users": matrix.shape[0], "items": matrix.shape[1], "distribution": "pandas"}


def item_knn(case: Any) -> dict[str, Any]:
    """Cosine, k kept a row."""
    from implicit.nearest_neighbours import CosineRecommender

    return _fit(case, CosineRecommender(K=case.settings["k"]))


def ials(case: Any) -> dict[str, Any]:
    """Conjugate gradients, three steps a row."""
    from implicit.als import AlternatingLeastSquares

    s = case.settings
    return _fit(
        case,
        AlternatingLeastSquares(
            s["embedding_dim"], regularization=s["l2"], alpha=s["alpha"], iterations=s["epochs"], random_state=0
        ),
    )


def bpr_mf(case: Any) -> dict[str, Any]:
    """Stochastic gradients; negatives come from the list of interactions, so by popularity."""
    from implicit.bpr import BayesianPersonalizedRanking

    s = case.settings
    return _fit(
        case,
        BayesianPersonalizedRanking(
            s["embedding_dim"],
            learning_rate=s["learning_rate"],
            regularization=s["l2"],
            iterations=s["epochs"],
            random_state=0,
        ),
    )


def topk(case: Any) -> dict[str, Any]:
    """`recommend` over given factors."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(64)
    model.user_factors, model.item_factors = case.array("user_factors"), case.array("item_factors")
    rows = case.train
    with case.timed():
        lists, _ = model.recommend(case.users, rows, N=20, filter_already_liked_items=True)
    return {"lists": lists, "users": case.users}


def start(case: Any) -> dict[str, Any]:
    """Import, fit on a few rows, recommend."""
    return item_knn(case)


def _fit(case: Any, model: Any) -> dict[str, Any]:
    rows = case.train
    with case.timed():
        model.fit(rows, show_progress=False)
    with case.timed("rank"):
        lists, _ = model.recommend(case.users, rows[case.users], N=20, filter_already_liked_items=True)
    return {"lists": lists, "users": case.users}
