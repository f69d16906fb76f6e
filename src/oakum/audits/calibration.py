"""Calibration: can a score be read as a chance?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np

from oakum.audits.accuracy import clean_trials
from oakum.audits.base import Audit, Subject, goodness, percent, verdict_of, within
from oakum.audits.record import Cure, Finding, Plot
from oakum.audits.trials import Result, Trial
from oakum.data import Ranking
from oakum.defences.wrap.topn import TopN
from oakum.metrics import measure
from oakum.metrics.calibration import Predictions, expected_calibration_error, rank_discounted_ece
from oakum.metrics.calibrators import Calibrator
from oakum.metrics.estimate import Estimate
from oakum.metrics.robustness import retention
from oakum.metrics.statistics import estimate
from oakum.parameters import Range
from oakum.seeds import generator

ONE, MANY = "after one logistic curve", "after a curve for each group of places"


class CalibrationAudit(Audit):
    """Scores of the shown places against what happened: as they are, after one logistic curve for everybody, and after
    one for each group of places."""

    slug = "score-calibration"
    title = "Scores one can believe"
    k: Annotated[int, Range(1, 50), "places whose scores are judged"] = 20
    bins: Annotated[int, Range(2, 100), "bins of equal size"] = 10

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The clean fits of the first seed."""
        return {n: t for n, t in clean_trials(subject).items() if n.endswith(f"seed {subject.seeds[0]}")}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Calibration error on held-out users after a logistic curve fitted on the others (Platt scaling), and with the cure."""
        relevant = subject.truth.relevant.matrix(subject.data.num_items)
        half = generator(subject.seed, "calibration halves").random(len(subject.truth)) < 0.5
        out = []
        for system in subject.systems:
            if system.baseline:
                continue
            ranking = subject.test_lists(results[f"{system.slug} seed {subject.seeds[0]}"]).top(self.k)
            rows, places = np.nonzero(ranking.items >= 0)
            scores = ranking.scores[rows, places].astype(np.float64)
            labels = np.asarray(relevant[rows, ranking.items[rows, places]]).ravel()
            train, test = half[rows], ~half[rows]
            if labels[train].sum() < 20 or labels[test].sum() < 20:
                continue
            chance = Calibrator.fit(scores[train], labels[train], kind="platt")(scores)
            by_rank = TopN(n=self.k).groups(scores[train], labels[train], places[train] + 1)
            grouped = by_rank.chances(scores, places + 1)
            ways = {"as they are, clipped to [0, 1]": np.clip(scores, 0, 1), ONE: chance, MANY: grouped}
            errors = {
                name: self._errors(Predictions(p[test], labels[test], None, rows[test], places[test] + 1), subject.seed)
                for name, p in ways.items()
            }
            (one, _), (mended, first) = errors[ONE], errors[MANY]
            shown = np.full(ranking.items.shape, np.nan, np.float32)
            shown[rows, places] = grouped
            lists = (ranking, Ranking(ranking.items, shown))
            kept = retention(*(measure(r, subject.truth, ["ndcg@10"])["ndcg@10"] for r in lists), seed=subject.seed)
            price = Estimate(kept.value - 1, kept.low - 1, kept.high - 1, kept.n, kept.how)
            edges = np.quantile(chance[test], np.linspace(0, 1, self.bins + 1)[1:-1])
            which = np.searchsorted(edges, chance[test], side="right")
            said = [float(chance[test][which == i].mean()) for i in range(self.bins) if (which == i).any()]
            seen = [float(labels[test][which == i].mean()) for i in range(self.bins) if (which == i).any()]
            relative = one.value / max(float(labels[test].mean()), 1e-9)
            loss = 1 - goodness(relative, 1.0, 0.1)
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=system.slug,
                    verdict=verdict_of(loss, notice=0.3, weak=0.7),
                    loss=loss,
                    sentence=(
                        f"After one logistic curve fitted on half of the people, the scores of {system.title} miss the true hit "
                        f"rate of the other half by {one.value:.4f} on average, where the mean rate is {labels[test].mean():.4f}."
                    ),
                    measure=f"expected calibration error over {self.bins} equal-sized bins of the top {self.k}, users of the other half",
                    clean=one,
                    evidence=[
                        {"scores": name, "error": within(e, 4), "error, first places counting more": within(d, 4)}
                        for name, (e, d) in errors.items()
                    ],
                    cures=[
                        Cure(
                            slug="topn-calibration",
                            sentence=(
                                f"with a curve for each of {len(by_rank.ends)} groups of places the chances shown miss by "
                                f"{within(mended, 4)} where one curve misses by {within(one, 4)} (first places counting more: "
                                f"{first.value:.4f}); it takes {int(train.sum())} labelled places and moves no item, so NDCG@10 "
                                f"changes by {percent(price.value)}."
                            ),
                            after=mended,
                            price=price,
                        )
                    ],
                    plots=[
                        Plot(
                            kind="lines",
                            title="What the score says and what happens",
                            alt=f"Predicted chances from {min(said):.3f} to {max(said):.3f}, observed {min(seen):.3f} to {max(seen):.3f}",
                            x_label="predicted chance",
                            y_label="observed share",
                            series=[
                                {"name": system.slug, "x": said, "y": seen},
                                {"name": "perfect", "x": said, "y": said},
                            ],
                        )
                    ],
                    advice="Never show a raw score to people; fit the curves on fresh feedback and check it again after each release.",
                    power=f"{int(labels[test].sum())} hits among {int(test.sum())} places.",
                )
            )
        return out

    def _errors(self, said: Predictions, seed: int) -> tuple[Estimate, Estimate]:
        """The error over the places, and the one in which first places count more; bootstrapped over users, since the
        places of one list hang together."""
        plain = expected_calibration_error(said, bins=self.bins, binning="equal-mass")
        early = rank_discounted_ece(said, self.k, bins=self.bins, binning="equal-mass")
        found = [estimate(v, seed=seed, clusters=said.users) for v in (plain, early)]
        one, two = (Estimate(e.value, max(0.0, e.low), e.high, e.n, e.how) for e in found)
        return one, two
