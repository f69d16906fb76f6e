"""Fake accounts by rule: a target part, a selected part, a filler part.

The canonical profiles of the shilling literature (Lam & Riedl 2004; Burke et al. 2005). Knowledge needed: none for
random, item means for average, popularity for bandwagon.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Goal, Threat
from oakum.data import Dataset, Ragged
from oakum.errors import ParameterError
from oakum.parameters import Range
from oakum.seeds import Rng

Values = NDArray[np.float32]


class RandomProfiles(Attack):
    """The targets among random items.

    Ratings of fillers N(μ, σ) of all ratings, rounded and clipped to the scale; targets get the top of the scale
    (the bottom when demoting). Without ratings only the choice of items matters. Cost: accounts · length.
    """

    slug = "random-profiles"
    threat = Threat.LOG
    knowledge: ClassVar[str] = "mean and spread of all ratings"
    target_mode: Annotated[
        Literal["all", "one", "draws"],
        "each account has all targets, one of them, or as many draws with replacement",
    ] = "all"
    length: Annotated[int, Range(0), "events an account; 0 takes what the budget gives"] = 0

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> AddProfiles:
        """Compose the accounts within the budget."""
        data = access.log()
        length = self.length or budget.clicks // max(1, budget.users)
        if length * budget.users > budget.clicks:
            raise ParameterError(
                f"{budget.users} accounts of {length} events need {length * budget.users} clicks; budget {budget.clicks}."
            )
        items, values = [], []
        targets = self._targets(goal, budget.users, rng)
        for own in targets:
            selected, selected_values = self.selected(data, goal, max(0, length - len(own)), rng)
            used = np.concatenate([own, selected])
            count = max(0, min(length - len(used), data.num_items - len(used)))
            filler = self.filler(data, used, count, rng)
            items.append(np.concatenate([own, selected, filler]).astype(np.int32))
            top = self._scale(data)[1 if goal.kind == "promote" else 0]
            values.append(
                np.concatenate([np.full(len(own), top), selected_values, self.ratings(data, filler, goal, rng)])
            )
        profiles = Ragged.of([x.tolist() for x in items])
        low, high = self._scale(data)
        rated = np.clip(np.round(np.concatenate(values)), low, high).astype(np.float32) if values else None
        kept = rated if data.interactions.values is not None else None
        return AddProfiles(Ragged(profiles.offsets, profiles.items, None, kept), self.knowledge)

    def _targets(self, goal: Goal, n: int, rng: Rng) -> list[NDArray[np.int32]]:
        codes = goal.codes
        if self.target_mode == "all":
            return [codes] * n
        if self.target_mode == "one":
            return [codes[i % len(codes)][None] for i in range(n)]
        return [np.unique(rng.choice(codes, len(codes))) for _ in range(n)]

    def _scale(self, data: Dataset) -> tuple[float, float]:
        values = data.interactions.values
        return (1.0, 1.0) if values is None or not len(values) else (float(values.min()), float(values.max()))

    def _moments(self, data: Dataset) -> tuple[float, float]:
        values = data.interactions.values
        return (1.0, 0.0) if values is None else (float(values.mean()), float(values.std()))

    def selected(self, data: Dataset, goal: Goal, room: int, rng: Rng) -> tuple[NDArray[np.int32], Values]:
        """The items that this technique picks on purpose, with their ratings."""
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def filler(self, data: Dataset, used: NDArray[np.int32], count: int, rng: Rng) -> NDArray[np.int32]:
        """Items that hide the purpose: uniform over those that people have, without repetition."""
        pool = np.setdiff1d(np.flatnonzero(data.item_counts > 0), used)
        return rng.choice(pool, min(count, len(pool)), replace=False).astype(np.int32)

    def ratings(self, data: Dataset, items: NDArray[np.int32], goal: Goal, rng: Rng) -> Values:
        """Ratings of the fillers."""
        mean, spread = self._moments(data)
        return rng.normal(mean, spread, len(items)).astype(np.float32)


class AverageProfiles(RandomProfiles):
    """The targets among random items that are rated as everybody rates them: N(μ_i, σ_i).

    Harder to see in rating data; the same as random profiles where there are no ratings. Cost: accounts · length.
    """

    slug = "average-profiles"
    knowledge = "mean and spread of each item's ratings"

    def ratings(self, data: Dataset, items: NDArray[np.int32], goal: Goal, rng: Rng) -> Values:
        """Each item's own mean and spread; items with one rating take the overall spread."""
        log = data.interactions
        if log.values is None:
            return np.ones(len(items), np.float32)
        n = np.bincount(log.items, minlength=data.num_items)
        total = np.bincount(log.items, log.values, minlength=data.num_items)
        squares = np.bincount(log.items, log.values.astype(np.float64) ** 2, minlength=data.num_items)
        mean = total / np.maximum(n, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(n, 1) - mean**2, 0))
        spread = np.where(n > 1, spread, self._moments(data)[1])
        return rng.normal(mean[items], spread[items]).astype(np.float32)


class BandwagonProfiles(RandomProfiles):
    """The targets beside best-sellers, so that the accounts look like many people's.

    `popular_share` of the places after the targets go to the most popular items (drawn from the top `popular_pool`),
    rated at the top of the scale; the rest is random filler. Cost: accounts · length.
    """

    slug = "bandwagon-profiles"
    knowledge = "which items are popular"
    popular_share: Annotated[float, Range(0, 1), "share of the places that popular items take"] = 0.5
    popular_pool: Annotated[float, Range(above=0, high=1), "share of the catalogue that counts as popular"] = 0.05

    def selected(self, data: Dataset, goal: Goal, room: int, rng: Rng) -> tuple[NDArray[np.int32], Values]:
        """Best-sellers, drawn from the pool."""
        counts = data.item_counts.copy()
        counts[goal.codes] = 0
        size = max(1, round(self.popular_pool * np.count_nonzero(counts)))
        wanted = min(room, round(self.popular_share * room))
        pool = np.argsort(-counts, kind="stable")[: max(size, wanted)]
        items = rng.choice(pool, wanted, replace=False).astype(np.int32)
        return items, np.full(len(items), self._scale(data)[1], np.float32)


class SegmentProfiles(RandomProfiles):
    """The targets beside what one group of people likes: the items most often had together with the targets' fans.

    `segment_share` of the places go to items liked by those who have a target (or, where nobody does, to the neighbours
    of a random item); fillers are rated at the bottom of the scale. Cost: accounts · length.
    """

    slug = "segment-profiles"
    knowledge = "what the fans of the targets have"
    segment_share: Annotated[float, Range(0, 1), "share of the places that the segment takes"] = 0.5

    def selected(self, data: Dataset, goal: Goal, room: int, rng: Rng) -> tuple[NDArray[np.int32], Values]:
        """Items by how many fans of the targets have them."""
        x = data.matrix
        fans = np.asarray(x[:, goal.codes].sum(1)).ravel()
        together = np.asarray(x.T @ (fans > 0).astype(np.float32)).ravel()
        together[goal.codes] = 0
        wanted = min(room, round(self.segment_share * room))
        items = np.argsort(-together, kind="stable")[:wanted].astype(np.int32)
        return items, np.full(len(items), self._scale(data)[1], np.float32)

    def ratings(self, data: Dataset, items: NDArray[np.int32], goal: Goal, rng: Rng) -> Values:
        """The bottom of the scale."""
        return np.full(len(items), self._scale(data)[0], np.float32)
