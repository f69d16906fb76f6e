"""Theft: how like the system somebody else's copy answers, by the questions that it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.attacks.base import Budget, Goal, propose
from oakum.audits.base import Audit, Subject, System, goodness, not_measured, percent, verdict_of, within
from oakum.audits.record import Cure, Finding, Plot
from oakum.audits.trials import Bench, Probe, Result, Trial
from oakum.data import Queries
from oakum.errors import DataError
from oakum.metrics.estimate import Estimate
from oakum.metrics.robustness import budget_to_harm
from oakum.metrics.statistics import estimate
from oakum.needs import check
from oakum.parameters import Range

ADVICE = "Give every account a budget of questions, answer with short lists, and look for histories that no person has."


class Copied(Probe):
    """Copies the fit by its lists, once a budget of questions, and asks victim and copy the same."""

    queries: Annotated[tuple[int, ...], "budgets of questions"] = (1000,)
    places: Annotated[int, Range(2, 1000), "places of a list that the service shows"] = 50
    people: Annotated[int, Range(1), "people whose requests compare victim and copy, at most"] = 1000
    epochs: Annotated[int, Range(1), "passes of the copy over the lists"] = 20

    def ask(self, bench: Bench, trial: Trial, fitted: Any) -> Mapping[str, NDArray[Any]]:
        """agr, agr1 [budgets, people]: of the first ten places and of the first; spent [budgets], first [people, 10]: the victim's own lists."""
        from oakum.attacks.extraction.few_shot import FewShot
        from oakum.attacks.imitate import likeness

        data = bench.dataset(trial.data)
        people = bench.users[: self.people]
        asked = Queries(np.full(len(people), -1, np.int32), data.histories.take(people))
        technique = FewShot(k=self.places, epochs=self.epochs, embedding_dim=32)
        alike, first, spent = [], [], []
        for count in self.queries:
            made: Any = propose(
                technique, data, Goal((), "copy"), Budget(queries=count), seed=trial.seed, victim=fitted
            )
            found = likeness(fitted, made.change.fitted, asked)
            alike.append(found["agr@10"])
            first.append(found["agr@1"])
            spent.append(made.cost.queries)
        shown = fitted.rank(asked, 10).items
        return {"agr": np.stack(alike), "agr1": np.stack(first), "spent": np.array(spent, np.int64), "first": shown}


