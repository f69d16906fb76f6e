"""Accuracy of ranked lists, one value a user; definitions are in the names and in the docstrings.

Ties: items of exactly equal score inside a list share what their places are worth (the expectation over their
orders), so that an arbitrary order cannot raise or lower a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ragged, Ranking

Values = NDArray[np.float64]


def gains(ranking: Ranking, relevant: Ragged, k: int, num_items: int | None = None) -> Values:
    """Expected relevance of each place, float64 [q, k]: 1 or 0, or the share of hits in a group of tied scores."""
    items = ranking.items[:, :k].astype(np.int64)
    n = num_items or int(max(items.max(initial=0), relevant.items.max(initial=0))) + 1
    owners = relevant.owners()
    keys = np.sort(owners * n + relevant.items)
    asked = np.arange(len(items))[:, None] * n + np.maximum(items, 0)
    at = np.searchsorted(keys, asked.ravel()).reshape(asked.shape)
    hit = np.zeros(items.shape)
    if len(keys):
        hit = ((keys[np.minimum(at, len(keys) - 1)] == asked) & (items >= 0)).astype(np.float64)
    scores = ranking.scores[:, :k]
    tied = (scores[:, 1:] == scores[:, :-1]) & (items[:, 1:] >= 0)
    rows = np.flatnonzero(tied.any(1))
    if len(rows):
        group = np.zeros((len(rows), items.shape[1]), np.int64)
        group[:, 1:] = np.cumsum(~tied[rows], 1)
        flat = (np.arange(len(rows))[:, None] * items.shape[1] + group).ravel()
        total = np.bincount(flat, hit[rows].ravel())
        size = np.bincount(flat)
        hit[rows] = (total / np.maximum(size, 1))[flat].reshape(hit[rows].shape)
    return hit


def _discounts(k: int) -> Values:
    out: Values = 1.0 / np.log2(np.arange(2, k + 2))
    return out


def recall(hit: Values, counts: NDArray[np.int64]) -> Values:
    """Hits in the top k over all relevant items of the user."""
    out: Values = hit.sum(1) / counts
    return out


def capped_recall(hit: Values, counts: NDArray[np.int64]) -> Values:
    """Hits in the top k over min(k, relevant): 1 is reachable."""
    out: Values = hit.sum(1) / np.minimum(counts, hit.shape[1])
    return out


def precision(hit: Values, counts: NDArray[np.int64]) -> Values:
    """Hits in the top k over k, also where the list is shorter."""
    out: Values = hit.sum(1) / hit.shape[1]
    return out


def ndcg(hit: Values, counts: NDArray[np.int64]) -> Values:
    """Σ hit / log2(place + 1), over the same of an ideal list of min(k, relevant) hits."""
    discounts = _discounts(hit.shape[1])
    ideal = np.cumsum(discounts)[np.minimum(counts, hit.shape[1]) - 1]
    out: Values = (hit @ discounts) / ideal
    return out


def average_precision(hit: Values, counts: NDArray[np.int64]) -> Values:
    """AP@k of trec_eval: Σ precision at each hit, over all relevant items (not over min(k, relevant)).

    With tied scores: the product of expectations, which is exact where no two relevant items are tied.
    """
    places = np.arange(1, hit.shape[1] + 1)
    before = np.cumsum(hit, 1) - hit
    out: Values = (hit * (1 + before) / places).sum(1) / counts
    return out


def reciprocal_rank(hit: Values, counts: NDArray[np.int64]) -> Values:
    """1 / place of the first hit, 0 where there is none in the top k."""
    none_before = np.cumprod(1 - hit, 1)
    none_before = np.concatenate([np.ones((len(hit), 1)), none_before[:, :-1]], 1)
    out: Values = (none_before * hit / np.arange(1, hit.shape[1] + 1)).sum(1)
    return out


def hit_rate(hit: Values, counts: NDArray[np.int64]) -> Values:
    """1 where the top k holds a relevant item."""
    out: Values = 1 - np.prod(1 - hit, 1)
    return out


METRICS = {
    "recall": recall,
    "capped_recall": capped_recall,
    "precision": precision,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}
