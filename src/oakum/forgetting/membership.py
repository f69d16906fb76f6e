"""A test of memory: does a model know people better than one that never met them?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oakum.data import Queries, Ragged
from oakum.engine.fitted import Fitted
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import estimate
from oakum.seeds import generator

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Membership:
    """What the test found.

    traces: AUC of telling the people asked about from people whom both models know, by what the model knows of them more
    than the reference does: 0.5 where nothing is left. power: the same for decoys, who are in the model and not in the
    reference: what the test can see at all. p_value: share of the known people who look at least as much like members as
    the asked about do on average (one-sided, by permutation).
    """

    traces: Estimate
    power: Estimate
    p_value: float

    @property
    def sentence(self) -> str:
        """The finding in words."""
        t, p = self.traces, self.power
        if not np.isfinite(t.value):
            return "The model cannot be asked about a history of items, so what is left was not measured."
        can = f"the same test tells people who are in the model from others with an AUC of {p.value:.2f} [{p.low:.2f}, {p.high:.2f}]"
        if p.low <= 0.5:
            return f"The test found an AUC of {t.value:.2f}, but it has no power here: {can}."
        found = "No trace was found" if self.p_value >= 0.05 else "A trace is left"
        return f"{found}: AUC {t.value:.2f} [{t.low:.2f}, {t.high:.2f}], p = {self.p_value:.3f}; {can}."


def familiarity(fitted: Fitted, histories: Ragged, *, seed: int = 0, most: int = 20) -> Floats:
    """How well a model that is handed all but one of a person's items puts the one that is left, float64 [people].

    The mean, over at most `most` items of a history, of the share of the other items that score below the one left out, when
    the rest is asked for as a newcomer's history. NaN for people with fewer than two items and models without newcomers.
    O(items of the people · catalogue).
    """
    out = np.full(len(histories), np.nan)
    for r in range(len(histories)):
        items = np.unique(histories.row(r))
        if len(items) < 2:
            continue
        asked = items
        if len(items) > most:
            asked = np.sort(generator(seed, "familiarity", r).choice(items, most, replace=False))
        rest = [items[items != i].tolist() for i in asked]
        scores = fitted.score(Queries(np.full(len(asked), -1, np.int32), Ragged.of(rest)))
        own = np.take_along_axis(scores, asked[:, None].astype(np.int64), 1)
        others = np.delete(scores, items, 1)
        with np.errstate(invalid="ignore"):
            below = np.where(np.isfinite(others), (others < own) + 0.5 * (others == own), np.nan)
        known = np.isfinite(own[:, 0]) & np.isfinite(below).any(1)
        if known.any():
            out[r] = float(np.nanmean(below[known]))
    return out


def membership(
    model: Fitted, reference: Fitted, asked: Ragged, decoys: Ragged, known: Ragged, *, seed: int = 0
) -> Membership:
    """Whether a model remembers the people `asked`.

    reference: the same system trained without them and without the decoys. asked: histories of people who should be in
    neither; decoys: of people in the model alone; known: of people in both. All in the model's items, which the reference
    shares. Each person's familiarity under the model less that under the reference is what memory adds.
    """
    gain = [familiarity(model, h, seed=seed) - familiarity(reference, h, seed=seed) for h in (asked, decoys, known)]
    mine, others, base = (g[np.isfinite(g)] for g in gain)
    p = float("nan")
    if len(mine) and len(base):
        drawn = generator(seed, "membership").choice(base, (2000, len(mine))).mean(1)
        p = float((1 + (drawn >= mine.mean()).sum()) / 2001)
    return Membership(traces=_auc(mine, base, seed), power=_auc(others, base, seed), p_value=p)


def _auc(a: Floats, b: Floats, seed: int) -> Estimate:
    """The chance that one of `a` is above one of `b`, ties halved, with a bootstrap over both."""
    nan = float("nan")
    if not len(a) or not len(b):
        return Estimate(nan, nan, nan, len(a), "nobody to compare")
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    value = float(wins.mean())
    if len(a) < 2:
        # One person: the interval is over the people compared with.
        return estimate(wins[0], seed=seed, unit="people compared with")
    rng = generator(seed, "auc")
    means = [wins[np.ix_(rng.integers(0, len(a), len(a)), rng.integers(0, len(b), len(b)))].mean() for _ in range(500)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)), len(a), "bootstrap over people, 95 %")
