"""Baseline and protocol, accuracy with its seed noise, churn between retrainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from oakum.audits.base import Audit, Subject, goodness, percent, verdict_of, within
from oakum.audits.record import Finding, Plot, SystemResult
from oakum.audits.trials import Result, Trial
from oakum.metrics import measure
from oakum.metrics.estimate import Estimate
from oakum.metrics.stability import churn, frbo, jaccard
from oakum.metrics.statistics import compare, estimate
from oakum.parameters import Range

METRICS = ("ndcg@10", "recall@20", "hit_rate@10")


def clean_trials(subject: Subject) -> dict[str, Trial]:
    """One clean fit a system and seed (closed forms have no seed and are fitted once)."""
    out = {}
    for system in subject.systems:
        for seed in subject.seeds if system.learned else subject.seeds[:1]:
            out[f"{system.slug} seed {seed}"] = system.trial(seed=seed)
    return out


def per_user(subject: Subject, result: Result, metric: str) -> Any:
    """One value a test user."""
    return measure(subject.test_lists(result), subject.truth, [metric])[metric]


def table_of(subject: Subject, results: Mapping[str, Result]) -> list[SystemResult]:
    """The accuracy table: the mean over seeds a user, bootstrapped over users; the spread over seeds beside it."""
    rows = []
    for system in subject.systems:
        mine = [r for name, r in results.items() if name.startswith(f"{system.slug} seed ")]
        metrics, noise = {}, {}
        for metric in METRICS:
            values = np.stack([per_user(subject, r, metric) for r in mine])
            metrics[metric] = estimate(np.nanmean(values, 0), seed=subject.seed)
            if len(mine) > 1:
                noise[metric] = float(np.std(np.nanmean(values, 1), ddof=1))
        known = mine[0].record
        rows.append(
            SystemResult(
                slug=system.slug,
                title=system.title,
                settings={
                    "spec": system.spec.to_json(),
                    "plan": dict(system.plan),
                    "plugins": [p.to_json() for p in system.plugins],
                },
                metrics=metrics,
                seed_noise=noise,
                baseline=system.baseline,
                seconds=float(known.get("fit_seconds", 0.0)),
            )
        )
    return rows


def comparisons_of(subject: Subject, results: Mapping[str, Result], metric: str = "ndcg@10") -> list[dict[str, Any]]:
    """Each system against the best baseline, paired over users, Holm-corrected."""
    from oakum.metrics.statistics import holm

    values = {}
    for system in subject.systems:
        mine = [r for name, r in results.items() if name.startswith(f"{system.slug} seed ")]
        values[system.slug] = np.nanmean(np.stack([per_user(subject, r, metric) for r in mine]), 0)
    bases = [s.slug for s in subject.systems if s.baseline] or [subject.systems[0].slug]
    base = max(bases, key=lambda s: float(np.nanmean(values[s])))
    out: list[dict[str, Any]] = []
    for slug, mine_values in values.items():
        if slug != base:
            found = compare(mine_values, values[base], seed=subject.seed)
            out.append({"a": slug, "b": base, "metric": metric, "difference": found.difference, "p": found.p_value})
    for row, p in zip(out, holm([r["p"] for r in out]), strict=True):
        row["p_corrected"] = p
    return [{**r, "difference": r["difference"].to_json()} for r in out]


class AccuracyAudit(Audit):
    """Does anything beat a list of best-sellers, and by more than a seed moves it?"""

    slug = "baseline-and-seed-noise"
    title = "Better than the best-sellers"

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The clean fits."""
        return clean_trials(subject)

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """The gain of each system over the best baseline, in units of the larger of sampling and seed noise."""
        rows = table_of(subject, results)
        pairs = {c["a"]: c for c in comparisons_of(subject, results)}
        out = []
        for row in rows:
            if row.baseline or row.slug not in pairs:
                continue
            gain = Estimate.from_json(pairs[row.slug]["difference"])
            base = pairs[row.slug]["b"]
            floor = row.seed_noise.get("ndcg@10", 0.0)
            value = row.metrics["ndcg@10"].value
            relative = gain.value / max(value - gain.value, 1e-9)
            loss = 1 - goodness(relative, 0.0, 0.2)
            beats = gain.low > 2 * floor
            words = "beats" if beats else "does not clearly beat"
            sentence = (
                f"{row.title} {words} the best baseline ({base}): NDCG@10 {within(row.metrics['ndcg@10'])}, a paired gain "
                f"of {within(gain, 4)} ({percent(relative)})"
                + (f"; a seed alone moves it by {floor:.4f}." if row.seed_noise else ".")
            )
            out.append(
                Finding(
                    slug=self.slug,
                    title=self.title,
                    subject=row.slug,
                    verdict="fine" if beats and loss < 0.5 else "notice" if beats else "weak",
                    loss=min(loss, 0.49) if beats else max(loss, 0.5),
                    sentence=sentence,
                    measure="paired difference of NDCG@10 to the best baseline over test users, all items ranked",
                    clean=row.metrics["ndcg@10"],
                    evidence=[
                        {
                            "system": r.slug,
                            **{m: within(e) for m, e in r.metrics.items()},
                            "seed_noise": r.seed_noise,
                        }
                        for r in rows
                    ],
                    advice=""
                    if beats
                    else "Serve the baseline until a model beats it; check the data and the protocol first.",
                    power=f"{len(subject.truth)} test users: a difference under {(gain.high - gain.low) / 2:.4f} would not be seen.",
                    seconds=row.seconds,
                )
            )
        return out


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
