"""The table of all metrics: name, which end is good, unit, bounds, what it needs, what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from oakum.data import Ragged, Ranking
from oakum.metrics import accuracy, beyond, calibration, robustness, stability, unbiased
from oakum.metrics.context import Context
from oakum.sampling.propensity import popularity_propensities
from oakum.splits.protocol import Truth

Better = Literal["higher", "lower", "neither"]
Unit = Literal["query", "pooled", "row"]
_Function = Callable[[Any, "Truth | None", int, Context], Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric without its cut-off: the row of the documentation table.

    low, high: its bounds (None: unbounded). needs: fields of the context, and "truth" where it reads one.
    """

    base: str
    better: Better
    unit: Unit
    low: float | None
    high: float | None
    needs: tuple[str, ...]
    meaning: str
    function: _Function
    cut: bool = True
    binary: bool = False


def _accuracy(base: str, found: Ranking, truth: Truth | None, k: int, c: Context) -> Any:
    assert truth is not None
    table = accuracy.places(found, truth, [k], ties=c.ties, exponential=base == "ndcg_exponential")
    return table.value(base, k)


def _histories(truth: Truth | None, c: Context) -> Ragged:
    if c.histories is not None:
        return c.histories
    assert truth is not None
    return truth.histories


def _other(c: Context) -> Ranking:
    assert c.other is not None
    return c.other


def _categories(c: Context) -> Ragged:
    assert c.item_categories is not None
    return c.item_categories


def _shares(c: Context) -> tuple[Any, int]:
    return c.item_counts, c.num_users


def _sndcg(found: Ranking, truth: Truth | None, k: int, c: Context) -> Any:
    assert truth is not None
    shown = c.propensities
    if shown is None:
        assert c.item_counts is not None
        shown = popularity_propensities(c.item_counts)
    return unbiased.self_normalised_dcg(found, truth, shown, k, ties=c.ties)


def _targets(found: Ranking, k: int, c: Context, of: Callable[..., Any]) -> Any:
    return robustness.exposure_by_user(of(found, c.targets, c.owned, k, genuine=c.genuine))


_COUNTS = ("item_counts", "num_users")
_ATTACK = ("targets", "owned")
_Row = tuple[str, Better, Unit, float | None, float | None, tuple[str, ...], str, _Function]

_WORDS = {
    "recall": "hits over all relevant items",
    "capped_recall": "hits over min(k, relevant items)",
    "precision": "hits over k",
    "hit_rate": "whether there is a hit",
    "mrr": "1 over the place of the first hit",
    "map": "precision at each hit, over all relevant items (trec_eval)",
    "capped_map": "precision at each hit, over min(k, relevant items)",
    "ndcg": "discounted gain over the best possible, gain = grade",
    "ndcg_exponential": "discounted gain over the best possible, gain = 2^grade - 1",
}

