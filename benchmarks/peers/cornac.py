"""Cornac. It recommends to one user at a time, so only the first thousand are asked."""

from __future__ import annotations

from typing import Any

import numpy as np

DISTRIBUTION = "cornac"
ASKED = 1000


def imports(case: Any) -> dict[str, Any]:
    """The package with its models."""
    with case.timed():
        import cornac.models  # noqa: F401
    return {}


def load(case: Any) -> dict[str, Any]:
    """Its own reader for text; lists of tuples from Parquet."""
    import pandas as pd
    from cornac.data import Dataset, Reader

    path = case.folder / case.settings["file"]
    with case.timed():
        if path.suffix == ".csv":
            rows = Reader().read(str(path), fmt="UIRT", sep=",", skip_lines=1)
        else:
            rows = list(zip(*(column.tolist() for _, column in pd.read_parquet(path).items()), strict=True))
        data = Dataset.from_uirt(rows)
    return {"users": data.num_users, "items": data.num_items}


def popularity(case: Any) -> dict[str, Any]:
    """MostPop."""
    from cornac.models import MostPop

    return _fit(case, MostPop())


def ease(case: Any) -> dict[str, Any]:
    """EASE with negative weights kept, as in the paper."""
    from cornac.models import EASE

    return _fit(case, EASE(lamb=case.settings["l2"], posB=False))


def bpr_mf(case: Any) -> dict[str, Any]:
    """Stochastic gradients, uniform negatives; one thread where a seed is given."""
    from cornac.models import BPR

    s = case.settings
    return _fit(
        case,
        BPR(k=s["embedding_dim"], max_iter=s["epochs"], learning_rate=s["learning_rate"], lambda_reg=s["l2"], seed=0),
    )


def start(case: Any) -> dict[str, Any]:
    """Import, fit on a few rows, recommend."""
    return popularity(case)


def _fit(case: Any, model: Any) -> dict[str, Any]:
    from cornac.data import Dataset

    user, item = case.pairs()
    data = Dataset.from_uir(list(zip(user.tolist(), item.tolist(), [1.0] * len(user), strict=True)), seed=0)
    with case.timed():
        model.fit(data)
    asked = case.users[:ASKED]
    lists = np.full((len(asked), 20), -1)
    with case.timed("rank"):
        for row, user in enumerate(asked.tolist()):
            if user in data.uid_map:
                found = model.recommend(user, k=20, remove_seen=True, train_set=data)
                lists[row, : len(found)] = found
    return {"lists": lists, "users": asked}
