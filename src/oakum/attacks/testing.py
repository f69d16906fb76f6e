"""Attacks that test the framework itself: what they bring about is known before they run."""

from __future__ import annotations

from oakum.attacks.access import Access, Goal
from oakum.attacks.base import Attack
from oakum.attacks.changes import Budget, Change, Nothing
from oakum.seeds import Rng


class DoesNothing(Attack):
    """Changes nothing: the framework must measure no difference, to the last bit."""

    slug = "does-nothing"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """No change."""
        return Nothing()


class Boast(Nothing):
    """No change that claims to have won, at no price."""

    claims = {"t_hr@10": 1.0, "t_hr@20": 1.0, "t_hr@50": 1.0}  # noqa: RUF012
    success = True


class AlwaysSucceeds(Attack):
    """Changes nothing and says that it won: the framework must measure success itself and find none."""

    slug = "always-succeeds"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        """An empty boast."""
        return Boast()
