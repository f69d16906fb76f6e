"""From parts to accounts: what the log tells about ratings and places, and how a profile is put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.changes import AddProfiles, Budget
from oakum.data import Dataset, Ids, Ragged
from oakum.errors import ParameterError
from oakum.seeds import Rng

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Facts:
    """What profile techniques may know of a log; each fact is computed when first asked for. O(events) each."""

    data: Dataset

    @property
    def rated(self) -> bool:
        """Whether events carry values."""
        return self.data.interactions.values is not None and len(self.data) > 0

    @cached_property
    def steps(self) -> Values:
        """The distinct values of the log, rising; [1.0] where there are none."""
        values = self.data.interactions.values
        return np.ones(1) if values is None or not self.rated else np.unique(values).astype(np.float64)

    @property
    def bottom(self) -> float:
        """The lowest value."""
        return float(self.steps[0])

    @property
    def top(self) -> float:
        """The highest value."""
        return float(self.steps[-1])

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of all values."""
        values = self.data.interactions.values
        return (float(values.mean()), float(values.std())) if self.rated and values is not None else (1.0, 0.0)

    @cached_property
    def item_moments(self) -> tuple[Values, Values]:
        """Mean and standard deviation of each item's values [items]; items with fewer than two take the overall one."""
        log, items = self.data.interactions, self.data.num_items
        if log.values is None:
            return np.ones(items), np.zeros(items)
        n = np.bincount(log.items, minlength=items)
        values = log.values.astype(np.float64)
        mean = np.bincount(log.items, values, minlength=items) / np.maximum(n, 1)
        around = np.bincount(log.items, (values - mean[log.items]) ** 2, minlength=items) / np.maximum(n, 1)
        return np.where(n > 0, mean, self.moments[0]), np.where(n > 1, np.sqrt(around), self.moments[1])

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Items with at least one event [items]."""
        return self.data.item_counts > 0

    @cached_property
    def places(self) -> Values:
        """Where an item comes in people's histories on average, 0 first and 1 last [items]."""
        histories, items = self.data.histories, self.data.num_items
        owners = histories.owners()
        within = np.arange(len(owners)) - histories.offsets[owners]
        share = within / np.maximum(histories.lengths[owners] - 1, 1)
        n = np.bincount(histories.items, minlength=items)
        return np.where(n > 0, np.bincount(histories.items, share, minlength=items) / np.maximum(n, 1), 0.5)

    def as_everybody(self, items: Ids, rng: Rng) -> Values:
        """Draws from N(μ_i, σ_i) of each item [n]."""
        mean, spread = self.item_moments
        return rng.normal(mean[items], spread[items])

    def rate(self, wanted: Values) -> Values:
        """The nearest values that people really give (a log with more than 100 distinct values is only clipped)."""
        if len(self.steps) > 100:
            return np.clip(wanted, self.bottom, self.top)
        at = np.clip(np.searchsorted((self.steps[1:] + self.steps[:-1]) / 2, wanted), 0, len(self.steps) - 1)
        return self.steps[at]


def length_of(own: int, targets: int, budget: Budget) -> int:
    """Events an account: what a technique asks for (0 takes all that the budget gives), with room for so many targets."""
    length = own or budget.clicks // max(1, budget.users)
    if length * budget.users > budget.clicks:
        raise ParameterError(
            f"{budget.users} accounts of {length} events need {length * budget.users} clicks; budget {budget.clicks}."
        )
    if length < targets:
        raise ParameterError(f"An account of {length} events cannot hold {targets} targets; give more clicks.")
    return length


@dataclass(frozen=True, eq=False)
class Account:
    """One fake profile before it is put in order: targets, and cover items with what they are rated."""

    targets: Ids
    cover: Ids
    values: Values


def compose(accounts: Sequence[Account], facts: Facts, target_value: float, knowledge: str, rng: Rng) -> AddProfiles:
    """Put accounts in order: cover items as they follow each other in people's histories, targets at random places
    among them, times drawn uniformly over the span of the log and sorted. Values only where the log has them."""
    log = facts.data.interactions
    items: list[Ids] = []
    values: list[Values] = []
    times: list[NDArray[np.int64]] = []
    for account in accounts:
        both = np.concatenate([account.targets, account.cover]).astype(np.int32)
        rated = np.concatenate([np.full(len(account.targets), target_value), account.values])
        place = np.concatenate([rng.random(len(account.targets)), facts.places[account.cover]])
        order = np.argsort(place, kind="stable")
        items.append(both[order])
        values.append(facts.rate(rated[order]))
        if log.times is not None and len(log):
            times.append(np.sort(rng.integers(log.times.min(), log.times.max() + 1, len(both))))
    found = Ragged.of(items)  # type: ignore[arg-type]
    kept_times = np.concatenate(times) if times else None
    kept_values = np.concatenate(values).astype(np.float32) if values and facts.rated else None
    return AddProfiles(Ragged(found.offsets, found.items, kept_times, kept_values), knowledge)
