"""Where an experiment stands: outcomes of people whose days are over, and what they say so far."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from oakum.metrics.estimate import Estimate
from oakum.parameters import fields
from oakum.release.experiment import Experiment
from oakum.state.base import State
from oakum.state.experiments import Running, answered, outcomes

DAY = 86_400_000_000
UNLIKELY = 0.001  # a split of the arms this improbable is a fault of the set-up, not chance


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side: people answered, people whose days are over, and their mean outcome (None before there are any)."""

    name: str
    answered: int
    counted: int
    mean: float | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An experiment at one look. effect: candidate minus current in the mean outcome, None before anybody counts;
    split_p: how probable so uneven a split of the people is."""

    name: str
    settings: dict[str, Any]
    made: str
    ended: str | None
    why: str | None
    current: Arm
    candidate: Arm
    effect: Estimate | None
    split_p: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        out = asdict(self)
        if self.effect is not None:
            out["effect"] = {k: None if v != v else v for k, v in self.effect.to_json().items()}
        return out


def experiment_of(running: Running) -> Experiment:
    """The experiment as it was set up."""
    known = {f.name for f in fields(Experiment)}
    return Experiment(**{k: v for k, v in running.settings.items() if k in known})


def standing(state: State, running: Running, *, now: float | None = None) -> Standing:
    """Look at an experiment. A person counts once `window` days have passed since the first answer, so every outcome is
    final when it enters, and the interval holds at every look. now: seconds since 1970.

    Reads the events stored since the experiment began, once.
    """
    from scipy.stats import binomtest

    experiment = experiment_of(running)
    people = answered(state, running.name)
    length = round(experiment.window * DAY)
    at = int((time.time() if now is None else now) * 1e6)
    over = [a for a in people if a.first + length <= at]
    found = outcomes(state, over, running.since, length, kind=experiment.event or None, measure=experiment.measure)
    values = np.array([found[a.person] for a in over])
    arms = np.array([a.candidate for a in over], bool)
    sides = []
    for name, mine in (("current", False), ("candidate", True)):
        chosen = values[arms == mine]
        mean = float(chosen.mean()) if len(chosen) else None
        sides.append(Arm(name=name, answered=sum(a.candidate is mine for a in people), counted=len(chosen), mean=mean))
    effect = experiment.effect_between(values, arms) if len(over) else None
    split_p = float(binomtest(sides[1].answered, len(people), experiment.share).pvalue) if people else 1.0
    return Standing(
        name=running.name, settings=dict(running.settings), made=running.made, ended=running.ended, why=running.why,
        current=sides[0], candidate=sides[1], effect=effect, split_p=split_p,
        sentence=_sentence(experiment, effect, split_p, len(people)),
    )  # fmt: skip


def _sentence(experiment: Experiment, effect: Estimate | None, split_p: float, people: int) -> str:
    if split_p < UNLIKELY:
        return (
            f"The arms are not split as they should be ({experiment.share:.0%} for the candidate; p = {split_p:.1g}): look "
            "for what keeps people from being answered before you read the figures."
        )
    if effect is None:
        return f"{people:,} people were answered; for none of them the {experiment.window:g} days are over."
    if not (math.isfinite(effect.low) and math.isfinite(effect.high)):
        return "Too few people count so far to say anything."
    said = f"{effect.value:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}] a person over {effect.n:,} people"
    if effect.low > 0:
        return f"The candidate is better: {said}. It may be released."
    if effect.high < 0:
        return f"The candidate is worse: {said}. Stop the experiment."
    return f"Not known yet which is better: {said}."
