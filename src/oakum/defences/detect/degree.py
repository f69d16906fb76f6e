"""How popular an account's items are: a tree that learned the difference on fakes of its own making."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.attacks.base import Budget, Goal, propose
from oakum.attacks.profiles.heuristic import BandwagonProfiles, RandomProfiles
from oakum.data import Dataset
from oakum.defences.detect.base import Detector, Floats
from oakum.kernels.tree import Tree, grow
from oakum.parameters import Range
from oakum.seeds import generator


def popularity_features(profiles: sparse.csr_matrix, counts: NDArray[np.int64]) -> Floats:
    """Mean, range and lower quartile of the popularity of each profile's items, float64 [rows, 3]; NaN for an empty one.

    profiles: binary CSR [rows, items]; counts: people of each item.
    """
    lengths = np.diff(profiles.indptr)
    out = np.full((profiles.shape[0], 3), np.nan)
    known = np.flatnonzero(lengths > 0)
    if not len(known):
        return out
    values = counts[profiles.indices].astype(np.float64)
    order = np.lexsort((values, np.repeat(np.arange(len(lengths)), lengths)))
    values = values[order]
    start = profiles.indptr[known].astype(np.int64)
    n = lengths[known]
    out[known, 0] = np.add.reduceat(values, start) / n
    out[known, 1] = values[start + n - 1] - values[start]
    at = 0.25 * (n - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, n - 1)
    out[known, 2] = values[start + low] + (at - low) * (values[start + high] - values[start + low])
    return out


class DegreeSAD(Detector):
    """Take out the accounts whose items are popular in another way than people's.

    Paper: Li et al. 2016. Mean, range and lower quartile of the popularity of an account's items, then a decision tree. Reads no
    ratings. The paper's tree learns from labelled fakes; without labels it learns here from fakes made by rule (random and
    bandwagon, `made` of the people each, as long as people's own profiles, for random cold items) among the log's accounts,
    which count as genuine. Blind to labels; `learn` takes real ones where there are any. Memory 3 numbers a user, time events ·
    log events.
    """

    slug = "degree"
    depth: Annotated[int, Range(1, 20), "levels of the tree"] = 4
    made: Annotated[float, Range(above=0, high=1), "fakes made of each kind, as a share of the people"] = 0.1

    def learn(self, features: Floats, fake: NDArray[np.bool_]) -> Tree:
        """A tree from features [n, 3] and labels [n]."""
        return grow(features, fake, depth=self.depth)

    def scores(self, data: Dataset) -> Floats:
        """The share of fakes in the leaf, float64 [users]; NaN without events."""
        own = popularity_features(data.matrix, data.item_counts)
        known = np.isfinite(own[:, 0])
        if known.sum() < 2:
            return np.where(known, 0.5, np.nan)
        fakes = popularity_features(self._fakes(data), data.item_counts)
        both = np.concatenate([own[known], fakes])
        tree = self.learn(both, np.arange(len(both)) >= known.sum())
        out = np.full(data.num_users, np.nan)
        out[known] = tree.predict(own[known])
        return out

    def _fakes(self, data: Dataset) -> sparse.csr_matrix:
        counts, rng = data.item_counts, generator(0, "fakes of the detector")
        cold = np.flatnonzero((counts > 0) & (counts <= np.median(counts[counts > 0])))
        lengths = np.sort(data.user_counts[data.user_counts > 0])
        number = max(10, round(self.made * len(lengths)))
        rows = []
        for technique in (RandomProfiles(), BandwagonProfiles()):
            for part, size in enumerate(np.quantile(lengths, [0.25, 0.5, 0.75], method="nearest")):
                targets = rng.choice(cold, min(len(cold), 1), replace=False)
                length, accounts = max(2, int(size)), -(-number // 3)
                goal = Goal(tuple(int(t) for t in targets))
                asked = Budget(users=accounts, clicks=accounts * length)
                change = propose(technique, data, goal, asked, seed=part).change
                rows.append(change.profiles.matrix(data.num_items))  # type: ignore[attr-defined]
        return sparse.vstack(rows).tocsr()
