# mypy: disable-error-code="untyped-decorator"
"""How much two systems (two seeds, before and after) agree on the lists: one value a query.

All compare the first k places of two rankings of the same queries; -1 ends a list early. NaN where both lists
are empty. Similarities are 1 for equal lists and symmetric in the two rankings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.data import Ranking
from oakum.errors import ParameterError, ProtocolError

Floats = NDArray[np.float64]


def rbo(first: Ranking, second: Ranking, k: int, *, p: float = 0.9) -> Floats:
    """Rank-biased overlap, extrapolated beyond the lists (Webber et al. 2010, equation 32), in [0, 1], [q].

    RBO_ext = (1-p)/p (sum_{d<=l} X_d p^d / d + sum_{s<d<=l} X_s (d-s) p^d / (s d)) + ((X_l - X_s)/l + X_s/s)
    p^l with X_d the overlap at depth d, s and l the shorter and the longer length; p: persistence, 0.9 gives
    the first ten places 86 % of the weight.
    """
    return np.asarray(_overlap(first, second, k, p)[:, 0])


def frbo(first: Ranking, second: Ranking, k: int, *, p: float = 0.9) -> Floats:
    """Rank-biased overlap of the finite lists, normalised: 1 for equal lists, 0 for disjoint ones, [q].

    (1-p) sum_{d<=l} p^(d-1) X_d / d, divided by 1 - p^l (Betello et al. 2024); l the longer of the two
    lengths.
    """
    return np.asarray(_overlap(first, second, k, p)[:, 1])


def average_overlap(first: Ranking, second: Ranking, k: int) -> Floats:
    """The mean over depths d of X_d / d: overlap without more weight on the top, [q]."""
    return np.asarray(_overlap(first, second, k, 0.9)[:, 2])


def jaccard(first: Ranking, second: Ranking, k: int) -> Floats:
    """Items in both lists over items in either, [q]."""
    return np.asarray(_overlap(first, second, k, 0.9)[:, 3])


def rank_list_sensitivity(first: Ranking, second: Ranking, k: int = 10) -> dict[str, Floats]:
    """Agreement of two sets of lists by the three similarities of the literature and their finite form, each [q]; the mean of
    one is its RLS, 1 = the same lists (Oh et al. 2022).

    frbo@k, jaccard@k: of the first k places. rbo (p = 0.9) and average_overlap: of whole lists as long as both are; the
    latter is what the reference computes under the name of RBO, 0.5 for independent orders of everything.
    """
    whole = min(first.k, second.k)
    return {
        f"frbo@{k}": frbo(first, second, k),
        f"jaccard@{k}": jaccard(first, second, k),
        "rbo": rbo(first, second, whole),
        "average_overlap": average_overlap(first, second, whole),
    }


def churn(first: Ranking, second: Ranking, k: int) -> Floats:
    """Share of the (longer) list that the other does not hold: 0 none changed, 1 all, [q]."""
    return np.asarray(_overlap(first, second, k, 0.9)[:, 4])


def top1_change(first: Ranking, second: Ranking) -> Floats:
    """1 where the first item differs, 0 where it is the same, [q]."""
    _check(first, second, 1)
    a, b = first.items[:, 0], second.items[:, 0]
    return np.where((a < 0) & (b < 0), np.nan, (a != b).astype(np.float64))


def kendall(first: Ranking, second: Ranking, k: int) -> Floats:
    """Kendall's tau over the items that both lists hold, in [-1, 1], [q]; NaN below two common items.

    It says whether the common items keep their order, not whether the items are the same: read it with
    `jaccard`.
    """
    _check(first, second, k)
    return np.asarray(_kendall(_lists(first, k), _lists(second, k)))


def _overlap(first: Ranking, second: Ranking, k: int, p: float) -> Any:
    _check(first, second, k)
    if not 0 < p < 1:
        raise ParameterError(f"The persistence 'p' of rank-biased overlap must be in (0, 1). Got {p!r} instead.")
    return _similarities(_lists(first, k), _lists(second, k), p)


def _check(first: Ranking, second: Ranking, k: int) -> None:
    if len(first) != len(second):
        raise ProtocolError(f"Stability compares the same queries: got {len(first)} lists and {len(second)}.")
    if k < 1:
        raise ParameterError(f"A cut-off must be an int in [1, inf). Got {k!r} instead.")
    if k > min(first.k, second.k):
        raise ProtocolError(
            f"A cut-off of {k} needs lists as long; these have {first.k} and {second.k} places: rank more."
        )


def _lists(ranking: Ranking, k: int) -> Any:
    return np.ascontiguousarray(ranking.items[:, :k], np.int32)


@njit(cache=True, nogil=True)
def _length(row: Any) -> int:
    n = 0
    while n < len(row) and row[n] >= 0:
        n += 1
    return n


@njit(cache=True, nogil=True)
def _common(a: Any, b: Any, at_a: Any, at_b: Any) -> int:
    """Places (from 0) of the items that both lists hold; their number. By merging two sorted orders."""
    order_a = np.argsort(a)
    order_b = np.argsort(b)
    i, j, n = 0, 0, 0
    while i < len(a) and j < len(b):
        x, y = a[order_a[i]], b[order_b[j]]
        if x == y:
            at_a[n], at_b[n] = order_a[i], order_b[j]
            n += 1
            i += 1
            j += 1
        elif x < y:
            i += 1
        else:
            j += 1
    return n


@njit(cache=True, nogil=True)
def _similarities(first: Any, second: Any, p: float) -> Any:
    n, k = first.shape
    out = np.full((n, 5), np.nan)
    at_a = np.empty(k, np.int64)
    at_b = np.empty(k, np.int64)
    new = np.zeros(k, np.int64)
    for q in range(n):
        a = first[q, : _length(first[q])]
        b = second[q, : _length(second[q])]
        short, long = min(len(a), len(b)), max(len(a), len(b))
        if long == 0:
            continue
        common = 0
        new[:long] = 0
        # Short lists are compared place by place, longer ones by sorting.
        if long <= 32:
            for i in range(len(a)):
                for j in range(len(b)):
                    if a[i] == b[j]:
                        new[max(i, j)] += 1
                        common += 1
                        break
        else:
            common = _common(a, b, at_a, at_b)
            for c in range(common):
                new[max(at_a[c], at_b[c])] += 1
        overlap, weight = 0.0, 1.0
        extrapolated, finite, average, at_short = 0.0, 0.0, 0.0, 0.0
        for d in range(1, long + 1):
            overlap += new[d - 1]
            finite += weight * overlap / d
            average += overlap / d
            weight *= p  # p^d
            extrapolated += weight * overlap / d
            if d <= short:
                at_short = overlap
            else:
                if short > 0:
                    extrapolated += weight * at_short * (d - short) / (short * d)
        share = at_short / short if short > 0 else 0.0
        out[q, 0] = (1 - p) / p * extrapolated + ((overlap - at_short) / long + share) * weight
        out[q, 1] = (1 - p) * finite / (1 - weight)
        out[q, 2] = average / long
        out[q, 3] = common / (len(a) + len(b) - common)
        out[q, 4] = 1.0 - common / long
        for c in range(4):  # sums of powers miss 1 by a rounding error
            out[q, c] = min(1.0, max(0.0, out[q, c]))
            if out[q, c] > 1.0 - 1e-12:
                out[q, c] = 1.0
    return out


@njit(cache=True, nogil=True)
def _kendall(first: Any, second: Any) -> Any:
    n, k = first.shape
    out = np.full(n, np.nan)
    at_a = np.empty(k, np.int64)
    at_b = np.empty(k, np.int64)
    for q in range(n):
        a = first[q, : _length(first[q])]
        b = second[q, : _length(second[q])]
        common = _common(a, b, at_a, at_b)
        if common < 2:
            continue
        total = 0
        for i in range(common):
            for j in range(i):
                total += 1 if (at_a[i] - at_a[j]) * (at_b[i] - at_b[j]) > 0 else -1
        out[q] = total / (common * (common - 1) / 2)
    return out
