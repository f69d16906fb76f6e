"""Did the list hold what the user went on to choose: accuracy of ranked lists, one value a query.

With relevant set R and the first k places of the list:

    recall          hits@k / |R|                        capped_recall   hits@k / min(k, |R|)
    precision       hits@k / k (also for short lists)   hit_rate        1 if hits@k > 0
    ndcg            DCG@k / best DCG@k, gain = grade (1 where there are none), discount 1 / log2(place + 1),
                    best over min(k, |R|) places        ndcg_exponential  the same with gain 2^grade - 1
    map             sum of precision@place over hits up to k, / |R|   (trec_eval's map_cut; AP of the list)
    capped_map      the same sum / min(k, |R|)          (what several toolkits print as MAP@k)
    mrr             1 / place of the first hit, 0 if none up to k

Names are ambiguous in the field, so each name has one definition here. A query without relevant items has no
value (NaN), not 0. Equal scores are undecided order: each metric is its expectation over all orders of the
tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ragged, Ranking
from oakum.errors import ParameterError, ProtocolError, nearest
from oakum.metrics import _places
from oakum.splits.protocol import Truth

Floats = NDArray[np.float64]
_BLOCK = 1 << 14  # lists


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """What was found up to each cut-off, from which every accuracy metric follows.

    cuts: rising cut-offs; sums: float64 [q, cuts, 5]; relevant: |R| [q]; ideal: best discounted gain [q,
    cuts].
    """

    cuts: tuple[int, ...]
    sums: Floats
    relevant: Floats
    ideal: Floats

    def value(self, base: str, k: int) -> Floats:
        """One metric by its base name at one of the cut-offs, float64 [q]; NaN where nothing is relevant."""
        if base not in _FORMULAS:
            raise ParameterError(f"There is no accuracy metric '{base}'.{nearest(base, _FORMULAS)}")
        at = self.cuts.index(k)
        with np.errstate(invalid="ignore", divide="ignore"):
            out = _FORMULAS[base](self.sums[:, at], self.relevant, self.ideal[:, at], k)
        # An expectation may leave [0, 1] by a rounding error, and a bound nearly kept is no bound.
        return np.where(self.relevant > 0, np.clip(out, 0.0, 1.0), np.nan)


_Formula = Callable[[Floats, Floats, Floats, int], Floats]
_FORMULAS: dict[str, _Formula] = {
    "recall": lambda s, r, best, k: s[:, _places.HITS] / r,
    "capped_recall": lambda s, r, best, k: s[:, _places.HITS] / np.minimum(r, k),
    "precision": lambda s, r, best, k: s[:, _places.HITS] / k,
    "hit_rate": lambda s, r, best, k: s[:, _places.FOUND],
    "mrr": lambda s, r, best, k: s[:, _places.RECIPROCAL],
    "map": lambda s, r, best, k: s[:, _places.PRECISION_SUM] / r,
    "capped_map": lambda s, r, best, k: s[:, _places.PRECISION_SUM] / np.minimum(r, k),
    "ndcg": lambda s, r, best, k: s[:, _places.GAIN] / best,
    "ndcg_exponential": lambda s, r, best, k: s[:, _places.GAIN] / best,
}
BASES: tuple[str, ...] = tuple(_FORMULAS)


def places(
    ranking: Ranking, truth: Truth, cuts: Sequence[int], *, ties: str = "expected", exponential: bool = False
) -> Places:
    """Read the lists once for all cut-offs.

    ties: "expected" shares the places of equal scores inside a list among its items; "order" takes the list
    as it stands (for recommenders whose order is not that of the scores). A tie that goes on below the end of
    the list cannot be seen in it: `measure_scores` handles that one. Cost: O(q k log |R|).
    """
    kept = _checked(ranking, truth, cuts, ties)
    return _places_of(ranking, truth.relevant, truth.grades, kept, ties, exponential)


def values(
    ranking: Ranking, truth: Truth, wanted: Sequence[tuple[str, int]], *, ties: str = "expected"
) -> list[Floats]:
    """Several metrics by base name and cut-off, float64 [q] each, as `places` gives them.

    The lists are read once, block by block, so that what is counted on the way stays in a near memory.
    """
    kept = _checked(ranking, truth, [k for _, k in wanted], ties)
    exponential = [base == "ndcg_exponential" for base, _ in wanted]
    out = [np.empty(len(ranking)) for _ in wanted]
    for start in range(0, len(ranking), _BLOCK):
        stop = min(start + _BLOCK, len(ranking))
        low, high = truth.relevant.offsets[[start, stop]]
        grades = None if truth.grades is None else truth.grades[low:high]
        for gain in sorted(set(exponential)):
            some = ranking.span(start, stop), truth.relevant.span(start, stop)
            found = _places_of(*some, grades, kept, ties, gain)
            for column, (base, k), own in zip(out, wanted, exponential, strict=True):
                if own == gain:
                    column[start:stop] = found.value(base, k)
    return out


def _checked(ranking: Ranking, truth: Truth, cuts: Sequence[int], ties: str) -> tuple[int, ...]:
    """The cut-offs, rising, of lists that fit the truth."""
    if len(ranking) != len(truth):
        raise ProtocolError(
            f"There are {len(ranking)} lists for {len(truth)} queries of the truth; rank exactly `truth.queries`."
        )
    if ties not in ("expected", "order"):
        raise ParameterError(f"Ties are 'expected' or taken in 'order'. Got {ties!r} instead.")
    kept = _cuts(cuts)
    if kept and kept[-1] > ranking.k:
        raise ProtocolError(f"A cut-off of {kept[-1]} needs lists as long; these have {ranking.k} places: rank more.")
    return kept


def _places_of(
    ranking: Ranking,
    relevant: Ragged,
    grades: NDArray[np.float32] | None,
    kept: tuple[int, ...],
    ties: str,
    exponential: bool,
) -> Places:
    wanted = _relevant(relevant, grades, exponential)
    lists = np.ascontiguousarray(ranking.items, np.int32)
    scores = np.ascontiguousarray(ranking.scores, np.float32)
    cut_array, discounts = np.array(kept, np.int64), _discounts(kept)
    sums = _places.list_sums(lists, scores, ties == "expected", *wanted, cut_array, discounts)
    return Places(kept, sums, np.diff(wanted[0]).astype(np.float64), _ideal(wanted, cut_array, discounts))


def measure_scores(
    scores: Any,
    relevant: Ragged,
    k: int | Sequence[int],
    *,
    grades: NDArray[np.float32] | None = None,
    exclude: Ragged | None = None,
) -> dict[str, Floats]:
    """All accuracy metrics from whole rows of scores, with ties exact also across the k-th place.

    scores: float [q, items], NaN is never listed; relevant: one row a query; exclude: items that are not
    candidates (what the user already had). Returns {"recall@10": float64 [q], ...}. A scorer that gives every
    item the same score gets exactly the value of chance. Cost: O(q items); feed it blocks of users.
    """
    table = np.ascontiguousarray(scores, np.float32)
    if table.ndim != 2 or len(table) != len(relevant):
        raise ProtocolError(f"Scores of shape {table.shape} do not fit {len(relevant)} queries: one row a query.")
    if exclude is not None:
        table = table.copy() if table is scores or table.base is not None else table
        table[exclude.owners(), exclude.items] = np.nan
    cuts = _cuts([k] if isinstance(k, int) else k)
    cut_array, discounts = np.array(cuts, np.int64), _discounts(cuts)
    out = {}
    for exponential in (False, True):
        wanted = _relevant(relevant, grades, exponential)
        sums = _places.row_sums(table, *wanted, cut_array, discounts)
        best = _ideal(wanted, cut_array, discounts)
        found = Places(cuts, sums, np.diff(wanted[0]).astype(np.float64), best)
        bases = [b for b in BASES if (b == "ndcg_exponential") == exponential]
        out.update({f"{b}@{c}": found.value(b, c) for b in bases for c in cuts})
    return out


def recall(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected") -> Floats:
    """Share of the relevant items that stand in the first k places: hits@k / |R|, [q]."""
    return places(ranking, truth, [k], ties=ties).value("recall", k)


def capped_recall(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected") -> Floats:
    """Hits over the most that k places could hold: hits@k / min(k, |R|), [q]."""
    return places(ranking, truth, [k], ties=ties).value("capped_recall", k)


def precision(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected") -> Floats:
    """Share of the first k places that are relevant: hits@k / k, also for lists that end early, [q]."""
    return places(ranking, truth, [k], ties=ties).value("precision", k)


def ndcg(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected", exponential: bool = False) -> Floats:
    """Discounted gain over the best possible one (Järvelin and Kekäläinen 2002), grades as gains, [q].

    exponential: gain 2^grade - 1 (Burges et al. 2005) instead of the grade; the same for binary relevance.
    """
    base = "ndcg_exponential" if exponential else "ndcg"
    return places(ranking, truth, [k], ties=ties, exponential=exponential).value(base, k)


def mean_average_precision(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected") -> Floats:
    """Average precision of the first k places over all relevant items: metric name `map`, [q]."""
    return places(ranking, truth, [k], ties=ties).value("map", k)


def mrr(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected") -> Floats:
    """One over the place of the first relevant item, 0 if there is none up to k, [q]."""
    return places(ranking, truth, [k], ties=ties).value("mrr", k)


def hit_rate(ranking: Ranking, truth: Truth, k: int, *, ties: str = "expected") -> Floats:
    """Whether any of the first k places is relevant (a probability where ties leave it open), [q]."""
    return places(ranking, truth, [k], ties=ties).value("hit_rate", k)


_Relevant = tuple[NDArray[np.int64], NDArray[np.int32], Floats, bool]  # offsets, items, gains, whether these are read


def _ideal(wanted: _Relevant, cuts: NDArray[np.int64], discounts: Floats) -> Floats:
    """The best possible discounted gain [q, cuts]; a table look-up where all gains are 1."""
    offsets, _, gains, graded = wanted
    if not graded:
        best = np.concatenate([[0.0], np.cumsum(discounts)])
        return best[np.minimum(np.diff(offsets)[:, None], cuts[None, :])]
    return np.asarray(_places.ideal_gains(offsets, gains, cuts, discounts))


def _cuts(cuts: Sequence[int]) -> tuple[int, ...]:
    kept = tuple(sorted({int(c) for c in cuts}))
    if not kept or kept[0] < 1:
        raise ParameterError(f"A cut-off must be an int in [1, inf). Got {list(cuts)!r} instead.")
    return kept


def _discounts(cuts: tuple[int, ...]) -> Floats:
    return np.asarray(1.0 / np.log2(np.arange(2, cuts[-1] + 2, dtype=np.float64)))


def _relevant(relevant: Ragged, grades: NDArray[np.float32] | None, exponential: bool) -> _Relevant:
    """Items rising within a row and distinct. A grade of 0 or less is not relevant; the largest of an item counts."""
    offsets = np.ascontiguousarray(relevant.offsets, np.int64)
    items = np.ascontiguousarray(relevant.items, np.int32)
    gains = np.empty(0) if grades is None else np.asarray(grades, np.float64)
    graded = grades is not None and not bool((gains == 1.0).all())
    if not _places.rising(offsets, items) or (graded and not bool((gains > 0).all())):
        offsets, items, gains = _places.sorted_rows(offsets, items, gains, graded)
    return offsets, items, (np.exp2(gains) - 1.0 if exponential and graded else gains), graded
