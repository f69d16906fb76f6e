"""Two models at once: who is answered by which, and when it is known which is better."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike

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
    window: Annotated[float, Range(above=0), "days after a first answer in which events count"] = 7.0
    measure: Annotated[
        Literal["acted", "events", "weight"], "outcome of a person: did anything (0 or 1), events, or sum of weights"
    ] = "acted"
    event: Annotated[str, "type of the events that count; empty for every type"] = ""

    def takes_part(self, user: object) -> bool:
        """Whether the candidate answers this person."""
        digest = hashlib.blake2b(f"{self.name}\x1f{user}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self.share * 2**64

    def effect(self, outcomes: Mapping[str, float]) -> Estimate:
        """What the candidate changes in the mean outcome of a person, with an interval that holds at every look.

        outcomes: one number a person who was answered (clicks, orders, 0 or 1), in the order in which they came. Stop once
        the interval leaves out zero; looking often costs nothing.
        """
        return self.effect_between(list(outcomes.values()), [self.takes_part(u) for u in outcomes])

    def effect_between(self, outcomes: ArrayLike, candidate: ArrayLike) -> Estimate:
        """The same from outcomes [n] and arms, bool [n], in the order in which people came."""
        values = np.asarray(outcomes, np.float64)
        if not len(values):
            raise DataError(f"The experiment '{self.name}' has no outcome yet.")
        return effect(values, np.asarray(candidate, bool), self.share, level=self.level, tightest=self.tightest)
