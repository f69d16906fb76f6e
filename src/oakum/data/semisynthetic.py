"""Clicks drawn from real ratings by chances that are then known: what exposure hides can be measured.

The generator of Saito et al. 2020. Relevance and exposure are each a factorisation of the ratings, so their chances are
kept as factors and never as a matrix of users × items.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.dataset import Dataset
from oakum.data.interactions import Interactions
from oakum.errors import DataError
from oakum.parameters import Parameters, Range
from oakum.seeds import derive, generator, keyed_hash

Floats = NDArray[np.float64]


class SemiSynthetic(Parameters):
    """Settings of semi-synthetic clicks: relevance γ = σ(rating − difficulty), exposure θ = σ(score)^skew."""

    slug = "semi-synthetic"
    difficulty: Annotated[float, Range(-10, 10), "ε: rating at which every second item is relevant"] = 5.0
    skew: Annotated[float, Range(0, 10), "exponent of the exposure: larger, less is shown"] = 1.0
    embedding_dim: Annotated[int, Range(1, 256), "width of both factorisations"] = 20
    steps: Annotated[int, Range(1), "gradient steps of each factorisation"] = 300
    batch_size: Annotated[int, Range(1), "rows in a step"] = 256
    learning_rate: Annotated[float, Range(above=0), "step size"] = 0.01


def semi_synthetic(ratings: Dataset, settings: SemiSynthetic | None = None, *, seed: int = 0) -> Dataset:
    """Clicks Y = O · R over the users and items of a log of ratings, O ~ θ and R ~ γ drawn once for every pair.

    Each click carries its θ in the column "propensity". `Dataset.truth` keeps the factors; `chances`, `relevant` and
    `relevance_log` read them. Raises `DataError` without ratings. Time users · items · d, memory a block of users.
    """
    settings = settings or SemiSynthetic()
    log = ratings.interactions
    if log.values is None:
        raise DataError(
            f"Semi-synthetic clicks are drawn from ratings, and '{ratings.name}' has none: add a column 'rating'."
        )
    rng = generator(seed, "semi-synthetic")
    shape = (ratings.num_users, ratings.num_items)
    pick = rng.integers(0, len(log), settings.steps * settings.batch_size)
    liking = _factors(log.users[pick], log.items[pick], log.values[pick], shape, settings, rng, logistic=False)
    users, items = (rng.integers(0, n, settings.steps * settings.batch_size) for n in shape)
    seen = np.asarray(ratings.matrix[users, items]).ravel()
    shown = _factors(users, items, seen, shape, settings, rng, logistic=True)
    truth: dict[str, Any] = {"liking": liking, "shown": shown, "settings": settings.to_json(), "seed": seed}
    plain = replace(ratings, tables={}, relations={}, truth=truth, name=f"{ratings.name} (semi-synthetic)")
    return _drawn(plain, exposed=True)


def _factors(users: Any, items: Any, targets: Any, shape: Any, settings: Any, rng: Any, *, logistic: bool) -> Any:
    """Both tables after so many steps of Adam on squared error, or on cross-entropy of σ: part of the benchmark's
    definition, which stops early and is no trained system."""
    d, b = settings.embedding_dim, settings.batch_size
    tables = [rng.uniform(-1, 1, (n, d)) * np.sqrt(6 / (n + d)) for n in shape]
    first, second = ([np.zeros_like(t) for t in tables] for _ in range(2))
    for step in range(settings.steps):
        at = slice(step * b, (step + 1) * b)
        rows = (users[at], items[at])
        p, q = (t[r] for t, r in zip(tables, rows, strict=True))
        score = (p * q).sum(1)
        error = ((_sigmoid(score) if logistic else score) - targets[at])[:, None] / b
        for side, change in enumerate((error * q, error * p)):
            slope = np.zeros_like(tables[side])
            np.add.at(slope, rows[side], change)
            first[side] += 0.1 * (slope - first[side])
            second[side] += 0.001 * (slope**2 - second[side])
            size = np.sqrt(second[side] / (1 - 0.999 ** (step + 1))) + 1e-8
            tables[side] -= settings.learning_rate * first[side] / (1 - 0.9 ** (step + 1)) / size
    return tuple(t.astype(np.float32) for t in tables)


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


def chances(data: Dataset, users: Any) -> tuple[Floats, Floats]:
    """(γ, θ): the chances that each item is relevant to, and shown to, these users; float64 [users, items]."""
    settings = SemiSynthetic.from_json(data.truth["settings"])
    score = lambda name: data.truth[name][0][users].astype(np.float64) @ data.truth[name][1].T.astype(np.float64)
    relevance = _sigmoid(np.clip(score("liking"), 1, 5) - settings.difficulty)
    return relevance, _sigmoid(score("shown")) ** settings.skew


def relevant(data: Dataset, users: Any) -> NDArray[np.bool_]:
    """R: which items these users find relevant, shown or not; bool [users, items]."""
    return _coins(data, "relevant", users) < chances(data, users)[0]


def relevance_log(data: Dataset) -> Dataset:
    """R as a log over the same ids: what a model would learn from if nothing were hidden."""
    return _drawn(data, exposed=False)


def _coins(data: Dataset, name: str, users: Any) -> Floats:
    pairs = np.asarray(users, np.int64)[:, None] * data.num_items + np.arange(data.num_items)
    bits = keyed_hash(derive(data.truth["seed"], "semi-synthetic", name), pairs.ravel())
    return np.asarray((bits >> np.uint64(11)) * (1.0 / 9007199254740992.0), np.float64).reshape(pairs.shape)


def _drawn(data: Dataset, *, exposed: bool, block: int = 1024) -> Dataset:
    parts: list[tuple[Any, ...]] = []
    for start in range(0, data.num_users, block):
        users = np.arange(start, min(start + block, data.num_users))
        theta = chances(data, users)[1]
        taken = relevant(data, users)
        if exposed:
            taken &= _coins(data, "shown", users) < theta
        rows, items = np.nonzero(taken)
        parts.append((users[rows], items, theta[rows, items]))
    users, items, theta = (np.concatenate(x) for x in zip(*parts, strict=True))
    fields = {"propensity": theta.astype(np.float32)} if exposed else {}
    return data.with_interactions(Interactions(users.astype(np.int32), items.astype(np.int32), fields=fields))