_ROWS: list[_Row] = [
    *((b, "higher", "query", 0.0, 1.0, ("truth",), w, partial(_accuracy, b)) for b, w in _WORDS.items()),
    ("sndcg", "higher", "query", 0.0, 1.0, ("truth", "item_counts"),
     "self-normalised DCG: clicks weighed by 1 over the chance that the item was shown",
     _sndcg),
    ("coverage", "higher", "pooled", 0.0, 1.0, ("num_items",),
     "share of the catalogue in any list",
     lambda f, t, k, c: beyond.covered(beyond.exposure(f, k, c.num_items))),
    ("gini", "lower", "pooled", 0.0, 1.0, ("num_items",), "concentration of exposure on few items",
     lambda f, t, k, c: beyond.gini(beyond.exposure(f, k, c.num_items))),
    ("entropy", "higher", "pooled", 0.0, 1.0, ("num_items",), "evenness of exposure, entropy over log items",
     lambda f, t, k, c: beyond.entropy(beyond.exposure(f, k, c.num_items))),
    ("average_popularity", "neither", "query", 0.0, 1.0, _COUNTS, "mean share of users of the items shown",
     lambda f, t, k, c: beyond.average_popularity(f, k, *_shares(c))),
    ("popularity_lift", "neither", "query", 0.0, None, ("item_counts", "histories"),
     "popularity of the list over that of the history",
     lambda f, t, k, c: beyond.popularity_lift(f, k, c.item_counts, _histories(t, c))),
    ("novelty", "neither", "query", 0.0, None, _COUNTS, "mean self-information of the items shown, bits",
     lambda f, t, k, c: beyond.novelty(f, k, *_shares(c))),
    ("tail_share", "neither", "query", 0.0, 1.0, ("item_counts",),
     "share of places with less popular items",
     lambda f, t, k, c: beyond.tail_share(f, k, c.item_counts)),
    ("intra_list_diversity", "higher", "query", 0.0, 2.0, ("items",),
     "mean 1 - cosine over pairs in a list",
     lambda f, t, k, c: beyond.intra_list_diversity(
         f, k, item_vectors=c.item_vectors, item_categories=c.item_categories)),
    ("category_count", "higher", "query", 0.0, None, ("item_categories",), "distinct categories in a list",
     lambda f, t, k, c: beyond.category_spread(f, k, _categories(c))[0]),
    ("category_entropy", "higher", "query", 0.0, None, ("item_categories",),
     "evenness of a list's categories, entropy in bits",
     lambda f, t, k, c: beyond.category_spread(f, k, _categories(c))[1]),
    ("list_miscalibration", "lower", "query", 0.0, None, ("item_categories", "histories"),
     "KL divergence of the list's categories from the history's",
     lambda f, t, k, c: calibration.list_miscalibration(f, _histories(t, c), _categories(c), k)),
    ("rbo", "higher", "query", 0.0, 1.0, ("other",),
     "rank-biased overlap with the other lists, extrapolated, p = 0.9",
     lambda f, t, k, c: stability.rbo(f, _other(c), k)),
    ("frbo", "higher", "query", 0.0, 1.0, ("other",),
     "rank-biased overlap of finite lists, 1 for equal ones, p = 0.9",
     lambda f, t, k, c: stability.frbo(f, _other(c), k)),
    ("average_overlap", "higher", "query", 0.0, 1.0, ("other",),
     "mean overlap over depths with the other lists",
     lambda f, t, k, c: stability.average_overlap(f, _other(c), k)),
    ("jaccard", "higher", "query", 0.0, 1.0, ("other",),
     "items in both lists over items in either",
     lambda f, t, k, c: stability.jaccard(f, _other(c), k)),
    ("churn", "lower", "query", 0.0, 1.0, ("other",), "share of the list that the other does not hold",
     lambda f, t, k, c: stability.churn(f, _other(c), k)),
    ("kendall", "higher", "query", -1.0, 1.0, ("other",), "Kendall's tau over the items of both lists",
     lambda f, t, k, c: stability.kendall(f, _other(c), k)),
    ("target_hit_rate", "lower", "query", 0.0, 1.0, _ATTACK, "T-HR: share of genuine users shown a target",
     lambda f, t, k, c: _targets(f, k, c, robustness.target_hits)),
    ("target_ndcg", "lower", "query", 0.0, 1.0, _ATTACK, "T-NDCG: the same, discounted by place",
     lambda f, t, k, c: _targets(f, k, c, robustness.target_ndcg)),
]  # fmt: skip
_WHOLE: list[_Row] = [
    ("top1_change", "lower", "query", 0.0, 1.0, ("other",), "share of queries whose first item differs",
     lambda f, t, k, c: stability.top1_change(f, _other(c))),
    ("auc", "higher", "row", 0.0, 1.0, (), "chance that a positive is scored above a negative",
     lambda f, t, k, c: calibration.auc_by_row(f.values, f.labels, f.weight)),
    ("log_loss", "lower", "row", 0.0, None, (), "mean negative log likelihood of the labels, nats",
     lambda f, t, k, c: calibration.log_loss(f)),
    ("brier", "lower", "row", 0.0, 1.0, (), "mean squared error of the probabilities",
     lambda f, t, k, c: calibration.brier(f)),
    ("ece", "lower", "row", 0.0, 1.0, (), "expected calibration error, 15 bins of equal width",
     lambda f, t, k, c: calibration.expected_calibration_error(f)),
]  # fmt: skip
# Pooled metrics as functions of the exposure of each item, so that leaving out some users is a subtraction.
OF_EXPOSURE: dict[str, Callable[[Any], float]] = {
    "coverage": beyond.covered,
    "gini": beyond.gini,
    "entropy": beyond.entropy,
}
_YES_OR_NO = {"hit_rate", "top1_change"}
TABLE: dict[str, Definition] = {
    row[0]: Definition(*row, cut=cut, binary=row[0] in _YES_OR_NO)
    for rows, cut in ((_ROWS, True), (_WHOLE, False))
    for row in rows
}
