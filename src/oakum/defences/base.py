"""Defences have three doors: before training (clean), during it (plugins, trains), after it (wrap). Defaults do nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset
from oakum.parameters import Parameters, Spec


@dataclass(frozen=True, eq=False)
class Marks:
    """One score a unit, higher is more suspicious. unit: "users", "rows" or "items"; flagged: codes (or row ids) acted on."""

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
        """After training: something that scores in the model's place."""
        return fitted.scorer


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
