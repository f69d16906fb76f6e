"""The gate: a candidate against the model that answers now, judged by what would hurt people if it were wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np

from oakum.audits.record import AuditReport, Finding
from oakum.data import Dataset, Ids, Ranking
from oakum.engine.closed import Predicts
from oakum.engine.fit import fit_again, spec_is_learned
from oakum.engine.fitted import Fitted
from oakum.errors import ProtocolError
from oakum.evaluation import answers_to
from oakum.metrics import Estimate, measure
from oakum.metrics.stability import churn
from oakum.metrics.statistics import compare, estimate
from oakum.parameters import Parameters, Range
from oakum.seeds import generator
from oakum.splits.protocol import contains


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. passed: None where it could not be measured (which refuses nothing, and is said)."""

    name: str
    passed: bool | None
    sentence: str
    estimate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The checks in order; the candidate may be released where none failed."""

    candidate: str
    current: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the candidate."""
        return all(c.passed is not False for c in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against it."""
        return tuple(c.sentence for c in self.checks if c.passed is False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "passed": self.passed}


class Gate(Parameters):
    """What a candidate must not do."""

    slug = "release-gate"
    metric: Annotated[str, "accuracy metric that is compared, person by person"] = "ndcg@10"
    max_loss: Annotated[float, Range(0, 1), "largest relative loss of accuracy that may remain possible"] = 0.02
    max_churn: Annotated[
        float, Range(0, 1), "largest share of the lists that may change beyond what a seed changes"
    ] = 0.5
    threshold: Annotated[
        float, Range(0, 1), "a finding of the audit from this loss on refuses, unless it was there before"
    ] = 0.5
    people: Annotated[int, Range(10), "people whose lists are compared, at most"] = 5000
    floor: Annotated[bool, "train the candidate once more with another seed, to know what a seed alone changes"] = True


def judge(
    candidate: Fitted,
    current: Fitted,
    test: Dataset,
    *,
    gate: Gate | None = None,
    report: AuditReport | None = None,
    before: AuditReport | None = None,
    seed: int = 0,
) -> Decision:
    """Compare a candidate with the model that answers now.

    test: events that neither was trained on, ids of the log. report, before: audits of the candidate and of the current
    model. Checks: nothing of the test was learned; accuracy (paired over people, against `max_loss`) beside the seed's own
    noise; churn of lists beside the seed's; items that are no longer known; findings of the audit. Raises `ProtocolError`
    where nothing is left to measure.
    """
    gate = gate or Gate()
    for name, fitted in (("candidate", candidate), ("current model", current)):
        if isinstance(fitted.model, Predicts):
            raise ProtocolError(
                f"The {name} predicts rows; the gate compares lists. Compare them with `oakum evaluate`."
            )
    k = int(gate.metric.partition("@")[2] or 10)
    kept, leak = _unseen(candidate, current, test)
    checks = [leak]
    again = gate.floor and spec_is_learned(candidate.spec)
    twin = fit_again(candidate, candidate.log(), seed=candidate.record.seed + 1) if again else None
    models = [candidate, current] if twin is None else [candidate, current, twin]
    people, values, lists = _measure(models, kept, gate.metric, k)
    checks += _accuracy(values, gate, seed)
    checks.append(_churn(lists, people, gate, k, seed))
    checks.append(_catalogue(candidate, current))
    checks.append(_robustness(report, before, candidate.spec.slug, current.spec.slug, gate))
    return Decision(candidate=candidate.spec.slug, current=current.spec.slug, checks=tuple(checks))


def _pairs(fitted: Fitted, test: Dataset) -> np.ndarray:
    """Whether each test event repeats what the model was trained on, bool [events]."""
    users, items = fitted.users.encode(test.users.ids), fitted.items.encode(test.items.ids)
    u, i = users[test.interactions.users], items[test.interactions.items]
    known = (u >= 0) & (i >= 0)
    found = np.zeros(len(u), bool)
    found[known] = contains(fitted.histories.matrix(len(fitted.items)), u[known], i[known])
    return found


def _unseen(candidate: Fitted, current: Fitted, test: Dataset) -> tuple[Dataset, Check]:
    mine, theirs = _pairs(candidate, test), _pairs(current, test)
    only = float((mine & ~theirs).mean()) if len(mine) else 0.0
    kept = test.with_interactions(test.interactions.take(~(mine | theirs)))
    if not len(kept):
        raise ProtocolError("Every test event repeats what one of the models was trained on; there is nothing to find.")
    if only > 0.05:
        said = f"{only:.1%} of the test events are in the candidate's training log and not in the current model's: it has seen the answers."
        return kept, Check(name="unseen test", passed=False, sentence=said)
    return kept, Check(name="unseen test", passed=True, sentence=f"{len(kept):,} test events are new to both models.")


def _measure(
    models: Sequence[Fitted], test: Dataset, metric: str, k: int
) -> tuple[Ids, list[np.ndarray], list[Ranking]]:
    """The people of all, each model's value for them, and its lists in the items of the second model."""
    found = [answers_to(m, test, 2 * k) for m in models]  # longer than k, so that ties at the cut are shared
    people = found[0].truth.users
    for a in found[1:]:
        people = np.intersect1d(people, a.truth.users)
    if not len(people):
        raise ProtocolError("There is no person in the test whom both models can be asked about.")
    values, lists = [], []
    for model, a in zip(models, found, strict=True):
        at = np.searchsorted(a.truth.users, people)
        values.append(measure(a.ranking, a.truth, [metric])[metric][at])
        place = models[1].items.encode(model.items.ids)
        new = place < 0
        place = np.where(new, len(models[1].items) + np.arange(len(place)), place).astype(np.int32)
        items = a.ranking.items[at]
        lists.append(
            Ranking(np.where(items >= 0, place[np.maximum(items, 0)], -1).astype(np.int32), a.ranking.scores[at])
        )
    return people, values, lists


def _accuracy(values: Sequence[np.ndarray], gate: Gate, seed: int) -> list[Check]:
    found = compare(values[0], values[1], seed=seed).difference
    base = float(np.nanmean(values[1]))
    share = lambda x: x / base if base > 0 else (0.0 if x == 0 else float("inf") * np.sign(x))
    low, high, mid = share(found.low), share(found.high), share(found.value)
    relative = Estimate(mid, low, high, found.n, found.how)
    measured = f"{gate.metric} {base:.4f} → {float(np.nanmean(values[0])):.4f}, {mid:+.1%} [{low:+.1%}, {high:+.1%}] over {found.n:,} people"
    if high < -gate.max_loss:
        check = Check(name="accuracy", passed=False, sentence=f"Less accurate: {measured}.", estimate=relative)
    elif not low >= -gate.max_loss:
        said = f"Too few people to rule out a loss of more than {gate.max_loss:.0%}: {measured}."
        check = Check(name="accuracy", passed=False, sentence=said, estimate=relative)
    else:
        check = Check(name="accuracy", passed=True, sentence=f"{measured}.", estimate=relative)
    if len(values) < 3:
        said = "The candidate has no seed, or it was not asked what a seed changes."
        return [check, Check(name="seed noise", passed=None, sentence=said)]
    noise = abs(share(float(np.nanmean(values[2]) - np.nanmean(values[0]))))
    clear = abs(mid) > noise
    said = f"Another seed alone moves {gate.metric} by {noise:.1%}: the difference is " + (
        "more than that." if clear else "no more than that, so it may not be seen again."
    )
    return [check, Check(name="seed noise", passed=None if not clear else True, sentence=said)]


def _churn(lists: Sequence[Ranking], people: Ids, gate: Gate, k: int, seed: int) -> Check:
    chosen = np.arange(len(people))
    if len(chosen) > gate.people:
        chosen = np.sort(generator(seed, "release churn").choice(len(people), gate.people, replace=False))
    part = [replace(r, items=r.items[chosen], scores=r.scores[chosen]) for r in lists]
    moved = estimate(churn(part[1], part[0], k), seed=seed)
    floor = 0.0 if len(part) < 3 else float(np.nanmean(churn(part[0], part[2], k)))
    beyond = moved.value - floor
    said = f"{moved.value:.1%} [{moved.low:.1%}, {moved.high:.1%}] of the top {k} change"
    said += f"; another seed alone changes {floor:.1%}." if len(part) > 2 else "."
    return Check(name="churn", passed=beyond <= gate.max_churn, sentence=said, estimate=moved)


def _catalogue(candidate: Fitted, current: Fitted) -> Check:
    gone = int((candidate.items.encode(current.items.ids) < 0).sum())
    new = int((current.items.encode(candidate.items.ids) < 0).sum())
    share = gone / max(1, len(current.items))
    said = f"{new:,} items are new, {gone:,} ({share:.1%}) are no longer known."
    return Check(name="catalogue", passed=share <= 0.1, sentence=said)


def _robustness(report: AuditReport | None, before: AuditReport | None, slug: str, old: str, gate: Gate) -> Check:
    if report is None:
        said = "No audit of the candidate was given: how it stands up to attacks is not known."
        return Check(name="robustness", passed=None, sentence=said)
    mine = _weak(report, slug, gate.threshold)
    known = {} if before is None else _weak(before, old, 0.0)
    worse = [f for name, f in mine.items() if name not in known or (known[name].loss or 0) < (f.loss or 0) - 0.05]
    if worse:
        return Check(name="robustness", passed=False, sentence=" ".join(f"{f.title}: {f.sentence}" for f in worse))
    said = "The audit finds nothing weak." if not mine else f"{len(mine)} weak findings, none worse than before."
    return Check(name="robustness", passed=True, sentence=said)


def _weak(report: AuditReport, slug: str, threshold: float) -> dict[str, Finding]:
    return {f.slug: f for f in report.findings if f.subject == slug and f.loss is not None and f.loss >= threshold}
