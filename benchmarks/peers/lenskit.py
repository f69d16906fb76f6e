"""LensKit. Its pipelines answer one user at a time, so only the first thousand are asked."""

from __future__ import annotations

from typing import Any

import numpy as np

DISTRIBUTION = "lenskit"
ASKED = 1000


def imports(case: Any) -> dict[str, Any]:
    """The package with one model."""
    with case.timed():
        import lenskit.als  # noqa: F401
    return {}


def load(case: Any) -> dict[str, Any]:
    """A pandas frame becomes its data set."""
    import pandas as pd
    from lenskit.data import from_interactions_df

    path = case.folder / case.settings["file"]
    with case.timed():
        data = from_interactions_df(pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path))
    return {"users": data.user_count, "items": data.item_count}


def popularity(case: Any) -> dict[str, Any]:
    """PopScorer."""
    from lenskit.basic import PopScorer

    return _fit(case, PopScorer())


def item_knn(case: Any) -> dict[str, Any]:
    """Cosine on implicit feedback."""
    from lenskit.knn import ItemKNNScorer

    k = case.settings["k"]
    return _fit(case, ItemKNNScorer(k=k, save_nbrs=k, feedback="implicit"))


def ease(case: Any) -> dict[str, Any]:
    """EASE."""
    from lenskit.knn.ease import EASEScorer

    return _fit(case, EASEScorer(regularization=case.settings["l2"]))


def ials(case: Any) -> dict[str, Any]:
    """Exact Cholesky solves."""
    from lenskit.als import ImplicitMFScorer

    s = case.settings
    return _fit(
        case,
        ImplicitMFScorer(
            embedding_size=s["embedding_dim"], epochs=s["epochs"], regularization=s["l2"], weight=s["alpha"]
        ),
    )


def start(case: Any) -> dict[str, Any]:
    """Import, fit on a few rows, recommend."""
    return popularity(case)


def _fit(case: Any, scorer: Any) -> dict[str, Any]:
    import lenskit.batch
    import pandas as pd
    from lenskit.data import from_interactions_df
    from lenskit.pipeline import topn_pipeline

    user, item = case.pairs()
    data = from_interactions_df(pd.DataFrame({"user_id": user, "item_id": item}))
    pipeline = topn_pipeline(scorer, n=20)
    with case.timed():
        pipeline.train(data)
    asked = case.users[:ASKED]
    lists = np.full((len(asked), 20), -1)
    place = {user: row for row, user in enumerate(asked.tolist())}
    with case.timed("rank"):
        for key, found in lenskit.batch.recommend(pipeline, asked.tolist(), n=20, n_jobs=1):
            codes = np.asarray(found.ids(), np.int64)[:20]
            lists[place[int(key.user_id)], : len(codes)] = codes
    return {"lists": lists, "users": asked}
