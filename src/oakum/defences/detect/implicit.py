"""What gives an account away where nothing is rated: its length, its taste for the popular, its twins, its timing."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset
from oakum.defences.detect.base import Detector, Floats
from oakum.defences.detect.coordination import surprise
from oakum.parameters import Range


def twins(data: Dataset, rows: NDArray[np.int64], *, block: int = 512) -> Floats:
    """The largest Jaccard similarity of each of these users' items with another one of them, float64 [rows]."""
    x = data.matrix[rows]
    lengths = np.diff(x.indptr).astype(np.float64)
    out, transpose = np.zeros(len(rows)), x.T.tocsr()
    for start in range(0, len(rows), block):
        at = np.arange(start, min(start + block, len(rows)))
        both = (x[at] @ transpose).tocoo()
        other = both.row + start != both.col
        row, column, common = both.row[other], both.col[other], both.data[other]
        np.maximum.at(out, row + start, common / (lengths[row + start] + lengths[column] - common))
    return out


def above(values: Floats, *, two_sided: bool = False) -> Floats:
    """How far a feature stands above the median, in robust standard deviations, never below 0; its size where two-sided."""
    middle = np.median(values)
    gap = values - middle
    spread = 1.4826 * np.median(np.abs(gap))
    spread = spread if spread > 1e-12 else max(float(values.std()), 1e-12)
    out: Floats = np.abs(gap) / spread if two_sided else np.maximum(gap, 0) / spread
    return out


class ImplicitFeatures(Detector):
    """Take out the accounts that stand out by length, popularity, twins and bursts, without reading ratings.

    Features: logarithm of the length and mean log popularity of the items (either way), the largest Jaccard similarity with another
    new account, the share of events on items that surge among the new ones. New: first seen in the last `recent` of the log's
    time; everybody, where there are no times. Score: the mean of the features in robust standard deviations, each cut at 10.
    Ours, after the features named by the surveys. Memory events + pairs of new accounts that share an item in a block of 512, time
    new accounts · events.
    """

    slug = "implicit"
    recent: Annotated[float, Range(above=0, high=1), "share of the time at the end whose newcomers are compared"] = 0.25

    def scores(self, data: Dataset) -> Floats:
        """The mean of what stands out, float64 [users]; NaN without events."""
        out = np.full(data.num_users, np.nan)
        known = np.flatnonzero(data.user_counts > 0)
        if not len(known):
            return out
        x, counts = data.matrix[known], data.item_counts
        lengths = data.user_counts[known]
        popular = np.asarray(x @ np.log1p(counts)).ravel() / lengths
        new = self._new(data, known)
        alike, surging = np.zeros(len(known)), np.zeros(len(known))
        if new.sum() >= 2:
            alike[new] = twins(data, known[new])
            batch = data.matrix[known[new]]
            fresh = np.bincount(batch.indices, minlength=data.num_items)
            burst = surprise(batch, counts - fresh) > 3.84 if (counts > fresh).any() else np.zeros(len(counts), bool)
            surging[new] = np.asarray(batch @ burst.astype(np.float64)).ravel() / lengths[new]
        parts = [above(np.log(lengths), two_sided=True), above(popular, two_sided=True), above(alike), above(surging)]
        out[known] = np.mean([np.minimum(p, 10) for p in parts], 0)
        return out

    def _new(self, data: Dataset, known: NDArray[np.int64]) -> NDArray[np.bool_]:
        times = data.interactions.times
        if times is None:
            return np.ones(len(known), bool)
        first = np.full(data.num_users, np.iinfo(np.int64).max)
        np.minimum.at(first, data.interactions.users, times)
        low, high = int(times.min()), int(times.max())
        return first[known] >= high - self.recent * (high - low)