class TheftAudit(Audit):
    """How many questions buy a copy whose first ten places are the system's, and what shorter lists take away from it."""

    slug = "theft"
    title = "Copies by asking"
    queries: Annotated[tuple[int, ...], "budgets of questions"] = (300, 1000, 3000, 10_000)
    places: Annotated[int, Range(2, 1000), "places of a list that the service shows"] = 50
    short: Annotated[int, Range(2, 1000), "places shown by the cure"] = 10
    people: Annotated[int, Range(1), "people whose requests compare victim and copy, at most"] = 1000
    alike: Annotated[float, Range(above=0, below=1), "agreement that counts as a copy, for the price in questions"] = (
        0.5
    )

    def _refuses(self, subject: Subject) -> str:
        if subject.mode != "full":
            return "The quick audit asks no questions on a thief's behalf; the full one does."
        from oakum.catalogue import load_class

        try:
            check(load_class("model-extraction", "attack")(), subject.data)
        except DataError as error:
            return str(error)
        return ""

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """One fit a victim that answers the thief, once with long lists and once with short ones."""
        if self._refuses(subject):
            return {}
        out = {}
        for system in subject.victims:
            for places, budgets in ((self.places, self.queries), (self.short, self.queries[-1:])):
                probe = Copied(queries=budgets, places=places, people=self.people)
                out[f"{system.slug} {places}"] = system.trial(seed=subject.seeds[0], probe=probe, refusable=True)
        return out

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Agr@10 by budget, the price of a copy in questions, and the same behind short lists."""
        reason = self._refuses(subject)
        if reason:
            return [not_measured(self, "every system", reason)]
        return [self._judge(subject, system, results) for system in subject.victims]

    def _judge(self, subject: Subject, system: System, results: Mapping[str, Result]) -> Finding:
        long, short = (results[f"{system.slug} {n}"] for n in (self.places, self.short))
        if long.refused or not np.isfinite(long.found["agr"]).any():
            return not_measured(self, system.slug, long.refused or "It answers no stranger, so a thief gets no lists.")
        found = [estimate(v, seed=subject.seed) for v in long.found["agr"]]
        spent = [int(n) for n in long.found["spent"]]
        top_place = [estimate(v, seed=subject.seed) for v in long.found["agr1"]]
        blind = estimate(best_sellers_alike(long.found["first"], subject), seed=subject.seed)
        price = budget_to_harm(spent, [e.value for e in found], harm=self.alike)
        top = found[-1]
        loss = 1 - goodness(top.value, 0.6, 0.1)
        if top.overlaps(blind):
            loss = min(loss, 0.2)
        money = (
            f"about {round(price.share):,} questions {'or fewer ' if price.bound == 'at most' else ''}buy a copy"
            if np.isfinite(price.share)
            else f"even {spent[-1]:,} questions do not buy a copy"
        )
        cures = []
        if not short.refused:
            after = estimate(short.found["agr"][-1], seed=subject.seed)
            cures.append(
                Cure(
                    slug="short-lists",
                    sentence=(
                        f"with {self.short} places shown in place of {self.places} a copy agrees on {within(after)} after "
                        f"{int(short.found['spent'][-1]):,} questions; the first {self.short} places stay as they are."
                    ),
                    after=after,
                    price=Estimate(0.0, 0.0, 0.0, top.n, f"exact: the first {self.short} places are the same"),
                )
            )
        return Finding(
            slug=self.slug,
            title=self.title,
            subject=system.slug,
            verdict=verdict_of(loss),
            loss=loss,
            sentence=(
                f"{system.title}: {money} that shows {percent(self.alike, 0)} of the same first ten items; after "
                f"{spent[-1]:,} questions it shows {within(top)} of them, where a list of best-sellers shows {within(blind)}."
            ),
            measure=(
                "Agr@10: share of the first ten places' items that victim and copy both show, mean over people asked by "
                "their histories as strangers; all items may be shown"
            ),
            clean=blind,
            attacked=top,
            evidence=[
                {"questions": 0, "agreement@10": within(blind), "agreement@1": "", "copy": "best-sellers"},
                *(
                    {
                        "questions": n,
                        "agreement@10": within(e),
                        "agreement@1": within(one),
                        "copy": f"from lists of {self.places}",
                    }
                    for n, e, one in zip(spent, found, top_place, strict=True)
                ),
                *(
                    {"questions": spent[-1], "agreement@10": within(c.after), "agreement@1": "", "copy": c.slug}
                    for c in cures
                    if c.after
                ),
            ],
            plots=[
                Plot(
                    kind="lines",
                    title=f"What questions buy of {system.title}",
                    alt="; ".join(f"{n:,} questions: {e.value:.2f}" for n, e in zip(spent, found, strict=True)),
                    x_label="questions",
                    y_label="agreement of the first ten",
                    log_x=True,
                    series=[
                        {
                            "name": f"lists of {self.places}",
                            "x": spent,
                            "y": [e.value for e in found],
                            "low": [e.low for e in found],
                            "high": [e.high for e in found],
                        }
                    ],
                )
            ],
            threat="asks for lists and sees their order; has the histories of a tenth of the people; sees no score, no weight",
            budget={"queries": spent[-1]},
            cures=cures,
            advice=ADVICE,
            power=(
                f"{top.n} people asked, one copy a budget, one architecture (a small model of sequences): a thief with a better "
                "one does at least as well."
            ),
            seconds=float(sum(r.record.get("seconds", 0) for r in (long, short))),
        )


def best_sellers_alike(first: NDArray[Any], subject: Subject) -> NDArray[np.float64]:
    """What agrees by itself: the share of each list's items [people] that are among the ten best-sellers; NaN where there
    is no list."""
    top = np.argsort(-subject.data.item_counts, kind="stable")[: first.shape[1]]
    shown = (first >= 0).sum(1)
    alike = np.isin(first, top).sum(1) / np.maximum(shown, 1)
    return np.where(shown > 0, alike, np.nan)
