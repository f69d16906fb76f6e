"""Attacks that cheat, each in one way; the framework must catch every one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from oakum.attacks.base import Access, AddProfiles, Attack, Budget, Change, EditEvents, Goal, Nothing, Threat
from oakum.data import Dataset, Interactions, Queries, Ragged, Vocabulary
from oakum.seeds import Rng


def profiles(goal: Goal, users: int, length: int) -> AddProfiles:
    """Accounts that hold the targets and the first items."""
    cover = [i for i in range(length + len(goal.targets)) if i not in goal.targets][: length - len(goal.targets)]
    return AddProfiles(Ragged.of([[*goal.targets, *cover]] * users))


class OverBudget(Attack):
    """One account too many."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        return profiles(goal, budget.users + 1, budget.clicks // (budget.users + 1))


class Underpriced(Attack):
    """Spends ten times the budget and says that it cost nothing."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        class Free(AddProfiles):
            def cost(self) -> Budget:
                return Budget()

        return Free(profiles(goal, budget.users * 10, 8).profiles)


class EditsQuietly(Attack):
    """Has a budget for accounts and removes people's events beside them."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        added, removed = profiles(goal, 1, 6), EditEvents(access.log().interactions.rows[:3])

        class Both(Nothing):
            def apply(self, target: Any) -> Any:
                return removed.apply(added.apply(target))

        return Both()


class PutsWordsInMouths(Attack):
    """Adds events under the names of genuine people."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        class Ghost(Nothing):
            def apply(self, target: Dataset) -> Dataset:
                extra = Interactions(np.zeros(1, np.int32), goal.codes[:1])
                return target.with_interactions(target.interactions.append(extra))

        return Ghost()


class RenamesPeople(Attack):
    """Moves existing ids to other codes."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        class Renamed(Nothing):
            def apply(self, target: Dataset) -> Dataset:
                return replace(target, users=Vocabulary(target.users.ids.reverse()))

        return Renamed()


class InventsItems(Attack):
    """Clicks on items that do not exist."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        return AddProfiles(Ragged.of([[access.log().num_items + 3]]))


class Mutates(Attack):
    """Writes into the columns of its input, by the front door."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        access.log().interactions.items[0] = 0
        return Nothing()


class BreaksIn(Attack):
    """Takes the lock off a column and writes, where the memory lets it."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        column = access.log().interactions.items
        while column.base is not None:
            column = column.base
        column.flags.writeable = True
        column[0] = (column[0] + 1) % access.log().num_items
        return Nothing()


class SpoilsTheCache(Attack):
    """Writes into what is computed from the log, so that the clean model would be fitted on it."""

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        data = access.log()
        data.matrix.data[:] = 0
        data.item_counts[:] = 7
        data.histories.items[:] = 0
        return Nothing()


class Peeks(Attack):
    """Asks for what its threat does not grant; `what` names the look."""

    threat: ClassVar[Threat] = Threat.LOG
    what: str = "scores"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        queries = Queries(np.zeros(1, np.int32), Ragged.of([[0]]))
        if self.what == "lists":
            access.lists(queries, 5)
        elif self.what == "retrain":
            access.retrain(Nothing())
        elif self.what == "gradient":
            access.gradient(queries, goal.codes)
        else:
            access.scores(queries)
        return Nothing()


class LooksTooOften(Attack):
    """Asks one query more than its budget."""

    threat: ClassVar[Threat] = Threat.LOG | Threat.LISTS

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        for _ in range(budget.queries + 1):
            access.lists(Queries(np.zeros(1, np.int32), Ragged.of([[0]])), 5)
        return Nothing()


class LooksThroughTheBackWindow(Attack):
    """Retrains once and asks the new victim without end, hoping that those looks are not counted."""

    threat: ClassVar[Threat] = Threat.SCORES | Threat.RETRAIN

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> Change:
        again = access.retrain(Nothing())
        for _ in range(budget.queries):
            again.scores(Queries(np.zeros(1, np.int32), Ragged.of([[0]])))
        return Nothing()
