"""Beyond accuracy: what is shown overall, how popular, how new, how varied it is.

Values a query: float64 [q], NaN where the list (or the history) is empty. Pooled values describe all lists
together and are one number. Popularity p_i is the share of training users who had item i.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Ragged, Ranking
from oakum.errors import DataError
from oakum.metrics.groups import popularity_classes

Floats = NDArray[np.float64]


def exposure(ranking: Ranking, k: int, num_items: int, *, discounted: bool = False) -> Floats:
    """How often each item is shown in the first k places, float64 [items]; discounted: by 1 / log2(place +
    1)."""
    items = ranking.items[:, :k]
    shown = items >= 0
    weights = None
    if discounted:
        weights = np.broadcast_to(1.0 / np.log2(np.arange(2, items.shape[1] + 2)), items.shape)[shown]
    return np.bincount(items[shown], weights=weights, minlength=num_items).astype(np.float64)


def coverage(ranking: Ranking, k: int, num_items: int) -> float:
    """Share of the catalogue that stands in at least one list, in [0, 1]. Pooled."""
    return covered(exposure(ranking, k, num_items))


def covered(values: Any) -> float:
    """Share of the values that are not 0, in [0, 1]."""
    return float(np.count_nonzero(values) / len(values))


def gini(values: Any) -> float:
    """Concentration of non-negative values: 0 all equal, towards 1 all with one. NaN where all are 0.

    G = sum_i (2i - n - 1) x_(i) / (n sum x), x sorted upwards.
    """
    x = np.sort(np.asarray(values, np.float64))
    n, total = len(x), float(x.sum())
    if n == 0 or total == 0:
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * total))


def entropy(values: Any) -> float:
    """Evenness of non-negative values: Shannon entropy of their shares over log n.

    1 all equal, 0 all with one.
    """
    share = np.asarray(values, np.float64)
    n, total = len(share), float(share.sum())
    if n < 2 or total == 0:
        return float("nan")
    share = share[share > 0] / total
    return float(-(share * np.log(share)).sum() / np.log(n))


def average_popularity(ranking: Ranking, k: int, item_counts: Any, num_users: int) -> Floats:
    """Mean popularity (share of users who had it) of the items shown, in [0, 1], [q]."""
    return _mean_of(ranking, k, np.asarray(item_counts) / num_users)


def novelty(ranking: Ranking, k: int, item_counts: Any, num_users: int) -> Floats:
    """Mean self-information in bits of the items shown: -log2((c_i + 1) / (users + 1)), [q].

    One is added to both counts, so that an item nobody had is finite and an item all had is 0 (Zhou et al.
    2010 without the addition).
    """
    return _mean_of(ranking, k, -np.log2((np.asarray(item_counts) + 1.0) / (num_users + 1.0)))


def tail_share(ranking: Ranking, k: int, item_counts: Any) -> Floats:
    """Share of the places that hold items below the 50th popularity percentile, in [0, 1], [q]."""
    return _mean_of(ranking, k, (popularity_classes(item_counts).codes == 0).astype(np.float64))


def popularity_lift(ranking: Ranking, k: int, item_counts: Any, histories: Ragged) -> Floats:
    """Mean popularity of what is shown over that of the user's history: 1 as popular, 2 twice as popular,
    [q].

    (Abdollahpouri et al. 2020 report this minus 1.) NaN without a history.
    """
    counts = np.asarray(item_counts, np.float64)
    total = np.bincount(histories.owners(), weights=counts[histories.items], minlength=len(histories))
    with np.errstate(invalid="ignore", divide="ignore"):
        before = total / histories.lengths
        return np.where(before > 0, _mean_of(ranking, k, counts) / before, np.nan)


def intra_list_diversity(
    ranking: Ranking,
    k: int,
    *,
    item_vectors: NDArray[np.float32] | None = None,
    item_categories: Ragged | None = None,
    block: int = 8192,
) -> Floats:
    """Mean over pairs of items in a list of 1 - cosine of their vectors (Ziegler et al. 2005), [q].

    Categories count as 0/1 vectors, so the pair's similarity is |A and B| / sqrt(|A| |B|). In [0, 1] for
    categories and [0, 2] for vectors; an item without vector or category is unlike all others. NaN below two
    items. From |sum of unit vectors|²: O(q k d), in blocks of queries.
    """
    if item_vectors is not None:
        unit: Any = np.asarray(item_vectors, np.float64)
        lengths = np.linalg.norm(unit, axis=1)
        unit = unit / np.where(lengths > 0, lengths, 1.0)[:, None]
    elif item_categories is not None:
        width = int(item_categories.items.max(initial=0)) + 1
        unit = item_categories.matrix(width).astype(np.float64)
        lengths = np.sqrt(np.asarray(unit.sum(axis=1)).ravel())
        unit = sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ unit
    else:
        raise DataError("Diversity within a list needs item vectors or item categories; give one of the two.")
    own = (lengths > 0).astype(np.float64)  # an item's product with itself, taken off again
    out = np.full(len(ranking), np.nan)
    for start in range(0, len(ranking), block):
        items = ranking.items[start : start + block, :k]
        shown = items >= 0
        n = shown.sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(n)])
        lists = sparse.csr_matrix((np.ones(offsets[-1]), items[shown], offsets), shape=(len(items), len(own)))
        total = lists @ unit
        squared = np.asarray(total.multiply(total).sum(axis=1)).ravel() if sparse.issparse(total) else (total**2).sum(1)
        pairs = n * (n - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            same = (squared - lists @ own) / pairs
        out[start : start + block] = np.where(pairs > 0, 1.0 - same, np.nan)
    return np.where(np.abs(out) < 1e-12, 0.0, out)


def category_spread(ranking: Ranking, k: int, item_categories: Ragged) -> tuple[Floats, Floats]:
    """Of each list: how many distinct categories (or clusters) its first k items have, and the entropy of how the places
    fall on them in bits, [q] each; an item of several categories is parted among them. NaN for a list without any."""
    width = int(item_categories.items.max(initial=0)) + 1
    parts = item_categories.matrix(width).astype(np.float64)
    parts = sparse.diags(1.0 / np.maximum(item_categories.lengths, 1)) @ parts
    items = ranking.items[:, :k]
    shown = items >= 0
    offsets = np.concatenate([[0], np.cumsum(shown.sum(axis=1))])
    lists = sparse.csr_matrix((np.ones(offsets[-1]), items[shown], offsets), shape=(len(items), len(item_categories)))
    mass = (lists @ parts).tocsr()
    mass.eliminate_zeros()
    total = np.asarray(mass.sum(axis=1)).ravel()
    owners = np.repeat(np.arange(len(items)), np.diff(mass.indptr))
    share = mass.data / total[owners]
    bits = np.bincount(owners, weights=-share * np.log2(share), minlength=len(items))
    return np.where(total > 0, np.diff(mass.indptr), np.nan), np.where(total > 0, bits, np.nan)


def _mean_of(ranking: Ranking, k: int, values: Floats) -> Floats:
    """Mean over the shown items of one value an item, [q]; NaN for an empty list."""
    items = ranking.items[:, :k]
    shown = items >= 0
    total = np.where(shown, values[np.maximum(items, 0)], 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / shown.sum(axis=1))
