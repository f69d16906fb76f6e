"""Experiments in a state: what they are, whom they have answered, and what those people did afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from oakum.errors import ParameterError
from oakum.state.base import State, count, now_text
from oakum.state.schema import ACCEPTED, PENDING

_NAMES = ("name", "settings", "made", "since", "ended", "why")


@dataclass(frozen=True, slots=True)
class Running:
    """An experiment as it is stored. since: the last event that came before it; ended: when, None while it runs."""

    name: str
    settings: Mapping[str, Any]
    made: str
    since: int
    ended: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """A person's part in an experiment: the salted digest of the id, the arm, and when (microseconds since 1970)."""

    person: str
    candidate: bool
    first: int


def experiments(state: State) -> dict[str, Running]:
    """All experiments by name, oldest first."""
    rows = state.read(f"SELECT {', '.join(_NAMES)} FROM experiments ORDER BY made, name")
    return {row[0]: Running(row[0], json.loads(row[1]), *row[2:]) for row in rows}


def begin(state: State, name: str, settings: Mapping[str, Any]) -> Running:
    """Store an experiment, or go on with the one of this name. Raises `ParameterError` where that one is set up
    differently: its figures would mix two experiments."""
    text = json.dumps(dict(settings))
    settings = json.loads(text)
    old = experiments(state).get(name)
    if old is None:
        row = (name, text, now_text(), state.last_seq())

        def change(cursor: Any) -> None:
            sql = "INSERT INTO experiments (name, settings, made, since) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING"
            cursor.execute(sql, row)
            count(cursor, "experiments")

        state.write(change)
        old = experiments(state)[name]
    differs = [k for k, v in settings.items() if k != "base" and old.settings.get(k) != v]
    if differs:
        was, now = old.settings.get(differs[0]), settings[differs[0]]
        raise ParameterError(
            f"The experiment '{name}' was begun with {differs[0]} = {was!r}, now it is {now!r}. Figures of two set-ups do "
            "not mix: give this one another name (--experiment NAME)."
        )
    return old


def end(state: State, name: str, why: str) -> None:
    """End an experiment; services stop answering with its candidate within a second or two."""
    known = experiments(state)
    if name not in known:
        raise ParameterError(f"There is no experiment '{name}'. Known: {', '.join(known) or 'none'}.")
    made = now_text()

    def change(cursor: Any) -> None:
        cursor.execute("UPDATE experiments SET ended = ?, why = ? WHERE name = ? AND ended IS NULL", (made, why, name))
        count(cursor, "experiments")

    state.write(change)


def answer(state: State, name: str, user_id: str, candidate: bool, time: int) -> Future[Any]:
    """Queue that a person was answered; only the first time counts."""
    person = state.person(user_id)
    row = (name, person, int(candidate), time, person)

    def change(cursor: Any) -> None:
        # Not even where the deletion came between the answer and this.
        sql = (
            "INSERT INTO answered (experiment, person, candidate, first) SELECT ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM forgotten WHERE person = ?) ON CONFLICT DO NOTHING"
        )
        cursor.execute(sql, row)

    return state.submit(change)


def answered(state: State, name: str) -> list[FirstAnswer]:
    """Whom an experiment has answered, in the order of their first answers."""
    sql = "SELECT person, candidate, first FROM answered WHERE experiment = ? ORDER BY first, person"
    return [FirstAnswer(p, bool(c), int(t)) for p, c, t in state.read(sql, (name,))]


def answers_of(state: State, user_id: str) -> list[tuple[str, bool, int]]:
    """What is known of one person: experiment, whether the candidate answers, time of the first answer."""
    sql = "SELECT experiment, candidate, first FROM answered WHERE person = ? ORDER BY first"
    return [(e, bool(c), int(t)) for e, c, t in state.read(sql, (state.person(user_id),))]


def outcomes(
    state: State, found: list[FirstAnswer], since: int, window: int, *, kind: str | None, measure: str
) -> dict[str, float]:
    """What each person did from the first answer on, for `window` microseconds, out of the events that may be used.

    kind: only events of this type. measure: "acted" (1 or 0), "events" (their number) or "weight" (their sum, 1 where an
    event has none). Reads the events that came since the experiment began, once.
    """
    first = {a.person: a.first for a in found}
    out = dict.fromkeys(first, 0.0)
    digests: dict[str, str] = {}
    for event in state.events(PENDING, ACCEPTED, after=since):
        if kind is not None and event.type != kind:
            continue
        person = digests.get(event.user_id)
        if person is None:
            person = digests[event.user_id] = state.person(event.user_id)
        began = first.get(person)
        if began is not None and began < event.time <= began + window:
            out[person] += (1.0 if event.weight is None else event.weight) if measure == "weight" else 1.0
    return {p: min(1.0, v) for p, v in out.items()} if measure == "acted" else out
