"""Two models at once: who is answered by which, and when it is known which is better."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

import numpy as np

from oakum.errors import DataError
from oakum.metrics.estimate import Estimate
from oakum.metrics.sequential import effect
from oakum.parameters import Parameters, Range


class Experiment(Parameters):
    """A share of the people is answered by the candidate; who, is decided by their id and the name of the experiment.

    So a person stays in one arm on every machine and after every restart, arms of experiments with other names are
    independent, and a larger share only moves people towards the candidate.
    """

    slug = "experiment"
    name: Annotated[str, "what the experiment is called; another name draws people anew"] = "experiment"
    share: Annotated[float, Range(above=0, below=1), "share of the people whom the candidate answers"] = 0.1
    level: Annotated[float, Range(above=0.5, below=1), "level of the interval, over all looks together"] = 0.95
    tightest: Annotated[int, Range(1), "number of people at which the interval is narrowest"] = 10_000

    def takes_part(self, user: object) -> bool:
        """Whether the candidate answers this person."""
        digest = hashlib.blake2b(f"{self.name}\x1f{user}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self.share * 2**64

    def effect(self, outcomes: Mapping[str, float]) -> Estimate:
        """What the candidate changes in the mean outcome of a person, with an interval that holds at every look.

        outcomes: one number a person who was answered (clicks, orders, 0 or 1), in the order in which they came. Stop once
        the interval leaves out zero; looking often costs nothing.
        """
        if not outcomes:
            raise DataError(f"The experiment '{self.name}' has no outcome yet.")
        arms = np.array([self.takes_part(u) for u in outcomes])
        return effect(np.array(list(outcomes.values())), arms, self.share, level=self.level, tightest=self.tightest)
