"""Stability of lists: between retrainings, and when one event is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from oakum.audits.accuracy import clean_trials
from oakum.audits.base import Audit, Subject, goodness, percent, verdict_of, within
from oakum.audits.record import Finding, Plot
from oakum.audits.trials import Result, Trial
from oakum.metrics.stability import churn, frbo, jaccard
from oakum.metrics.statistics import estimate
from oakum.parameters import Range


class ChurnAudit(Audit):
    """How much do people's lists change when nothing changed but the seed of a retraining?"""

    slug = "churn"
    title = "Lists that stay put"
    k: Annotated[int, Range(1, 50), "places compared"] = 10

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """Two seeds of each learned system."""
        return {n: t for n, t in clean_trials(subject).items() if any(n.startswith(s.slug) for s in subject.learned)}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Share of places that changed, overlap weighted by rank, and users whose first item changed."""
        out = []
        for system in subject.learned:
            mine = [r for n, r in results.items() if n.startswith(f"{system.slug} seed ")]
            if len(mine) < 2:
                continue
            a, b = subject.test_lists(mine[0]), subject.test_lists(mine[1])
            changed = estimate(churn(a, b, self.k), seed=subject.seed)
            overlap = estimate(frbo(a, b, self.k), seed=subject.seed)
            first = float(np.mean(a.items[:, 0] != b.items[:, 0]))
            loss = 1 - goodness(changed.value, 0.8, 0.1)
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=system.slug,
                    verdict=verdict_of(loss, notice=0.35, weak=0.75),
                    loss=loss,
                    sentence=(
                        f"Retraining {system.title} on the same data with another seed changes {percent(changed.value)} of the "
                        f"top {self.k} [{percent(changed.low)}, {percent(changed.high)}] and the first item of "
                        f"{percent(first)} of people."
                    ),
                    measure=f"churn@{self.k}: share of the top {self.k} not in the list of the other seed, mean over test users",
                    clean=changed,
                    evidence=[
                        {"measure": f"churn@{self.k}", "value": within(changed)},
                        {"measure": f"rank-biased overlap (p = 0.9, top {self.k})", "value": within(overlap)},
                        {"measure": "first item changed", "value": percent(first)},
                        {
                            "measure": f"jaccard@{self.k}",
                            "value": within(estimate(jaccard(a, b, self.k), seed=subject.seed)),
                        },
                    ],
                    advice="Average several seeds, or train longer with a smaller step, before you compare two releases.",
                    power=f"{len(a)} users, {len(mine)} seeds compared; one pair of seeds shows the size, not its spread.",
                )
            )
        return out


class StabilityAudit(Audit):
    """Does one event of one person move other people's lists, beyond what a seed moves?"""

    slug = "one-event-stability"
    title = "One event, many lists"
    k: Annotated[int, Range(1, 50), "places compared"] = 10

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The clean fits, and one with a single random event removed under the same seed."""
        out = dict(clean_trials(subject))
        key = "one event removed"
        subject.changes[key] = ("clean", RemoveOne.of(subject))
        for system in subject.victims:
            out[f"{system.slug} removed"] = system.trial(data=key, seed=subject.seeds[0])
        return out

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Rank-biased overlap with the lists of the untouched log, beside the overlap of two seeds."""
        out = []
        for system in subject.victims:
            clean = subject.test_lists(results[f"{system.slug} seed {subject.seeds[0]}"])
            touched = subject.test_lists(results[f"{system.slug} removed"])
            moved = estimate(frbo(clean, touched, self.k), seed=subject.seed)
            floor = None
            if system.learned and len(subject.seeds) > 1:
                other = subject.test_lists(results[f"{system.slug} seed {subject.seeds[1]}"])
                floor = estimate(frbo(clean, other, self.k), seed=subject.seed)
            loss = 1 - goodness(moved.value, 0.5, 0.99)
            beside = f"; two seeds on the same log agree to {within(floor)}" if floor else " (it has no seed)"
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=system.slug,
                    verdict=verdict_of(loss),
                    loss=loss,
                    sentence=(
                        f"With one random event out of {len(subject.data):,} removed and the same seed, the lists of "
                        f"{system.title} agree with the old ones to {within(moved)}{beside}."
                    ),
                    measure=f"rank-biased overlap of the top {self.k} (p = 0.9), 1 = the same lists, mean over test users",
                    clean=floor,
                    attacked=moved,
                    evidence=[
                        {"comparison": "one event removed, same seed", "overlap": within(moved)},
                        *([{"comparison": "same log, other seed", "overlap": within(floor)}] if floor else []),
                        {
                            "comparison": "lists that changed at all",
                            "overlap": percent(
                                float(np.mean((clean.items[:, : self.k] != touched.items[:, : self.k]).any(1)))
                            ),
                        },
                    ],
                    plots=[
                        Plot(
                            kind="bars",
                            title="Agreement of lists",
                            alt=f"One event removed: {moved.value:.3f}"
                            + (f"; other seed: {floor.value:.3f}" if floor else ""),
                            y_label="rank-biased overlap",
                            series=[
                                {
                                    "name": "overlap",
                                    "x": ["one event removed", *(["other seed"] if floor else [])],
                                    "y": [moved.value, *([floor.value] if floor else [])],
                                    "low": [moved.low, *([floor.low] if floor else [])],
                                    "high": [moved.high, *([floor.high] if floor else [])],
                                }
                            ],
                        )
                    ],
                    advice="A model that a seed moves more than an event needs a steadier training before a finer audit.",
                    power="One random event: an adversary would search for the worst one, so this is a lower bound of the harm.",
                )
            )
        return out


class RemoveOne:
    """The change "one event was never logged"; pure, applied in the worker."""

    def __init__(self, position: int) -> None:
        self.position = position

    @classmethod
    def of(cls, subject: Subject) -> RemoveOne:
        """A random event, by name of the seed."""
        from oakum.seeds import generator

        return cls(int(generator(subject.seed, "one event").integers(len(subject.data))))

    def apply(self, data: Any) -> Any:
        """The data without it."""
        keep = np.ones(len(data), bool)
        keep[self.position] = False
        return data.with_interactions(data.interactions.take(keep))

    def digest(self) -> str:
        """Its identity."""
        return f"without event {self.position}"
