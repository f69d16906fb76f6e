"""Fake accounts by rule: a target part, a selected part, a filler part.

The canonical profiles of the shilling literature (Lam & Riedl 2004; Burke et al. 2005; Mobasher et al. 2007). μ, σ are
mean and standard deviation of all ratings, μ_i, σ_i those of an item; ratings are put on the nearest step that people
really give. On a log without ratings only the choice of items and their order matter.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np

from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Goal, Threat
from oakum.attacks.profiles.compose import Account, Facts, Values, compose, length_of
from oakum.data import Ids
from oakum.errors import ParameterError
from oakum.parameters import Range
from oakum.seeds import Rng


class RandomProfiles(Attack):
    """The targets among random items.

    Fillers uniform over the items that people have, rated N(μ, σ); targets get the top of the scale (the bottom when
    demoting, which needs ratings). Paper: Lam & Riedl 2004. Cost: accounts · items time, accounts · length memory.
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
        facts = Facts(access.log())
        length = length_of(self.length, 0, budget)
        if goal.kind == "demote" and not facts.rated:
            raise ParameterError(
                f"'{facts.data.name}' has no ratings, so an account cannot speak against an item; demoting needs ratings."
            )
        accounts = []
        for own in self._targets(goal, budget.users, rng):
            if len(own) > length:
                raise ParameterError(f"An account of {length} events cannot hold {len(own)} targets; give more clicks.")
            selected, selected_values = self.selected(facts, goal, length - len(own), rng)
            filler = self.filler(facts, goal, np.concatenate([own, selected]), length - len(own) - len(selected), rng)
            values = np.concatenate([selected_values, self.ratings(facts, filler, goal, rng)])
            cover = np.concatenate([selected, filler]).astype(np.int32)
            accounts.append(Account(own, cover, values))
        target_value = facts.bottom if goal.kind == "demote" else facts.top
        return compose(accounts, facts, target_value, self.knowledge, rng)

    def _targets(self, goal: Goal, n: int, rng: Rng) -> list[Ids]:
        codes = goal.codes
        if self.target_mode == "all" or not len(codes):
            return [codes] * n
        if self.target_mode == "one":
            return [codes[i % len(codes)][None] for i in range(n)]
        return [np.unique(rng.choice(codes, len(codes))) for _ in range(n)]

    def selected(self, facts: Facts, goal: Goal, room: int, rng: Rng) -> tuple[Ids, Values]:
        """The items that this technique picks on purpose, with their ratings."""
        return np.empty(0, np.int32), np.empty(0)

    def filler(self, facts: Facts, goal: Goal, used: Ids, count: int, rng: Rng) -> Ids:
        """Items that hide the purpose: uniform over those that people have, without repetition, never a target."""
        pool = _pool(facts, goal, used)
        return rng.choice(pool, min(count, len(pool)), replace=False).astype(np.int32)

    def ratings(self, facts: Facts, items: Ids, goal: Goal, rng: Rng) -> Values:
        """Ratings of the fillers."""
        mean, spread = facts.moments
        return rng.normal(mean, spread, len(items))


class AverageProfiles(RandomProfiles):
    """The targets among random items that are rated as everybody rates them: N(μ_i, σ_i).

    Harder to see in rating data; the same as random profiles where there are no ratings. Paper: Lam & Riedl 2004.
    """

    slug = "average-profiles"
    knowledge = "mean and spread of each item's ratings"

    def ratings(self, facts: Facts, items: Ids, goal: Goal, rng: Rng) -> Values:
        """Each item's own mean and spread; items with one rating take the overall spread."""
        return facts.as_everybody(items, rng)


class BandwagonProfiles(RandomProfiles):
    """The targets beside best-sellers, so that the accounts look like many people's.

    `popular_share` of the places after the targets go to the most popular items (drawn from the top `popular_pool` of the
    items that people have), rated at the top of the scale; the rest is random filler. Paper: Burke et al. 2005.
    """

    slug = "bandwagon-profiles"
    knowledge = "which items are popular"
    popular_share: Annotated[float, Range(0, 1), "share of the places that popular items take"] = 0.5
    popular_pool: Annotated[float, Range(above=0, high=1), "share of the catalogue that counts as popular"] = 0.05

    def selected(self, facts: Facts, goal: Goal, room: int, rng: Rng) -> tuple[Ids, Values]:
        """Best-sellers, drawn from the pool."""
        counts = facts.data.item_counts.copy()
        counts[goal.codes] = 0
        there = int(np.count_nonzero(counts))
        wanted = min(round(self.popular_share * room), there)
        pool = np.argsort(-counts, kind="stable")[: max(1, round(self.popular_pool * there), wanted)]
        items = rng.choice(pool, wanted, replace=False).astype(np.int32)
        return items, np.full(len(items), facts.top)


