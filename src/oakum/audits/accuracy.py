"""Baseline and protocol, accuracy with its seed noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oakum.audits.base import Audit, Subject, System, goodness, percent, within
from oakum.audits.record import Cure, Finding, Plot, SystemResult
from oakum.audits.trials import Result, Trial
from oakum.data import Queries, Ranking
from oakum.metrics import measure
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import compare, estimate, estimates
from oakum.recommending import rank

METRICS = ("ndcg@10", "recall@20", "hit_rate@10")


def clean_trials(subject: Subject) -> dict[str, Trial]:
    """One clean fit a system and seed (closed forms have no seed and are fitted once)."""
    out = {}
    for system in subject.systems:
        for seed in subject.seeds if system.learned else subject.seeds[:1]:
            out[f"{system.slug} seed {seed}"] = system.trial(seed=seed)
    return out


def with_past(subject: Subject) -> Any:
    """Places of the test users who have a past: the others get no list from any model, and have a table of their own. All
    of them where nobody has one."""
    known = np.flatnonzero(subject.truth.histories.lengths > 0)
    return known if len(known) else np.arange(len(subject.truth))


def per_user(subject: Subject, result: Result, metric: str) -> Any:
    """One value a test user with a past, in the order of `with_past`."""
    rows, lists = with_past(subject), subject.test_lists(result)
    return measure(Ranking(lists.items[rows], lists.scores[rows]), subject.truth.take(rows), [metric])[metric]


def price_of(subject: Subject, base: Sequence[Result], other: Sequence[Result]) -> Estimate:
    """Relative change of NDCG@10 on clean data from the fits `base` to the fits `other` (means over seeds), paired by
    user: −0.02 is two per cent lost."""
    values = [np.nanmean([per_user(subject, r, "ndcg@10") for r in results], 0) for results in (base, other)]
    gap, mean = compare(values[1], values[0], seed=subject.seed).difference, max(float(np.nanmean(values[0])), 1e-9)
    return Estimate(gap.value / mean, gap.low / mean, gap.high / mean, gap.n, f"paired, {gap.how}")


def instead(
    subject: Subject,
    system: System,
    results: Mapping[str, Result],
    measured: Mapping[str, Estimate],
    does: str,
    *,
    lower: bool,
) -> list[Cure]:
    """Another audited system as the cure: the one that is best by a measure, where it is better beyond the intervals; its
    price is the paired change of NDCG@10. results: clean fits by "slug seed N"; does: a verb for the sentence."""
    own, sign = measured[system.slug], -1 if lower else 1
    known = [s.slug for s in subject.systems if not s.baseline and s.slug in measured]
    best = max(known, key=lambda s: sign * measured[s].value, default=system.slug)
    if best == system.slug or measured[best].overlaps(own) or sign * (measured[best].value - own.value) <= 0:
        return []
    first = subject.seeds[0]
    price = price_of(subject, *([results[f"{s} seed {first}"]] for s in (system.slug, best)))
    words = f"in its place '{best}' {does} {within(measured[best])} where it {does} {within(own)}; NDCG@10 changes by {percent(price.value)}."
    return [Cure(slug=best, sentence=words, after=measured[best], price=price)]


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
        # People without a past get no list from the model; popularity answers them, here as in service.
        new = np.flatnonzero(subject.truth.histories.lengths == 0)
        fresh: dict[str, Estimate] = {}
        if len(new) >= 2:
            truth = subject.truth.take(new)
            popular = rank(_Popular(subject), truth.queries, 20)
            fresh = estimates(measure(popular, truth, METRICS), seed=subject.seed)
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
                newcomers=fresh,
                baseline=system.baseline,
                seconds=float(known.get("fit_seconds", 0.0)),
            )
        )
    return rows


class _Popular:
    """Popularity as a scorer: what people without a past are shown."""

    def __init__(self, subject: Subject) -> None:
        self.counts = subject.data.item_counts.astype(np.float32)

    def score(self, queries: Queries, items: Any = None) -> Any:
        """The same row for everybody."""
        return np.repeat(self.counts[None], len(queries), 0)


def comparisons_of(subject: Subject, results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Paired differences over users, Holm-corrected within a metric: every system against the best baseline, and the
    leader of the metric against every other system."""
    from oakum.metrics.statistics import holm

    out: list[dict[str, Any]] = []
    bases = [s.slug for s in subject.systems if s.baseline] or [subject.systems[0].slug]
    for metric in METRICS:
        values = {}
        for system in subject.systems:
            mine = [r for name, r in results.items() if name.startswith(f"{system.slug} seed ")]
            values[system.slug] = np.nanmean(np.stack([per_user(subject, r, metric) for r in mine]), 0)
        means = {slug: float(np.nanmean(v)) for slug, v in values.items()}
        base, leader = max(bases, key=means.__getitem__), max(means, key=means.__getitem__)
        pairs = {(slug, base) for slug in values if slug != base} | {
            (leader, slug) for slug in values if slug != leader
        }
        rows: list[dict[str, Any]] = []
        for a, b in sorted(pairs, key=lambda p: (p[1] != base, p)):
            found = compare(values[a], values[b], seed=subject.seed)
            rows.append(
                {"a": a, "b": b, "metric": metric, "difference": found.difference.to_json(), "p": found.p_value}
            )
        for row, p in zip(rows, holm([r["p"] for r in rows]), strict=True):
            out.append({**row, "p_corrected": p})
    return out


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
        bases = {r.slug for r in rows if r.baseline}
        found = [c for c in comparisons_of(subject, results) if c["metric"] == "ndcg@10" and c["b"] in bases]
        pairs = {c["a"]: c for c in found}
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
            beats = (
                gain.low > 0 and gain.value > 2 * floor
            )  # beyond what other people, or another seed, would make of it
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
                    plots=[
                        Plot(**p) for p in results[f"{row.slug} seed {subject.seeds[0]}"].record.get("pictures", ())
                    ],
                    advice=""
                    if beats
                    else "Serve the baseline until a model beats it; check the data and the protocol first.",
                    power=f"{len(with_past(subject))} test users with a past: a difference under {(gain.high - gain.low) / 2:.4f} would not be seen.",
                    seconds=row.seconds,
                )
            )
        return out
