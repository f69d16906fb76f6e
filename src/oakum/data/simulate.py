"""A market whose true tastes are known, so that estimates can be held against the truth."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.data.dataset import Dataset, Relation
from oakum.data.interactions import Interactions
from oakum.data.vocabulary import Vocabulary
from oakum.parameters import Parameters, Range
from oakum.seeds import Rng, derive, generator, keyed_hash

YEAR = 365 * 86_400_000_000
START = 1_672_531_200_000_000  # 2023-01-01
ADJECTIVES = [
    "amber",
    "bright",
    "calm",
    "deep",
    "early",
    "fine",
    "gentle",
    "hardy",
    "inland",
    "jolly",
    "keen",
    "light",
    "mellow",
    "northern",
    "open",
    "plain",
]
NOUNS = [
    "anchor",
    "basket",
    "candle",
    "drum",
    "engine",
    "flag",
    "garden",
    "harbour",
    "island",
    "jacket",
    "kettle",
    "lantern",
    "mast",
    "notebook",
    "oar",
    "pulley",
]


class Market(Parameters):
    """Settings of a simulated market.

    A person is shown an item because it is popular or because an older, biased recommender guesses so; an event needs
    exposure *and* relevance, so what is missing is not missing at random. Relevance is σ(b + taste · trait + season).
    """

    slug = "market"
    users: Annotated[int, Range(10, 100_000_000), "people"] = 2000
    items: Annotated[int, Range(10, 10_000_000), "things"] = 1500
    events: Annotated[int, Range(100, 200_000_000), "events to aim at"] = 100_000
    groups: Annotated[int, Range(2, 64), "taste groups, which are also the categories of items"] = 12
    taste_dim: Annotated[int, Range(2, 64), "dimensions of taste beside the group"] = 6
    skew: Annotated[float, Range(0, 3), "Zipf exponent of the items' exposure"] = 1.0
    season: Annotated[float, Range(0, 3), "how far a category's demand swings over the year"] = 0.8
    new_items: Annotated[float, Range(0, 0.9), "share of items that arrive during the year"] = 0.25
    new_users: Annotated[float, Range(0, 0.9), "share of people who arrive during the year"] = 0.25
    fraud: Annotated[float, Range(0, 0.5), "share of planted fake accounts on top of the people"] = 0.0
    targets: Annotated[int, Range(1, 1000), "items that planted accounts push"] = 5
    social: Annotated[bool, "draw a network of trust between people of like taste"] = False


def simulate(market: Market | None = None, *, seed: int = 0, block: int = 1 << 20) -> Dataset:
    """Draw a market. Same seed, same data, at any `block` size. Time and memory grow with the events.

    `Dataset.truth` keeps the tastes, traits, base rates, exposure weights and, where planted, who is fake and which
    items they push; `true_relevance` reads them.
    """
    market = market or Market()
    rng = generator(seed, "market")
    n, m, g, d = market.users, market.items, market.groups, market.taste_dim
    user_group, item_group = rng.integers(0, g, n), rng.integers(0, g, m)
    second = rng.integers(0, g, n)
    taste = np.concatenate([np.zeros((n, g)), rng.normal(0, 1, (n, d))], 1).astype(np.float32)
    taste[np.arange(n), user_group] += 2.2
    taste[np.arange(n), second] += 1.2
    trait = np.concatenate([np.zeros((m, g)), rng.normal(0, 0.7, (m, d))], 1).astype(np.float32)
    trait[np.arange(m), item_group] += 1.5
    quality = rng.normal(-2.6, 0.6, m).astype(np.float32)
    weight = (1.0 / (1 + rng.permutation(m)) ** market.skew).astype(np.float64)
    peak = rng.random(g)
    item_from = np.where(rng.random(m) < market.new_items, rng.random(m), 0.0)
    user_from = np.where(rng.random(n) < market.new_users, rng.random(n), 0.0)
    activity = rng.lognormal(0, 0.9, n) * (1 - user_from)
    truth: dict[str, Any] = {
        "user_tastes": taste, "item_traits": trait, "item_base": quality, "exposure": weight / weight.sum(),
        "season_peak": peak, "item_group": item_group, "user_group": user_group, "market": market.to_json(),
    }  # fmt: skip
    users, items, times = _draw(market, seed, truth, activity, item_from, user_from, block)
    real = len(users)
    fakes = round(market.fraud * n)
    targets = np.empty(0, np.int64)
    if fakes:
        counts = np.bincount(items, minlength=m)
        cold = np.flatnonzero(counts <= np.quantile(counts, 0.3))
        targets = rng.choice(cold, min(market.targets, len(cold)), replace=False)
        length = max(6, real // n)
        popular = np.argsort(-counts)[: max(20, m // 20)]
        fake_items = [
            np.unique(np.concatenate([targets, rng.choice(popular, length // 2), rng.integers(0, m, length // 2)]))
            for _ in range(fakes)
        ]
        fake_users = np.repeat(np.arange(n, n + fakes), [len(x) for x in fake_items])
        burst = START + int(0.55 * YEAR)
        fake_times = burst + rng.integers(0, YEAR // 20, len(fake_users))
        users = np.concatenate([users, fake_users])
        items = np.concatenate([items, *fake_items])
        times = np.concatenate([times, fake_times])
    truth["is_fake"] = np.arange(n + fakes) >= n
    truth["targets"] = targets.astype(np.int32)
    order = np.argsort(times, kind="stable")
    users, items, times = users[order], items[order], times[order]
    noise = keyed_hash(derive(seed, "ratings"), np.arange(len(users), dtype=np.int64)) % np.uint64(1000)
    liking = np.where(users < n, 0.0, 2.0)
    real_rows = users < n
    liking[real_rows] = np.einsum("ed,ed->e", taste[users[real_rows]], trait[items[real_rows]])
    values = np.clip(np.round(2.6 + 0.45 * liking + (noise.astype(float) / 500 - 1)), 1, 5).astype(np.float32)
    log = Interactions(users.astype(np.int32), items.astype(np.int32), values, times)
    tables = {
        "items": _item_table(rng, item_group, trait, m),
        "users": _user_table(rng, n + fakes, user_group),
    }
    relations = {"trust": _trust(rng, user_group, n)} if market.social else {}
    ids = lambda prefix, k: Vocabulary(pl.Series("id", [f"{prefix}{i:06d}" for i in range(k)]))
    name = "simulated market"
    notes = (f"A simulated market of {n:,} people and {m:,} items whose true tastes are known (seed {seed}).",)
    return Dataset(log, ids("u", n + fakes), ids("i", m), tables, relations, name, notes, truth)


def _draw(
    market: Market,
    seed: int,
    truth: dict[str, Any],
    activity: Any,
    item_from: Any,
    user_from: Any,
    block: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Proposals in numbered chunks of fixed size (so that `block` never matters) until the events are reached."""
    user_cdf, item_cdf = np.cumsum(activity), np.cumsum(truth["exposure"])
    group_cdf = []
    members = []
    for c in range(market.groups):
        own = np.flatnonzero(truth["item_group"] == c)
        members.append(own if len(own) else np.arange(market.items))
        group_cdf.append(np.cumsum(truth["exposure"][members[-1]]))
    parts: list[tuple[Any, ...]] = []
    found, chunk, size = 0, 0, 1 << 16
    while found < market.events and chunk < 400 * max(1, market.events // size + 1):
        rng = generator(seed, "proposals", chunk)
        u = np.minimum(np.searchsorted(user_cdf, rng.random(size) * user_cdf[-1], side="right"), market.users - 1)
        i = np.minimum(np.searchsorted(item_cdf, rng.random(size) * item_cdf[-1], side="right"), market.items - 1)
        # The older recommender: half of the exposures come from the category it believes in, popular things first.
        guided = rng.random(size) < 0.5
        draw = rng.random(size)
        for c in range(market.groups):
            at = guided & (truth["user_group"][u] == c)
            place = np.searchsorted(group_cdf[c], draw[at] * group_cdf[c][-1], side="right")
            i[at] = members[c][np.minimum(place, len(members[c]) - 1)]
        t = rng.random(size)
        there = (t >= item_from[i]) & (t >= user_from[u])
        season = market.season * np.cos(2 * np.pi * (t - truth["season_peak"][truth["item_group"][i]]))
        liking = np.einsum("ed,ed->e", truth["user_tastes"][u], truth["item_traits"][i])
        chance = 1 / (1 + np.exp(-(truth["item_base"][i] + liking + season)))
        hit = there & (rng.random(size) < chance)
        parts.append((u[hit], i[hit], (START + t[hit] * YEAR).astype(np.int64)))
        found += int(hit.sum())
        chunk += 1
    users, items, times = (np.concatenate(x) for x in zip(*parts, strict=True))
    pair = users * np.int64(market.items) + items
    _, first = np.unique(pair, return_index=True)
    # One repeat in fifty stays: people come back to few things.
    twice = np.ones(len(pair), bool)
    twice[first] = False
    lucky = keyed_hash(derive(seed, "repeats"), np.arange(len(pair), dtype=np.int64)) % np.uint64(50) == 0
    keep = np.flatnonzero(~twice | lucky)[: market.events]
    return users[keep], items[keep], times[keep]


def _item_table(rng: Rng, group: Any, trait: Any, m: int) -> pl.DataFrame:
    names = [f"category {c:02d}" for c in group]
    strong = np.abs(trait[:, -4:]).argmax(1)
    adjective = rng.integers(0, len(ADJECTIVES), m)
    titles = [
        f"{ADJECTIVES[a].title()} {NOUNS[c % len(NOUNS)]} {i}"
        for i, (a, c) in enumerate(zip(adjective, group, strict=True))
    ]
    text = [
        f"A {ADJECTIVES[a]} {NOUNS[c % len(NOUNS)]} of kind {s}."
        for a, c, s in zip(adjective, group, strong, strict=True)
    ]
    price = np.round(np.exp(rng.normal(3, 0.6, m)), 2)
    return pl.DataFrame({"title": titles, "description": text, "category": names, "price": price})


def _user_table(rng: Rng, n: int, group: Any) -> pl.DataFrame:
    ages = np.array(["18-24", "25-34", "35-49", "50+"])[rng.integers(0, 4, n)]
    regions = np.array(["north", "south", "east", "west"])[rng.integers(0, 4, n)]
    return pl.DataFrame({"age_group": ages, "region": regions})


def _trust(rng: Rng, group: Any, n: int) -> Relation:
    order = np.argsort(group, kind="stable")
    near = order[np.minimum(np.arange(n)[:, None] + rng.integers(1, 20, (n, 4)), n - 1)]
    sources = np.repeat(order, 4)
    targets = near.ravel()
    keep = sources != targets
    return Relation("users", "users", sources[keep].astype(np.int32), targets[keep].astype(np.int32))


def true_relevance(data: Dataset, users: Any, items: Any) -> NDArray[np.float64]:
    """The chance that a person takes an item once shown, averaged over the year; float64 [n]. Fakes have none (0)."""
    truth = data.truth
    users, items = np.asarray(users), np.asarray(items)
    real = users < len(truth["user_tastes"])
    safe = np.where(real, users, 0)
    liking = np.einsum("ed,ed->e", truth["user_tastes"][safe], truth["item_traits"][items])
    return np.where(real, 1 / (1 + np.exp(-(truth["item_base"][items] + liking))), 0.0)