class PopularAverageProfiles(BandwagonProfiles):
    """Best-sellers, and fillers drawn by popularity and rated as everybody rates them: N(μ_i, σ_i).

    The hybrid of bandwagon and average; looks most like a person of all profiles by rule. On logs without ratings it
    differs from bandwagon in the choice of fillers alone.
    """

    slug = "popular-average-profiles"
    knowledge = "how popular each item is; mean and spread of its ratings"

    def filler(self, facts: Facts, goal: Goal, used: Ids, count: int, rng: Rng) -> Ids:
        """By the number of people who have them."""
        pool = _pool(facts, goal, used)
        weight = facts.data.item_counts[pool].astype(np.float64)
        chosen = rng.choice(pool, min(count, len(pool)), replace=False, p=weight / weight.sum()) if len(pool) else pool
        return chosen.astype(np.int32)

    def ratings(self, facts: Facts, items: Ids, goal: Goal, rng: Rng) -> Values:
        """Each item's own mean and spread."""
        return facts.as_everybody(items, rng)


class SegmentProfiles(RandomProfiles):
    """The targets beside what one group of people likes: the items most often had together with the targets.

    `segment_share` of the places go to items of those who have a target (where nobody has one, of those who have the item
    nearest in popularity to the first target), rated at the top; fillers at the bottom. Paper: Mobasher et al. 2007, whose
    segment is named by hand; here the targets name it.
    """

    slug = "segment-profiles"
    knowledge = "what the fans of the targets have"
    segment_share: Annotated[float, Range(0, 1), "share of the places that the segment takes"] = 0.5

    def selected(self, facts: Facts, goal: Goal, room: int, rng: Rng) -> tuple[Ids, Values]:
        """Items by how many fans of the targets have them; none that no fan has."""
        x = facts.data.matrix
        seeds: Ids = goal.codes if len(goal.codes) else np.flatnonzero(facts.known)[:1].astype(np.int32)
        if not facts.known[seeds].any():
            seeds = _nearest(facts, int(seeds[0]))
        fans = np.asarray(x[:, seeds].sum(1)).ravel()
        together = np.asarray(x.T @ (fans > 0).astype(np.float32)).ravel()
        together[goal.codes] = 0
        wanted = min(round(self.segment_share * room), int(np.count_nonzero(together)))
        items = np.argsort(-together, kind="stable")[:wanted].astype(np.int32)
        return items, np.full(len(items), facts.top)

    def ratings(self, facts: Facts, items: Ids, goal: Goal, rng: Rng) -> Values:
        """The bottom of the scale."""
        return np.full(len(items), facts.bottom)


class ReverseBandwagonProfiles(RandomProfiles):
    """Demote: the targets beside what many people dislike, all at the bottom of the scale.

    `disliked_share` of the places go to the worst-rated of the items that at least the median item's number of people
    have; fillers N(μ, σ). Needs ratings. Paper: Mobasher et al. 2007.
    """

    slug = "reverse-bandwagon-profiles"
    knowledge = "which items many people dislike"
    disliked_share: Annotated[float, Range(0, 1), "share of the places that disliked items take"] = 0.5

    def selected(self, facts: Facts, goal: Goal, room: int, rng: Rng) -> tuple[Ids, Values]:
        """The worst-rated of the known ones."""
        if not facts.rated:
            raise ParameterError(f"'{facts.data.name}' has no ratings, so nobody is known to dislike anything.")
        counts = facts.data.item_counts
        often = np.flatnonzero(counts >= max(1, np.median(counts[facts.known])))
        often = np.setdiff1d(often, goal.codes)
        wanted = min(round(self.disliked_share * room), len(often))
        items = often[np.argsort(facts.item_moments[0][often], kind="stable")[:wanted]].astype(np.int32)
        return items, np.full(len(items), facts.bottom)


class LoveHateProfiles(RandomProfiles):
    """Everything else gets the opposite of what the targets get: knows nothing, works best for demoting.

    Fillers at the top of the scale when demoting, at the bottom when promoting. Paper: Mobasher et al. 2007.
    """

    slug = "love-hate-profiles"
    knowledge = "none"

    def ratings(self, facts: Facts, items: Ids, goal: Goal, rng: Rng) -> Values:
        """The other end of the scale."""
        return np.full(len(items), facts.top if goal.kind == "demote" else facts.bottom)


def _pool(facts: Facts, goal: Goal, used: Ids) -> Ids:
    free = facts.known.copy()
    free[used] = False
    free[goal.codes] = False
    return np.flatnonzero(free).astype(np.int32)


def _nearest(facts: Facts, item: int) -> Ids:
    gap = np.abs(facts.data.item_counts - facts.data.item_counts[item]).astype(np.float64)
    gap[~facts.known] = np.inf
    gap[item] = np.inf
    return np.array([np.argmin(gap)], np.int32)
