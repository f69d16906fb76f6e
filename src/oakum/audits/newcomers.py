"""Newcomers and cold items: what happens to people and things the training never saw."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oakum.audits.accuracy import clean_trials, instead
from oakum.audits.base import Audit, Subject, goodness, percent, verdict_of, within
from oakum.audits.record import Finding
from oakum.audits.trials import Result, Trial
from oakum.data import Ranking
from oakum.metrics import measure
from oakum.metrics.statistics import compare, estimate


class NewcomersAudit(Audit):
    """The same people asked twice: by name, and as a stranger with the same history."""

    slug = "newcomers-and-cold-items"
    title = "Strangers and new things"

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The clean fits of the first seed."""
        return {n: t for n, t in clean_trials(subject).items() if n.endswith(f"seed {subject.seeds[0]}")}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """NDCG of known users against the same users folded in; what the cold share of the test part is."""
        place = {int(u): i for i, u in enumerate(subject.truth.users)}
        rows = np.array([place[int(u)] for u in subject.newcomers], np.int64)
        if not len(rows):
            return []
        truth = subject.truth.take(rows)
        test_places = subject.test_rows[rows]
        cold_item = subject.data.item_counts == 0
        cold_events = float(cold_item[subject.split.test.items].mean()) if len(subject.split.test) else 0.0
        no_past = int((subject.truth.histories.lengths == 0).sum())
        out = []
        asked = {}
        for system in subject.systems:
            found = results[f"{system.slug} seed {subject.seeds[0]}"]
            fresh = Ranking(found.newcomer_lists, np.full(found.newcomer_lists.shape, np.nan, np.float32))
            asked[system.slug] = measure(fresh, truth, ["ndcg@10"])["ndcg@10"]
        strangers = {s: estimate(v, seed=subject.seed) for s, v in asked.items()}
        for system in subject.systems:
            if system.baseline:
                continue
            found = results[f"{system.slug} seed {subject.seeds[0]}"]
            known = Ranking(found.lists[test_places], found.scores[test_places])
            a = measure(known, truth, ["ndcg@10"])["ndcg@10"]
            b = asked[system.slug]
            kept = float(np.nanmean(b)) / max(float(np.nanmean(a)), 1e-9)
            silent = float((found.newcomer_lists[:, 0] < 0).mean())
            loss = 1 - goodness(min(kept, 1.0), 0.5, 0.98)
            gap = compare(b, a, seed=subject.seed)
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=system.slug,
                    verdict=verdict_of(loss),
                    loss=loss,
                    sentence=(
                        f"A stranger who hands in a history gets {percent(kept)} of the accuracy that {system.title} gives "
                        f"people it was trained on; {percent(cold_events)} of the test events are of items it never saw and "
                        f"cannot be recommended, and {no_past} test users have no past and get popular items."
                    ),
                    measure="NDCG@10 of test users asked by history alone, against the same users asked by name",
                    clean=estimate(a, seed=subject.seed),
                    attacked=strangers[system.slug],
                    evidence=[
                        {"asked": "by name", "ndcg@10": within(estimate(a, seed=subject.seed))},
                        {
                            "asked": "as a stranger with the same history",
                            "ndcg@10": within(estimate(b, seed=subject.seed)),
                        },
                        {"asked": "paired difference", "ndcg@10": within(gap.difference, 4)},
                        {"asked": "strangers left without an answer", "ndcg@10": percent(silent)},
                    ],
                    cures=instead(subject, system, results, strangers, "gives strangers", lower=False),
                    threat="nobody: people whom the training never saw",
                    advice=" ".join(_advice(system.slug, kept, cold_events)),
                    power=f"{len(rows)} test users asked twice.",
                )
            )
        return out


def _advice(slug: str, kept: float, cold: float) -> list[str]:
    out = []
    if kept < 0.95:
        out.append(
            f"Fit '{slug}' again more often, or answer strangers with a model that reads histories (item-knn, ease)."
        )
    if cold > 0.1:
        out.append(
            "Retrain more often, or use a model that reads item content: many test events are of items it never saw."
        )
    return out
