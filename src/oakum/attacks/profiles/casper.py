"""One event that moves many lists: the row of the log whose edit cascades farthest."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Access, Attack, Budget, EditEvents, Goal, Threat
from oakum.data import Dataset, Queries, Ragged
from oakum.kernels.cascade import links, reach, reach_sketch, roots
from oakum.parameters import Range
from oakum.seeds import Rng


class CASPER(Attack):
    """Edits the few events of the log that most other events come after: one row changed, everybody's lists change.

    Paper: Oh et al. 2022. In the graph of interactions a row leads to the next row of its person and to the next row of its
    item; desc(r) counts the rows it reaches. The budget's edits go to the rows with the largest desc among those that
    nothing leads to (one of them is the largest of all). Untargeted: of the goal only the log matters, no list is asked for.
    `pick` offers the paper's comparators: one random row, a random row among people's first or last rows, the row of the most
    active person and item ("degree"), the most popular item's first row. Without times rows count as logged in order; what is
    inserted needs times. Cost: 64 rows share a pass, time events · rows
    without predecessor / 64, memory 8 bytes an event; sketch > 0 takes one pass of events · sketch with an error of about
    1 / sqrt(sketch). Differs from the paper's code, which ships deletion alone.
    """

    slug = "casper"
    threat = Threat.LOG
    knowledge: ClassVar[str] = "the order of all events"
    goals: ClassVar[tuple[str, ...]] = ("degrade",)
    edit: Annotated[
        Literal["delete", "replace", "insert"],
        "what becomes of a row: gone, another item, or an event of the same person just before it",
    ] = "delete"
    item: Annotated[Literal["random", "rarest"], "what comes by replacing and inserting"] = "random"
    pick: Annotated[
        Literal["cascade", "random", "first", "last", "degree", "popular"],
        "by the cascade, or a comparator of the paper",
    ] = "cascade"
    max_length: Annotated[int, Range(0, 1_000_000), "events a model reads: older edges are left out; 0 keeps all"] = 50
    sketch: Annotated[
        int, Range(0, 65_536), "hashes of a sketch in place of exact counts, for large logs; 0: exact"
    ] = 0

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> EditEvents:
        """Edit as many rows as the budget allows."""
        data = access.log()
        n = min(budget.edits, len(data))
        if not n:
            return EditEvents()
        return edits(data, self.choose(data, n, rng), self.edit, self.item, rng)

    def choose(self, data: Dataset, n: int, rng: Rng) -> NDArray[np.int64]:
        """The row ids of `n` events, the best first."""
        log = data.interactions
        order = in_time(data)
        users, items = log.users[order], log.items[order]
        if self.pick == "random":
            return log.rows[rng.choice(len(log), n, replace=False)]
        if self.pick in ("first", "last"):
            mine = users if self.pick == "first" else users[::-1]
            ends = np.unique(mine, return_index=True)[1]
            ends = ends if self.pick == "first" else len(users) - 1 - ends
            rest = np.setdiff1d(np.arange(len(log)), ends)
            both = np.concatenate([rng.permutation(ends), rng.permutation(rest)])
            return log.rows[order[both[:n]]]
        if self.pick == "degree":
            people, things = np.bincount(users), np.bincount(items)
            worth: NDArray[np.float64] = (people[users] + things[items]).astype(np.float64)
        elif self.pick == "popular":
            worth = (np.bincount(items)[items] * len(log) - items).astype(np.float64)
        else:
            worth = cascades(data, self.max_length, self.sketch, at_least=n)
        best = np.argsort(-worth, kind="stable")[:n]  # the earliest first where equal
        return log.rows[order[best]]


def in_time(data: Dataset) -> NDArray[np.int64]:
    """Positions of the events in order of time, then of row id."""
    log = data.interactions
    return np.lexsort((log.rows,) if log.times is None else (log.rows, log.times))


def cascades(data: Dataset, max_length: int = 0, sketch: int = 0, *, at_least: int = 1) -> NDArray[np.float64]:
    """How many events each event reaches, in order of time, float64 [events]; 0 for rows that cannot be the largest.

    at_least: where fewer rows than these have no predecessor, all are counted.
    """
    log = data.interactions
    order = in_time(data)
    users, items = log.users[order], log.items[order]
    by = links(users, items, max(1, max_length - 1) if max_length else 0)
    starts = roots(*by)
    if len(starts) < at_least:
        starts = np.arange(len(log))
    out = np.zeros(len(log))
    out[starts] = reach_sketch(users, items, *by, size=max(3, sketch))[starts] if sketch else reach(*by, starts)
    return out


def edits(data: Dataset, rows: NDArray[np.int64], kind: str, item: str, rng: Rng) -> EditEvents:
    """The edit of these rows; items that come are other than those that were there."""
    if kind == "delete":
        return EditEvents(remove=rows)
    log = data.interactions
    old = log.take(np.isin(log.rows, rows))
    known = np.flatnonzero(data.item_counts > 0).astype(np.int32)
    if item == "rarest":
        ranked = known[np.argsort(data.item_counts[known], kind="stable")]
        second = ranked[min(1, len(ranked) - 1)]
        fresh = np.where(old.items == ranked[0], second, ranked[0]).astype(np.int32)
    else:
        at = np.searchsorted(known, old.items)
        fresh = known[(at + rng.integers(1, max(2, len(known)), len(old))) % len(known)]
    if kind == "replace":
        return EditEvents(replace=old.rows, items=fresh)
    return EditEvents(before=old.rows, added=fresh)


class SelfInfluence(Attack):
    """Deletes the events that the victim finds hardest to explain: the comparator by influence on themselves.

    TracIn (Pruthi et al. 2020) of a row on itself is the squared gradient of its loss; of the scores' layer that is |p − y|², p
    the softmax of the scores after the history before the row (the length of the state, which scores do not show, is left
    out). Asks for scores once a row, for as many random rows as the budget has queries. Cost: queries · items.
    """

    slug = "self-influence"
    threat = Threat.LOG | Threat.SCORES
    knowledge: ClassVar[str] = "the victim's scores"
    goals: ClassVar[tuple[str, ...]] = ("degrade",)
    max_length: Annotated[int, Range(1, 1_000_000), "events of the history shown with each question"] = 50

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> EditEvents:
        """Delete as many rows as the budget allows."""
        flat = access.log().histories
        assert flat.rows is not None
        place = np.arange(len(flat.items))
        starts = flat.offsets[flat.owners()]
        later = place[place > starts]
        if not len(later):
            return EditEvents()
        asked = np.sort(rng.choice(later, min(len(later), max(1, budget.queries)), replace=False))
        first = np.maximum(starts[asked], asked - self.max_length)
        offsets = np.concatenate([[0], np.cumsum(asked - first)])
        index = np.repeat(first - offsets[:-1], asked - first) + np.arange(offsets[-1])
        times = None if flat.times is None else flat.times[index]
        queries = Queries(flat.owners()[asked].astype(np.int32), Ragged(offsets, flat.items[index], times))
        worth = np.empty(len(asked))
        for at in np.array_split(np.arange(len(asked)), -(-len(asked) // 1024)):
            scores = access.scores(queries.take(at)).astype(np.float64)
            scores = np.where(np.isnan(scores), -np.inf, scores)
            p = np.exp(scores - scores.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            own = p[np.arange(len(at)), flat.items[asked[at]]]
            worth[at] = (p * p).sum(1) - 2 * own + 1
        best = np.argsort(-worth, kind="stable")[: budget.edits]
        return EditEvents(remove=flat.rows[asked[best]])
