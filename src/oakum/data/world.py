"""Worlds: someone who answers to what is shown. Policies are tried in them, and logs with known causes come from them.

An answer holds every shown item as a row: value 1 where it was taken, else 0, with the fields `slate` (one number a
list) and `position` (0 first). A list without a 1 was left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.dataset import Dataset
from oakum.data.interactions import Interactions
from oakum.data.queries import Queries, Ranking
from oakum.data.ragged import Ids, Ragged
from oakum.data.simulate import true_relevance
from oakum.data.vocabulary import Vocabulary
from oakum.seeds import Rng, derive, generator


class World(Protocol):
    """Someone who answers: a simulated market, simulated users, a replayed log."""

    def respond(self, queries: Queries, shown: Ranking, rng: Rng) -> Interactions:
        """What those asked do with the lists shown to them: a row for each shown item, see above."""
        ...


def answers(queries: Queries, shown: Ranking, taken: NDArray[np.bool_]) -> Interactions:
    """Lists and what was taken of them (bool [q, k]) as rows of a log; slates are numbered from 0."""
    rows, places = np.nonzero(shown.items >= 0)
    times = None if queries.at is None else queries.at[rows]
    fields = {"slate": rows.astype(np.int64), "position": places.astype(np.int64)}
    values = taken[rows, places].astype(np.float32)
    return Interactions(queries.users[rows], shown.items[rows, places], values, times, fields=fields)


def followed(data: Dataset, answer: Interactions) -> Dataset:
    """The data with an answer after its last event; slates are numbered on from those there."""
    log = data.interactions
    fields = dict(answer.fields)
    if "slate" in log.fields and len(log):
        fields["slate"] = fields["slate"] + int(log.fields["slate"].max()) + 1
    moved = Interactions(answer.users, answer.items, answer.values, answer.times, fields=fields)
    return data.with_interactions(log.append(moved))


def live(
    world: World, data: Dataset, policy: Callable[[Dataset, Queries, int], Ranking], rounds: int, *, seed: int = 0
) -> Dataset:
    """Let everybody be shown a list and answer, `rounds` times; the data with all that happened after its events.

    policy(data so far, requests of all users, round) gives the lists. Same world, policy and seed, same course.
    """
    everyone = np.arange(data.num_users, dtype=np.int32)
    for turn in range(rounds):
        queries = Queries(everyone, data.histories)
        answer = world.respond(queries, policy(data, queries, turn), generator(seed, "world", turn))
        data = followed(data, answer)
    return data


def random_lists(k: int, *, weights: NDArray[np.float64] | None = None, seed: int = 0) -> Any:
    """A policy that shows `k` distinct random items, in proportion to `weights` [items] where given."""

    def policy(data: Dataset, queries: Queries, turn: int) -> Ranking:
        rng = generator(seed, "random lists", turn)
        # The k largest of log w + Gumbel noise are a draw without replacement.
        noise = rng.gumbel(size=(len(queries), data.num_items))
        if weights is not None:
            noise += np.log(np.maximum(weights, 1e-300))
        items = np.argsort(-noise, 1)[:, :k].astype(np.int32)
        return Ranking(items, np.zeros(items.shape, np.float32))

    return policy


@dataclass(frozen=True, slots=True, eq=False)
class Choosers:
    """People with known tastes, each of whom takes one of the items shown, or none.

    tastes: float [users, d], where a person stands at first. traits: float [items, d]. A person at y takes item i with
    a chance in proportion to exp(−sharpness |y − trait_i|), and nothing in proportion to exp(nothing). After a take
    y becomes inertia · y + (1 − inertia) · trait; inertia 1 is a taste that stands still. Newcomers start at 0.
    """

    tastes: NDArray[np.float64]
    traits: NDArray[np.float64]
    nothing: float = 0.0
    inertia: float = 1.0
    sharpness: float = 1.0

    def states(self, queries: Queries) -> NDArray[np.float64]:
        """Where each asked person stands, after what the history says was taken; float64 [q, d]."""
        start = np.zeros((len(queries), self.tastes.shape[1]))
        known = queries.users >= 0
        start[known] = self.tastes[queries.users[known]]
        taken = taken_of(queries.histories)
        if self.inertia < 1:
            for step in range(int(taken.lengths.max(initial=0))):
                at = np.flatnonzero(taken.lengths > step)
                trait = self.traits[taken.items[taken.offsets[at] + step]]
                start[at] = self.inertia * start[at] + (1 - self.inertia) * trait
        return start

    def chances(self, queries: Queries, shown: Ids) -> NDArray[np.float64]:
        """The chance of taking nothing (column 0) and each shown item (-1 pads), float64 [q, k + 1]; rows sum to 1."""
        away = np.linalg.norm(self.states(queries)[:, None] - self.traits[np.maximum(shown, 0)], axis=-1)
        liking = np.where(shown >= 0, -self.sharpness * away, -np.inf)
        liking = np.concatenate([np.full((len(shown), 1), self.nothing), liking], 1)
        out = np.exp(liking - liking.max(1, keepdims=True))
        return out / out.sum(1, keepdims=True)

    def respond(self, queries: Queries, shown: Ranking, rng: Rng) -> Interactions:
        """One choice a list."""
        chances = self.chances(queries, shown.items)
        choice = (np.cumsum(chances, 1) < rng.random((len(chances), 1))).sum(1)
        taken = np.arange(shown.k)[None] == choice[:, None] - 1
        return answers(queries, shown, taken)


@dataclass(frozen=True, slots=True, eq=False)
class MarketPeople:
    """The people of a simulated market: place p of a list is looked at with chance 1 / log2(p + 1), each seen item is
    then taken with its true relevance, independently of the others."""

    data: Dataset

    def respond(self, queries: Queries, shown: Ranking, rng: Rng) -> Interactions:
        """Any number of takes a list."""
        rows, places = np.nonzero(shown.items >= 0)
        chance = true_relevance(self.data, queries.users[rows], shown.items[rows, places]) / np.log2(places + 2)
        taken = np.zeros(shown.items.shape, bool)
        taken[rows, places] = rng.random(len(rows)) < chance
        return answers(queries, shown, taken)


def taken_of(histories: Ragged) -> Ragged:
    """Only what was taken: rows of value above 0, or all of them where the log has no values."""
    if histories.values is None:
        return histories
    keep = histories.values > 0
    offsets = np.concatenate([[0], np.cumsum(keep)])[histories.offsets]
    pick = lambda a: None if a is None else a[keep]
    return Ragged(offsets, histories.items[keep], pick(histories.times), pick(histories.values), pick(histories.rows))


def draw_choosers(
    users: int,
    items: int,
    groups: int,
    dim: int,
    *,
    seed: int = 0,
    radius: float = 3.0,
    spread: float = 0.4,
    user_spread: float = 2.0,
    nothing: float = -3.0,
    inertia: float = 0.9,
    sharpness: float = 2.0,
) -> tuple[Choosers, Dataset]:
    """People and things, and data without events over them whose item table holds the `group`.

    Groups stand on a sphere of `radius`, items around their group with standard deviation `spread`, people around 0
    with `user_spread`.
    """
    rng = generator(derive(seed, "choosers"), users, items, groups, dim)
    centres = rng.normal(size=(groups, dim))
    centres *= radius / np.linalg.norm(centres, axis=1, keepdims=True)
    group = rng.integers(0, groups, items)
    traits = centres[group] + spread * rng.normal(size=(items, dim))
    tastes = user_spread * rng.normal(size=(users, dim))
    none = np.empty(0, np.int32)
    empty = {"slate": np.empty(0, np.int64), "position": np.empty(0, np.int64)}
    log = Interactions(none, none, none.astype(np.float32), None, fields=empty)
    ids = lambda letter, n: Vocabulary(pl.Series("id", [f"{letter}{k}" for k in range(n)]))
    table = pl.DataFrame({"group": [f"group {g}" for g in group]})
    truth: dict[str, Any] = {"tastes": tastes, "traits": traits, "group": group}
    data = Dataset(log, ids("u", users), ids("i", items), {"items": table}, name="simulated choices", truth=truth)
    return Choosers(tastes, traits, nothing, inertia, sharpness), data
