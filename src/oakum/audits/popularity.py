"""Popularity bias: do lists show what people like, or what everybody has seen?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np

from oakum.audits.accuracy import clean_trials, instead, per_user, with_past
from oakum.audits.base import Audit, Subject, goodness, percent, verdict_of, within
from oakum.audits.record import Finding, Plot
from oakum.audits.trials import Result, Trial
from oakum.metrics.statistics import estimate
from oakum.parameters import Range


class PopularityAudit(Audit):
    """How concentrated the exposure is, how much more popular lists are than histories, and who pays for it."""

    slug = "popularity-bias"
    title = "Beyond the best-sellers"
    k: Annotated[int, Range(1, 50), "places counted"] = 10

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The clean fits of the first seed."""
        return {n: t for n, t in clean_trials(subject).items() if n.endswith(f"seed {subject.seeds[0]}")}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Popularity lift, coverage, Gini of exposure; accuracy by activity of the user."""
        counts = subject.data.item_counts.astype(np.float64)
        share = counts / max(1.0, subject.data.num_users)
        histories = subject.truth.histories
        active = histories.lengths > 0
        owners = histories.owners()
        own = np.bincount(owners, share[histories.items], minlength=len(histories)) / histories.lengths.clip(min=1)
        rank_of = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        head = rank_of < max(1, round(0.01 * np.count_nonzero(counts)))
        out = []
        rows = {}
        for system in subject.systems:
            lists = subject.test_lists(results[f"{system.slug} seed {subject.seeds[0]}"]).items[:, : self.k]
            shown = lists >= 0
            mean = np.where(shown, share[np.maximum(lists, 0)], 0).sum(1) / np.maximum(shown.sum(1), 1)
            lift = estimate(np.where(active, mean / np.maximum(own, 1e-12), np.nan), seed=subject.seed)
            exposure = np.bincount(lists[shown], minlength=len(counts)).astype(float)
            order = np.sort(exposure[counts > 0])
            n = len(order)
            gini = float((2 * np.arange(1, n + 1) - n - 1) @ order / max(1.0, n * order.sum()))
            coverage = float(np.count_nonzero(exposure) / max(1, int(np.count_nonzero(counts))))
            head_share = float(exposure[head].sum() / max(1.0, exposure.sum()))
            rows[system.slug] = (system, lift, gini, coverage, head_share)
        for slug, (system, lift, _, coverage, head_share) in rows.items():
            if system.baseline:
                continue
            accuracy = per_user(subject, results[f"{slug} seed {subject.seeds[0]}"], "ndcg@10")
            length = subject.truth.histories.lengths[with_past(subject)]
            cuts = np.quantile(length, [0.25, 0.5, 0.75])
            group = np.searchsorted(cuts, length, side="right")
            names = ["least active quarter", "second", "third", "most active quarter"]
            by_group = [
                {
                    "group": names[g],
                    "users": int((group == g).sum()),
                    "ndcg@10": within(estimate(accuracy[group == g], seed=1)),
                }
                for g in range(4)
                if (group == g).sum() >= 5
            ]
            loss = 1 - goodness(lift.value, 4.0, 1.5)
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=slug,
                    verdict=verdict_of(loss, notice=0.3, weak=0.8),
                    loss=loss,
                    sentence=(
                        f"What {system.title} shows is {lift.value:.2f} times as popular as what people had before "
                        f"[{lift.low:.2f}, {lift.high:.2f}]; the most popular 1 % of items fills {percent(head_share)} of the "
                        f"places, and {percent(coverage)} of the catalogue is shown to anyone."
                    ),
                    measure=f"popularity lift: mean popularity of the top {self.k} over mean popularity of the own history, a user",
                    clean=lift,
                    evidence=[
                        *(
                            {
                                "system": s,
                                "lift": within(v[1], 2),
                                "gini": round(v[2], 3),
                                "coverage": percent(v[3]),
                                "top 1 %": percent(v[4]),
                            }
                            for s, v in rows.items()
                        ),
                        *by_group,
                    ],
                    plots=[
                        Plot(
                            kind="bars",
                            title="Popularity lift by system",
                            alt="; ".join(f"{s}: {v[1].value:.2f}" for s, v in rows.items()),
                            y_label="lift (1 = as popular as the history)",
                            series=[
                                {
                                    "name": "lift",
                                    "x": list(rows),
                                    "y": [v[1].value for v in rows.values()],
                                    "low": [v[1].low for v in rows.values()],
                                    "high": [v[1].high for v in rows.values()],
                                }
                            ],
                        )
                    ],
                    cures=instead(
                        subject, system, results, {s: v[1] for s, v in rows.items()}, "lifts popularity by", lower=True
                    ),
                    threat="nobody: the log's own habit",
                    advice="Compare with the kNN and EASE rows: a system with the same accuracy and less lift serves more of the catalogue.",
                    power=f"{int(active.sum())} test users with a past.",
                )
            )
        return out
