"""Defences have three doors: before training (clean), during it (plugins, trains), after it (wrap). Defaults do nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Ids, Interactions, Queries
from oakum.parameters import Parameters, Spec


@dataclass(frozen=True, eq=False)
class Marks:
    """One score a unit, higher is more suspicious. unit: "users", "rows", "items" or "edges" (of a relation); flagged: codes (or row ids) acted on."""

    unit: str
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    flagged: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Defence(Parameters):
    """Something that mends. Every door is pure: data and models given are left as they were."""

    def clean(self, data: Dataset) -> tuple[Dataset, Marks]:
        """Before training: the data with what looks injected taken out, and the marks that decided."""
        return data, Marks("users")

    def plugins(self) -> Sequence[Spec]:
        """During training: plug-ins that make the model harder to move."""
        return ()

    def trains(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """During training: values that replace the plan's (another step, a rule that combines uploads)."""
        return {}

    def wrap(self, fitted: Any, data: Dataset) -> Any:
        """After training: something that scores in the model's place (a `Guard`, which is saved with the model).

        data: a `Dataset`, or the `Split` that the model was fitted on, for doors that learn from what it did not see.
        """
        return fitted.scorer

    def restore(self, fitted: Any, state: Mapping[str, NDArray[Any]]) -> Any:
        """The third door again, from what `Guard.state` said: bit-equal scores."""
        raise TypeError(f"{type(self).__name__} does not say how its third door is restored.")


class Guard:
    """An inner scorer behind a third door: what a door does not change is the inner's.

    Vectors are not passed on: an index over them would go past the door.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """The inner scores."""
        out: NDArray[np.float32] = self.inner.score(queries, items)
        return out

    def predict(self, log: Interactions) -> NDArray[np.float64]:
        """The inner probabilities of rows, for models that predict them."""
        out: NDArray[np.float64] = self.inner.predict(log)
        return out

    def predictions(self, log: Interactions) -> Any:
        """The inner probabilities beside the labels."""
        return self.inner.predictions(log)

    def state(self) -> dict[str, NDArray[Any]]:
        """Named arrays: all that the door adds to the model."""
        raise TypeError(f"{type(self).__name__} does not say what it keeps.")


class Training(Defence):
    """A plug-in as a defence: it acts during training and is gone afterwards."""

    slug = "training"
    plugin: Spec

    def plugins(self) -> Sequence[Spec]:
        """The plug-in."""
        return (self.plugin,)


def without_users(data: Dataset, users: NDArray[np.int64]) -> Dataset:
    """The data without the events of these users; their codes stay, without events."""
    log = data.interactions
    return data.with_interactions(log.take(~np.isin(log.users, users)))
