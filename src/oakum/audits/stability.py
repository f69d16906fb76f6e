"""Stability of lists: between retrainings, and when one event is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from oakum.attacks.base import Budget, Goal, propose
from oakum.attacks.profiles.casper import CASPER
from oakum.audits.accuracy import clean_trials, instead, price_of
from oakum.audits.base import Audit, Subject, System, goodness, percent, verdict_of, within
from oakum.audits.record import Cure, Finding, Plot
from oakum.audits.trials import Result, Trial
from oakum.metrics.estimate import Estimate
from oakum.metrics.stability import churn, frbo, jaccard
from oakum.metrics.statistics import estimate, estimates
from oakum.parameters import Range


class ChurnAudit(Audit):
    """How much do people's lists change when nothing changed but the seed of a retraining?"""

    slug = "churn"
    title = "Lists that stay put"
    k: Annotated[int, Range(1, 50), "places compared"] = 10

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """Two seeds of each learned system; one of the computed ones, which stay put and may be a cure."""
        return clean_trials(subject) if subject.learned else {}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Share of places that changed, overlap weighted by rank, and users whose first item changed."""
        out = []
        lists = {
            s.slug: [subject.test_lists(r) for n, r in results.items() if n.startswith(f"{s.slug} seed ")]
            for s in subject.systems
        }
        moved = {s: estimate(churn(v[0], v[1], self.k), seed=subject.seed) for s, v in lists.items() if len(v) > 1}
        still = {
            s.slug: Estimate(0.0, 0.0, 0.0, len(subject.truth), "exact: it has no seed")
            for s in subject.systems
            if not s.learned
        }
        for system in subject.learned:
            mine = lists[system.slug]
            if len(mine) < 2:
                continue
            a, b = mine[:2]
            changed = moved[system.slug]
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
                    cures=instead(subject, system, results, {**moved, **still}, "changes", lower=True),
                    threat="nobody: an accident of every retraining",
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
        """The clean fits, and under the same seed those without a random event and without the one that most others come
        after; in full mode, learned systems once more without the latter in unchanged batches."""
        out = dict(clean_trials(subject))
        for name, pick in REMOVED.items():
            change = propose(
                CASPER(pick=pick, max_length=0), subject.data, Goal((), "degrade"), Budget(edits=1), seed=subject.seed
            ).change  # fmt: skip
            subject.changes[f"{name} removed"] = ("clean", change)
            for system in subject.victims:
                out[f"{system.slug} {name} removed"] = system.trial(data=f"{name} removed", seed=subject.seeds[0])
                if system.learned and pick == "cascade" and subject.mode == "full":
                    out[f"{system.slug} {KEPT}"] = system.trial(seed=subject.seeds[0], plugins=(_left_out(change),))
                    held = _finest(system)
                    for what, data in ((HELD, "clean"), (f"{HELD} {name} removed", f"{name} removed")):
                        out[f"{system.slug} {what}"] = system.trial(
                            data=data, seed=subject.seeds[0], plugins=held, refusable=True
                        )
        return out

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Rank-biased overlap with the lists of the untouched log, beside the overlap of two seeds."""
        out = []
        for system in subject.victims:
            clean = subject.test_lists(results[f"{system.slug} seed {subject.seeds[0]}"])

            def agree(name: str, clean: Any = clean) -> Any:
                return frbo(clean, subject.test_lists(results[name]), self.k)

            values = {f"{n} removed": agree(f"{system.slug} {n} removed") for n in REMOVED}
            if f"{system.slug} {KEPT}" in results:
                values[KEPT] = agree(f"{system.slug} {KEPT}")
            moved = estimates(values, seed=subject.seed)
            floor = None
            if system.learned and len(subject.seeds) > 1:
                floor = estimate(agree(f"{system.slug} seed {subject.seeds[1]}"), seed=subject.seed)
            names = list(moved)
            worst = min(names[:2], key=lambda n: moved[n].value)
            loss = 1 - goodness(moved[worst].value, 0.5, 0.99)
            beside = f"; two seeds on the same log agree to {within(floor)}" if floor else " (it has no seed)"
            cures, why_not = self._held(subject, system, results)
            shown = {
                **{f"{n}, same seed": e for n, e in moved.items()},
                **({"same log, other seed": floor} if floor else {}),
            }
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=system.slug,
                    verdict=verdict_of(loss),
                    loss=loss,
                    sentence=(
                        f"With one event out of {len(subject.data):,} removed and the same seed, the lists of {system.title} "
                        f"agree with the old ones to {within(moved[names[0]])} for a random event and to "
                        f"{within(moved[names[1]])} for the one that most others come after{beside}."
                    ),
                    measure=f"rank-biased overlap of the top {self.k} (p = 0.9), 1 = the same lists, mean over test users",
                    clean=Estimate(1.0, 1.0, 1.0, len(clean), "exact: a list agrees with itself"),
                    attacked=moved[worst],
                    evidence=[
                        *({"comparison": n, "overlap": within(e)} for n, e in shown.items()),
                        {
                            "comparison": f"lists that changed at all: {worst}",
                            "overlap": percent(float(np.mean(values[worst] < 1))),
                        },
                    ],
                    plots=[
                        Plot(
                            kind="bars",
                            title="Agreement of lists",
                            alt="; ".join(f"{n}: {e.value:.3f}" for n, e in shown.items()),
                            y_label="rank-biased overlap",
                            series=[
                                {
                                    "name": "overlap",
                                    "x": list(shown),
                                    "y": [e.value for e in shown.values()],
                                    "low": [e.low for e in shown.values()],
                                    "high": [e.high for e in shown.values()],
                                }
                            ],
                        )
                    ],
                    threat="reads the training log; removes one event of it",
                    budget={"edits": 1},
                    cures=cures,
                    reason=why_not,
                    advice=(
                        "A model that a seed moves more than an event needs a steadier training before a finer audit. Where seed "
                        "and initial weights stay the same, 'finest' holds a trained model to its lists."
                    ),
                    power=(
                        "Two events, one fit each. What a fixed seed shows is how sensitive the course of training is, much of it "
                        "because a deletion changes who shares a batch; the full audit also keeps the batches."
                    ),
                )
            )
        return out

    def _held(self, subject: Subject, system: System, results: Mapping[str, Result]) -> tuple[list[Cure], str]:
        """The cure, where this run tried it, and why it does not go with the system, where it does not."""
        name = f"{system.slug} {HELD}"
        if name not in results:
            return [], ""
        whole, less = results[name], results[f"{name} {list(REMOVED)[1]} removed"]
        if whole.refused or less.refused:
            return [], f"'finest' does not go with {system.slug}: {whole.refused or less.refused}"
        after = estimate(frbo(subject.test_lists(whole), subject.test_lists(less), self.k), seed=subject.seed)
        price = price_of(subject, [results[f"{system.slug} seed {subject.seeds[0]}"]], [whole])
        words = f"lists fine-tuned to stay agree to {within(after)}, and NDCG@10 changes by {percent(price.value)}."
        return [Cure(slug="finest", sentence=words, after=after, price=price)], ""


#: What is removed, by its name in the report, and how it is chosen.
REMOVED: Mapping[str, Literal["random", "cascade"]] = {
    "a random event": "random",
    "the farthest-reaching event": "cascade",
}
KEPT = "the farthest-reaching event removed, batches as they were"
HELD = "held by finest"


def _finest(system: System) -> tuple[Any, ...]:
    from oakum.plugins.finest import FINEST

    return (FINEST(epochs=max(1, int(system.plan.get("epochs", 20)) // 2)),)


def _left_out(change: Any) -> Any:
    from oakum.plugins.left_out import LeftOut

    return LeftOut(rows=tuple(int(r) for r in change.remove))
