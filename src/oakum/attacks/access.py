"""What an adversary may see, what it wants, and the window through which it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Flag, auto
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.changes import Change
from oakum.data import Dataset, Ids, Queries, Ranking
from oakum.errors import BudgetExceeded, Denied, ParameterError


class Threat(Flag):
    """What an adversary may see or touch."""

    LOG = auto()  # read the training log
    CATALOGUE = auto()  # read item texts and pictures
    LISTS = auto()  # ask for recommendations, see their order
    SCORES = auto()  # see the scores too
    GRADIENTS = auto()
    RETRAIN = auto()  # see the model that would result from a change
    REQUESTS = auto()
    CLIENTS = auto()
    WEIGHTS = auto()
    TOOLS = auto()


@dataclass(frozen=True, slots=True)
class Goal:
    """What the adversary wants: items to promote or to demote, or (without targets) worse lists for everybody, or a copy.

    targets: codes of items, nothing else, so a goal cannot describe anything but a place in a list.
    """

    targets: tuple[int, ...] = ()
    kind: Literal["promote", "demote", "degrade", "copy"] = "promote"

    def __post_init__(self) -> None:
        if self.kind not in ("promote", "demote", "degrade", "copy"):
            raise ParameterError(f"A goal is to promote, to demote, to degrade or to copy. Got {self.kind!r} instead.")
        aimless = self.kind in ("degrade", "copy")
        if aimless == bool(self.targets):
            wanted = "has no targets" if aimless else "needs at least one target item"
            raise ParameterError(f"The goal '{self.kind}' {wanted}. Got {len(self.targets)} targets.")
        if len(set(self.targets)) < len(self.targets):
            raise ParameterError("A goal names the same target twice; give every item once.")

    @property
    def codes(self) -> Ids:
        """The targets, int32."""
        return np.asarray(self.targets, np.int32)


class Access:
    """The adversary's window. Only training events are behind it; a test part is not reachable.

    Every look is counted in `looks`, by name. Looks at the victim also count against the budget's queries.
    """

    def __init__(
        self,
        threat: Threat,
        data: Dataset,
        *,
        victim: Any = None,
        retrain: Callable[[Change], Any] | None = None,
        queries: int = 0,
        looks: dict[str, int] | None = None,
    ) -> None:
        self._threat, self._victim, self._retrain, self._allowed = threat, victim, retrain, queries
        # A value of its own: what is cached on the original (matrix, histories) stays out of reach, and so does what
        # the threat does not grant: people's features and relations always, items' unless the catalogue is granted.
        open_ = {"items": data.tables["items"]} if Threat.CATALOGUE in threat and "items" in data.tables else {}
        self._data = replace(data, tables=open_, relations={}, truth={}, notes=())
        self.looks: dict[str, int] = {} if looks is None else looks

    def _grant(self, needed: Threat, name: str, count: int) -> None:
        if needed not in self._threat:
            granted = ", ".join(str(t.name) for t in self._threat) or "nothing"
            raise Denied(f"The attack asked for {name}, which needs {needed.name}; its threat model grants {granted}.")
        self.looks[name] = self.looks.get(name, 0) + count
        if needed is not Threat.LOG and self.spent > self._allowed:
            raise BudgetExceeded(
                f"The attack looked {self.spent} times at the victim; its budget is {self._allowed} queries."
            )

    def _asked(self) -> Any:
        if self._victim is None:
            raise Denied("There is no victim to ask: this run gives the attack the log alone.")
        return self._victim

    @property
    def spent(self) -> int:
        """Looks at the victim so far (reading the log is knowledge, not a query)."""
        return sum(n for name, n in self.looks.items() if name != "log")

    def log(self) -> Dataset:
        """The training log; its columns cannot be written to. Item tables come with it where CATALOGUE is granted."""
        self._grant(Threat.LOG, "log", 1)
        return self._data

    def lists(self, queries: Queries, k: int) -> Ranking:
        """Recommended items without scores; one query a request."""
        self._grant(Threat.LISTS, "lists", len(queries))
        ranking: Ranking = self._asked().rank(queries, k)
        return Ranking(ranking.items, np.full(ranking.items.shape, np.nan, np.float32))

    def scores(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Scores; one query a request."""
        self._grant(Threat.SCORES, "scores", len(queries))
        out: NDArray[np.float32] = self._asked().score(queries, items)
        return out

    def gradient(self, queries: Queries, items: Ids) -> NDArray[np.float32]:
        """Gradients of the scores of `items`, from victims that have a method `gradient`; one query a request."""
        self._grant(Threat.GRADIENTS, "gradient", len(queries))
        if not hasattr(self._asked(), "gradient"):
            raise Denied(f"The victim ({type(self._victim).__name__}) gives no gradients.")
        out: NDArray[np.float32] = self._victim.gradient(queries, items)
        return out

    def retrain(self, change: Change) -> Access:
        """The victim as it would be after a change, behind a window of its own; one query, and every look through
        that window counts here too."""
        self._grant(Threat.RETRAIN, "retrain", 1)
        if self._retrain is None:
            raise Denied("This victim cannot be retrained for the attack.")
        return Access(
            self._threat,
            self._data,
            victim=self._retrain(change),
            retrain=self._retrain,
            queries=self._allowed,
            looks=self.looks,
        )
