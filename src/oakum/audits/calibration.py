"""Calibration: can a score be read as a chance?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from oakum.audits.accuracy import clean_trials
from oakum.audits.base import Audit, Subject, goodness, verdict_of, within
from oakum.audits.record import Finding, Plot
from oakum.audits.trials import Result, Trial
from oakum.metrics.calibration import Predictions, expected_calibration_error
from oakum.metrics.statistics import estimate
from oakum.parameters import Range
from oakum.seeds import generator


class CalibrationAudit(Audit):
    """Scores of the shown places against what happened: as they are, and after one logistic curve for everybody."""

    slug = "score-calibration"
    title = "Scores one can believe"
    k: Annotated[int, Range(1, 50), "places whose scores are judged"] = 20
    bins: Annotated[int, Range(2, 100), "bins of equal size"] = 10

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The clean fits of the first seed."""
        return {n: t for n, t in clean_trials(subject).items() if n.endswith(f"seed {subject.seeds[0]}")}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """Calibration error on held-out users after a logistic curve fitted on the others (Platt scaling)."""
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
            a, b = _platt(scores[train], labels[train])
            chance = 1 / (1 + np.exp(-(a * scores + b)))
            raw, cured = (
                expected_calibration_error(Predictions(p, labels[test]), bins=self.bins, binning="equal-mass").mean()
                for p in (np.clip(scores[test], 0, 1), chance[test])
            )
            # Units are users: resample them, since the places of one list hang together.
            gap = np.abs(chance[test] - labels[test])
            per_user = np.bincount(rows[test], gap, minlength=len(ranking)) / np.maximum(
                np.bincount(rows[test], minlength=len(ranking)), 1
            )
            edges = np.quantile(chance[test], np.linspace(0, 1, self.bins + 1)[1:-1])
            which = np.searchsorted(edges, chance[test], side="right")
            said = [float(chance[test][which == i].mean()) for i in range(self.bins) if (which == i).any()]
            seen = [float(labels[test][which == i].mean()) for i in range(self.bins) if (which == i).any()]
            relative = cured / max(float(labels[test].mean()), 1e-9)
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
                        f"rate of the other half by {cured:.4f} on average, where the mean rate is {labels[test].mean():.4f}."
                    ),
                    measure=f"expected calibration error over {self.bins} equal-sized bins of the top {self.k}, users of the other half",
                    clean=estimate(
                        per_user[~half & (np.bincount(rows[test], minlength=len(ranking)) > 0)],
                        seed=subject.seed,
                    ),
                    evidence=[
                        {"scores": "as they are, clipped to [0, 1]", "error": round(float(raw), 4)},
                        {"scores": "after one logistic curve", "error": round(float(cured), 4)},
                        {
                            "scores": "mean absolute error a user",
                            "error": within(estimate(per_user[~half], seed=1)),
                        },
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
                    advice="Never show a raw score to people; fit the curve on fresh feedback and check it again after each release.",
                    power=f"{int(labels[test].sum())} hits among {int(test.sum())} places.",
                )
            )
        return out


def _platt(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of the logistic curve of a score, by Newton steps on the standardised score."""
    mean, scale = scores.mean(), scores.std() or 1.0
    x = np.stack([(scores - mean) / scale, np.ones_like(scores)], 1)
    w = np.array([0.0, np.log((labels.mean() + 1e-9) / (1 - labels.mean() + 1e-9))])
    for _ in range(25):
        p = 1 / (1 + np.exp(-(x @ w)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, x.T @ (labels - p))
        w = w + step
        if np.abs(step).max() < 1e-10:
            break
    return float(w[0] / scale), float(w[1] - w[0] * mean / scale)
