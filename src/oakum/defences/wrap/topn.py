"""Chances for the places that people see: one calibrator a group of ranks, the order left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from oakum.data import Filter, Interactions, Queries, Ragged, Ranking
from oakum.defences.base import Defence, Guard
from oakum.errors import DataError
from oakum.metrics.calibration import places_of
from oakum.metrics.calibrators import Calibrator
from oakum.parameters import Range
from oakum.recommending import rank
from oakum.seeds import derive, generator, keyed_hash
from oakum.splits.protocol import Split, truth_of

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
PEOPLE = 20_000  # asked for the fit at most: two million pairs at a depth of 100
ENOUGH = 2_000  # pairs from which a free curve is fitted; a logistic one below


@dataclass(frozen=True, eq=False)
class RankGroups:
    """Calibrators by place. ends int64 [g]: last place of each group, rising; curves: one a group, and one for all places
    behind the last."""

    ends: Places
    curves: tuple[Calibrator, ...]

    def chances(self, scores: Any, places: Any) -> Floats:
        """Calibrated values, of the shape of the scores; places count from 1 (broadcast); NaN stays NaN."""
        s = np.asarray(scores, np.float64)
        group = np.broadcast_to(np.searchsorted(self.ends, places), s.shape)
        out = np.full(s.shape, np.nan)
        for g, curve in enumerate(self.curves):
            at = (group == g) & ~np.isnan(s)
            out[at] = curve(s[at])
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays, a curve under its place and its kind."""
        return {"ends": self.ends, **{f"{g:03}/{c.kind}": c.numbers for g, c in enumerate(self.curves)}}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> RankGroups:
        """The inverse of `state`."""
        names = sorted(n for n in state if n != "ends")
        kind: Any = lambda name: name.partition("/")[2]
        return cls(state["ends"], tuple(Calibrator(kind(n), state[n]) for n in names))


class TopN(Defence):
    """Turns scores into chances that hold at the places shown, without moving an item: for teams that show a predicted
    chance, compute expected revenue, or set a threshold.

    Paper: Sato, RecSys 2024 (weights and borders of the groups are not public: ours are below). Ranks are chosen by the
    score, so E[y | s, rank] ≠ E[y | s] wherever people differ: one curve for everybody is right on all items and wrong on
    the first places. Places 1 … n are cut into groups of geometrically growing size (n = 20, five groups: 1, 2–3, 4–6, 7–11,
    12–20); each has its own curve, fitted with weights 1 / log2(k + 1) ("dcg"), exp(−|k − centre| / width) over all first n
    places ("kernel"), or 1 ("uniform"); later places, down to `depth`, share one. A group of fewer than `minimum` pairs is
    merged with the next. Curves: free steps from 2,000 pairs on, logistic below ("auto"). Labels come from what the model
    has not seen: of a `Split` the validation part (with early stopping on the same part chances come out a little high), of
    a `Dataset` a share of the events, on which a second fit of the same system without them is judged. With a `threshold` labels are ratings at or above it
    and places are those among a person's rated items. Served lists keep their order and carry chances; `score` stays the
    model's own, so whoever ranks again ranks as before. Between groups chances may rise from one place to the next; `falling`
    projects each list onto falling ones for display. Memory a few thousand numbers, time people · depth (and the second fit).
    Newcomers are answered as the model answers them, with the same curves. Propensities of exposure go into `weights` of
    `groups`.
    """

    slug = "topn-calibration"
    n: Annotated[int, Range(1, 1000), "places with calibrators of their own"] = 20
    num_groups: Annotated[int, Range(1, 100), "groups of places"] = 5
    kind: Annotated[
        Literal["auto", "platt", "beta", "gaussian", "gamma", "histogram", "isotonic", "linear"], "form of the curves"
    ] = "auto"
    weighting: Annotated[Literal["dcg", "kernel", "uniform"], "how pairs weigh in the fit of a group"] = "dcg"
    width: Annotated[float, Range(above=0, high=1000), "places over which the kernel falls by e"] = 3.0
    minimum: Annotated[int, Range(1), "pairs of a group, else it is merged with the next"] = 200
    depth: Annotated[int, Range(1, 10_000), "places ranked for the curve of the later ones"] = 100
    held_out: Annotated[float, Range(above=0, high=0.5), "share of the events kept from the second fit"] = 0.2
    threshold: Annotated[float | None, Range(), "ratings from it on are positive; none: whatever is had next"] = None
    falling: Annotated[bool, "chances never rise along a list"] = False
    seed: Annotated[int, Range(0), "of the events held out"] = 0

    def wrap(self, fitted: Any, data: Any) -> Calibrated:
        """The model with chances; data: its `Split`, or the `Dataset` it was fitted on.

        Raises `DataError` where nothing is left to judge it by.
        """
        scores, labels, places = self.judged(fitted, data)
        return Calibrated(fitted.scorer, self.groups(scores, labels, places), falling=self.falling)

    def restore(self, fitted: Any, state: Mapping[str, NDArray[Any]]) -> Calibrated:
        """The same curves over a model."""
        return Calibrated(fitted.scorer, RankGroups.restored(state), falling=self.falling)

    def groups(self, scores: Any, labels: Any, places: Any, weights: Any = None) -> RankGroups:
        """Curves from scores, labels, places (from 1) and weights, each [n]."""
        s, y, k = np.asarray(scores, np.float64), np.asarray(labels, np.float64), np.asarray(places, np.int64)
        w = np.ones(len(s)) if weights is None else np.asarray(weights, np.float64)
        top = k <= self.n
        if not top.any():
            raise DataError(f"There is no labelled pair at the first {self.n} places to calibrate on.")
        count = np.bincount(k[top], minlength=self.n + 1)
        ends, start = [], 0
        for end in borders(self.n, self.num_groups):
            if count[start + 1 : end + 1].sum() >= self.minimum:
                ends.append(end)
                start = end
        ends = [*ends[:-1], self.n] if ends else [self.n]  # what is left over joins the last
        curves, start = [], 0
        for end in ends:
            own = (k > start) & (k <= end)
            if self.weighting == "kernel":
                share = np.where(top, np.exp(-np.abs(k - (start + 1 + end) / 2) / self.width), 0.0)
            else:
                share = own / np.log2(k + 1) if self.weighting == "dcg" else own.astype(np.float64)
            curves.append(self._curve(s, y, w * share, int(own.sum())))
            start = end
        rest = w * ~top if (w * ~top).sum() > 0 and (~top).sum() >= self.minimum else w
        curves.append(self._curve(s, y, rest, int((rest > 0).sum())))
        return RankGroups(np.array(ends, np.int64), tuple(curves))

    def _curve(self, s: Floats, y: Floats, w: Floats, pairs: int) -> Calibrator:
        kind = self.kind if self.kind != "auto" else "isotonic" if pairs >= ENOUGH else "platt"
        return Calibrator.fit(s, y, w, kind=kind)

    def judged(self, fitted: Any, data: Any) -> tuple[Floats, Floats, Places]:
        """Scores, labels and places of pairs that the model (or its second fit) has not seen, each [n]."""
        if isinstance(data, Split):
            if data.valid is None or not len(data.valid):
                raise DataError("A split without a validation part has nothing to calibrate on: give it one.")
            return self.of_events(fitted, data.valid, data.train)
        from oakum.engine.fit import fit_again

        log = data.interactions
        out = keyed_hash(derive(self.seed, "held out for calibration"), log.rows) < np.uint64(
            self.held_out * 2**63
        ) * np.uint64(2)
        rest = data.with_interactions(log.take(~out))
        return self.of_events(fit_again(fitted, rest), log.take(out), rest)

    def of_events(self, fitted: Any, events: Interactions, past: Any) -> tuple[Floats, Floats, Places]:
        """Scores, labels and places, each [n], by events after a past that the model was fitted on."""
        if self.threshold is not None:
            return _rated(fitted, events, past, self.threshold)
        truth = truth_of(events, past)
        if len(truth) > PEOPLE:
            truth = truth.take(np.sort(generator(self.seed, "people").choice(len(truth), PEOPLE, replace=False)))
        where = Filter(None if fitted.candidates is None else fitted.candidates, None, truth.histories)
        ranking = rank(fitted.scorer, truth.queries, max(self.depth, self.n), where=where)
        rows, columns = np.nonzero(ranking.items >= 0)
        relevant = truth.relevant.matrix(past.num_items)
        labels = np.asarray(relevant[rows, ranking.items[rows, columns]], np.float64).ravel()
        return ranking.scores[rows, columns].astype(np.float64), labels, (columns + 1).astype(np.int64)


