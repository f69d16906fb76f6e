"""The one evaluator: what all sides found, judged alike by Oakum's own metrics from the lists they left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Found = Mapping[str, Any]
Judged = tuple[float, float] | None  # ours, theirs


def array(folder: Path, name: str) -> Any:
    """An array of a data folder."""
    return np.load(folder / f"{name}.npy", allow_pickle=False)


def ranking(folder: Path, ours: Found, theirs: Found, timing: str) -> Judged:
    """NDCG@10 over the users that both sides answered, all items ranked, seen ones left out."""
    from oakum.data import Ragged, Ranking
    from oakum.metrics import measure
    from oakum.splits.protocol import Truth

    if "lists" not in ours or "lists" not in theirs:
        return None
    users = np.intersect1d(ours["users"], theirs["users"])
    offsets, items = array(folder, "test_indptr"), array(folder, "test_indices")
    relevant = Ragged(offsets, items.astype(np.int32)).take(users)
    truth = Truth(users.astype(np.int32), relevant, Ragged.empty(len(users)))
    values = []
    for side in (ours, theirs):
        order = np.argsort(side["users"], kind="stable")
        rows = order[np.searchsorted(side["users"], users, sorter=order)]
        lists = np.ascontiguousarray(side["lists"][rows, :20], np.int32)
        scores = np.broadcast_to(-np.arange(20, dtype=np.float32), lists.shape)  # lists are in order: nothing is tied
        values.append(float(measure(Ranking(lists, scores), truth, ["ndcg@10"])["ndcg@10"].mean()))
    return values[0], values[1]


def agreement(folder: Path, ours: Found, theirs: Found, timing: str) -> Judged:
    """The share of the true twenty best that was found, over forty users, in double precision."""
    users, items = (array(folder, f"{side}_factors").astype(np.float64) for side in ("user", "item"))
    offsets, seen = array(folder, "train_indptr"), array(folder, "train_indices")
    asked = np.random.default_rng(0).choice(len(users), 40, replace=False)
    values = []
    for side in (ours, theirs):
        place = {int(u): row for row, u in enumerate(side["users"])}
        shares = []
        for user in asked:
            scores = items @ users[user]
            scores[seen[offsets[user] : offsets[user + 1]]] = -np.inf
            shares.append(np.isin(np.argsort(-scores)[:20], side["lists"][place[int(user)]]).mean())
        values.append(float(np.mean(shares)))
    return values[0], values[1]


def recall(folder: Path, ours: Found, theirs: Found, timing: str) -> Judged:
    """The share of the true ten best that was found."""
    truth = array(folder, f"truth_{timing}")
    share = lambda found: float(np.mean([np.isin(t, f).mean() for t, f in zip(truth, found, strict=True)]))
    return share(ours[f"found_{timing}"]), share(theirs[f"found_{timing}"])


def auc(folder: Path, ours: Found, theirs: Found, timing: str) -> Judged:
    """The area under the curve, ties one half."""
    from scipy.stats import rankdata

    positive = array(folder, "test_y") > 0
    many = positive.sum()
    area = lambda p: (rankdata(p)[positive].sum() - many * (many + 1) / 2) / (many * (len(positive) - many))
    return float(area(ours["chances"])), float(area(theirs["chances"]))


def ndcg(folder: Path, ours: Found, theirs: Found, timing: str) -> Judged:
    """The value itself: all should be equal."""
    return float(ours["ndcg"]), float(theirs["ndcg"])


RULES: dict[str, tuple[str, Callable[[Path, Found, Found, str], Judged]]] = {
    "ranking": ("NDCG@10", ranking),
    "agreement": ("agreement with the exact top 20", agreement),
    "recall": ("recall@10", recall),
    "auc": ("AUC", auc),
    "ndcg": ("NDCG@10 of these lists", ndcg),
}
