"""A look at a running service from outside of any request: drift of what comes in, drift of lists, the experiment."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from oakum.data import Filter
from oakum.metrics.drift import RATE_NAMES, RATES, Shift, changed, item_drift, rates, stability
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import estimate
from oakum.release.standing import Standing, standing
from oakum.serve.models import Served
from oakum.serve.trial import Trial
from oakum.state import State
from oakum.state.schema import ACCEPTED, PENDING

RECENT = 10_000  # newest events that are looked at
LEARNED = 1_000_000  # newest events of the training log that rates are read off
PANEL, PLACES = 200, 10


@dataclass(frozen=True)
class Move:
    """How many of the panel's lists changed when one model took over from another."""

    old: str
    new: str
    at: float
    churn: Estimate


class Panel:
    """A fixed panel of people: those whose ids have the smallest digests, so the same people whatever the model. Their
    lists are kept, to be held against those of the next model."""

    def __init__(self, served: Served) -> None:
        self.moves: deque[Move] = deque(maxlen=20)
        self.served = served

    def moved_to(self, served: Served) -> None:
        """Another model answers: compare the lists of the people whom both know."""
        self.moves.append(compared(self.served, served))
        self.served = served


def compared(old: Served, new: Served) -> Move:
    """The lists of a panel under two models. The interval is over people."""
    people = panel(set(old.users) & set(new.users))
    found = changed(lists(old, people), lists(new, people)) if people else np.empty(0)
    return Move(old.id, new.id, time.time(), estimate(found, unit="people of a panel"))


def panel(users: set[str]) -> list[str]:
    """Up to `PANEL` people of these."""
    draw = lambda user: hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=8).digest()
    return sorted(users, key=lambda u: (draw(u), u))[:PANEL]


def lists(served: Served, people: list[str]) -> list[list[str]]:
    """The first places of each person's list, as trained users without newer events get it."""
    queries = served.fitted.queries(np.array([served.users[u] for u in people], np.int32))
    ranking = served.finder.find(queries, min(PLACES, len(served.item_ids)), Filter(exclude=queries.histories))
    return [[served.item_ids[i] for i in row[row >= 0].tolist()] for row in ranking.items]


@dataclass(frozen=True)
class Look:
    """What one look found. at: seconds since 1970; oldest: time of the oldest event looked at; unknown: share of them on
    items that the model does not know; candidate_move: how far the candidate's lists are from the current ones."""

    at: float
    events: int
    people: int
    oldest: float | None
    items: Shift
    rates: Shift
    unknown: float
    counts: dict[str, int]
    move: Move | None
    standing: Standing | None
    candidate_move: Move | None

    def gauges(self) -> dict[str, float]:
        """The figures for /metrics; what was not measured is NaN."""
        nan = float("nan")
        out = {
            "oakum_drift_items": self.items.value,
            "oakum_drift_items_bar": self.items.bar,
            "oakum_drift_rates": self.rates.value,
            "oakum_drift_rates_bar": self.rates.bar,
            "oakum_drift_unknown_items": self.unknown,
            "oakum_drift_lists": nan if self.move is None else self.move.churn.value,
            "oakum_events_held": float(self.counts.get("held", 0)),
        }
        if self.standing is not None:
            found = self.standing.effect
            out["oakum_experiment_people"] = float(self.standing.current.answered + self.standing.candidate.answered)
            out["oakum_experiment_effect"] = nan if found is None else found.value
            out["oakum_experiment_low"] = nan if found is None else found.low
            out["oakum_experiment_high"] = nan if found is None else found.high
        return out


@dataclass
class Watched:
    """What does not change between looks: rates of the training log and the candidate's lists, by model."""

    learned: tuple[str, np.ndarray, int] | None = None
    beside: tuple[str, Move] | None = None


def look_at(served: Served, state: State, trial: Trial | None, panel: Panel, watched: Watched) -> Look:
    """Measure everything once. Reads the newest `RECENT` events that may be used."""
    last = state.last_seq()
    events = list(state.events(PENDING, ACCEPTED, after=max(0, last - RECENT), up_to=last))
    who: dict[str, int] = {}
    people = np.array([who.setdefault(e.user_id, len(who)) for e in events], np.int64)
    times = np.array([e.time for e in events], np.int64)
    codes = np.array([served.items.get(e.item_id, -1) for e in events], np.int64)
    fitted = served.fitted
    size = (int((fitted.histories.lengths > 0).sum()), len(who))
    beside = None
    if trial is not None and not trial.ended:
        both = f"{served.id} {trial.now[0].id}"
        if watched.beside is None or watched.beside[0] != both:
            watched.beside = (both, compared(served, trial.now[0]))
        beside = watched.beside[1]
    return Look(
        at=time.time(),
        events=len(events),
        people=len(who),
        oldest=float(times.min()) / 1e6 if len(times) else None,
        items=item_drift(fitted.item_counts, codes[codes >= 0], people=size),
        rates=_rates(served, watched, people, times),
        unknown=float((codes < 0).mean()) if len(codes) else float("nan"),
        counts=state.counts(),
        move=panel.moves[-1] if panel.moves else None,
        standing=None if trial is None else standing(state, trial.running),
        candidate_move=beside,
    )


def _rates(served: Served, watched: Watched, people: np.ndarray, times: np.ndarray) -> Shift:
    if watched.learned is None or watched.learned[0] != served.id:
        h = served.fitted.histories
        if h.times is None:
            watched.learned = (served.id, np.zeros(len(RATES)), 0)
        else:
            owners, stamps = h.owners(), h.times
            if len(stamps) > LEARNED:
                newest = np.argpartition(stamps, -LEARNED)[-LEARNED:]
                owners, stamps = owners[newest], stamps[newest]
            watched.learned = (served.id, rates(owners, stamps), len(np.unique(owners)))
    _, learned, size = watched.learned
    return stability(learned, rates(people, times), people=(size, len(np.unique(people))), bins=RATE_NAMES)