class Calibrated(Guard):
    """A scorer whose lists carry chances in place of scores, in the order of the scores."""

    def __init__(self, inner: Any, groups: RankGroups, *, falling: bool = False) -> None:
        super().__init__(inner)
        self.groups = groups
        self.falling = falling

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        """The inner lists, float32 chances for scores; NaN where a list ends early."""
        made = rank(self.inner, queries, k, where=where, seed=seed)
        chances = self.groups.chances(np.where(made.items >= 0, made.scores, np.nan), np.arange(1, k + 1))
        if self.falling:
            for row in chances:
                known = ~np.isnan(row)
                row[known] = optimize.isotonic_regression(row[known], increasing=False).x if known.any() else row[known]
        return Ranking(made.items, chances.astype(np.float32), made.fallback)

    def state(self) -> dict[str, NDArray[Any]]:
        """The curves."""
        return self.groups.state()


def borders(n: int, groups: int) -> list[int]:
    """Last places of groups of geometrically growing size, the first of one place: (20, 5) -> 1, 3, 6, 11, 20."""
    if groups >= n:
        return list(range(1, n + 1))
    if groups == 1:
        return [n]
    total = lambda r: sum(r**g for g in range(groups)) - n
    ratio = optimize.brentq(total, 1e-9, float(n))
    sums = np.cumsum([ratio**g for g in range(groups)])
    ends = np.maximum(np.round(sums).astype(int), np.arange(1, groups + 1))
    return [*ends[:-1].tolist(), n]


def _rated(fitted: Any, events: Interactions, past: Any, threshold: float) -> tuple[Floats, Floats, Places]:
    """Scores, labels and places among the rated items of each person."""
    if events.values is None:
        raise DataError("A threshold of ratings needs a log with ratings; this one has none.")
    asked, row = np.unique(events.users, return_inverse=True)
    order = np.argsort(row, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row))]).astype(np.int64)
    table = np.full((len(asked), int(np.diff(offsets).max(initial=1))), -1, np.int32)
    owners = row[order]
    columns = np.arange(len(order)) - offsets[owners]
    table[owners, columns] = events.items[order]
    histories: Ragged = past.histories.take(asked)
    users = np.where(histories.lengths > 0, asked, -1).astype(np.int32)
    found = np.concatenate(
        [
            fitted.scorer.score(Queries(users[at], histories.take(at)), table[at])
            for at in np.array_split(np.arange(len(asked)), max(1, len(asked) // 1024))
        ]
    )
    scores = found[owners, columns].astype(np.float64)
    known = ~np.isnan(scores)
    places = places_of(scores[known], owners[known], events.items[order][known])
    return scores[known], (events.values[order][known] >= threshold).astype(np.float64), places
