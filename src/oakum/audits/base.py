"""What every audit is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oakum.audits.record import Finding, Verdict
from oakum.audits.trials import Bench, Result, Trial
from oakum.data import Dataset, Ids, Ranking
from oakum.metrics.estimate import Estimate
from oakum.parameters import Parameters, Spec
from oakum.splits.protocol import Split, Truth


@dataclass(frozen=True, kw_only=True)
class System:
    """One audited system: what it is, how it is trained, and the epochs that the validation part chose."""

    spec: Spec
    title: str
    plan: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Spec, ...] = ()
    baseline: bool = False
    learned: bool = False

    @property
    def slug(self) -> str:
        """Its name in the catalogue."""
        return self.spec.slug

    def trial(self, **changes: Any) -> Trial:
        """A fit of this system; `changes` name the training set, the seed, the defence."""
        plugins = self.plugins + tuple(changes.pop("plugins", ()))
        return Trial(spec=self.spec, plan=self.plan, plugins=plugins, **changes)


@dataclass(eq=False, kw_only=True)
class Subject:
    """Everything an audit may look at.

    users: codes of the evaluation users, test users first-class among them; `test_rows` are the places of the test
    users in `users`, aligned with `truth`. data: training and validation events together, what the final fits read.
    """

    split: Split
    data: Dataset
    truth: Truth
    users: Ids
    test_rows: NDArray[np.int64]
    newcomers: Ids
    systems: Sequence[System]
    seeds: tuple[int, ...]
    mode: str
    k: int = 10
    left_out: tuple[str, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)  # what was chosen on the validation part, by name
    seed: int = 0

    def bench(self) -> Bench:
        """The trials' side of the subject."""
        return Bench({"clean": self.data}, self.users, self.newcomers, self.split, self.changes)

    def test_lists(self, result: Result) -> Ranking:
        """The lists of the test users, in the order of `truth`."""
        return Ranking(result.lists[self.test_rows], result.scores[self.test_rows])

    @property
    def learned(self) -> list[System]:
        """The audited systems that are trained with a seed."""
        return [s for s in self.systems if s.learned]

    @property
    def victims(self) -> list[System]:
        """The systems worth attacking: all but the baselines."""
        return [s for s in self.systems if not s.baseline] or list(self.systems)


class Audit(Parameters):
    """A measurement in two steps: name the fits it needs, then judge their results.

    The fits of all audits are pooled and run once, so two audits that need the same fit share it.
    """

    title: ClassVar[str] = ""

    def trials(self, subject: Subject) -> Mapping[str, Trial]:
        """The fits, by names of this audit's own."""
        return {}

    def judge(self, subject: Subject, results: Mapping[str, Result]) -> list[Finding]:
        """What the results say."""
        raise TypeError(f"{type(self).__name__} does not say how it judges.")


def goodness(value: float, bad: float, good: float) -> float:
    """Where a value lies between a declared bad (0) and a declared good (1) anchor, clipped; NaN stays NaN."""
    if value != value:
        return float("nan")
    return float(np.clip((value - bad) / (good - bad), 0.0, 1.0))


def verdict_of(loss: float | None, *, notice: float = 0.25, weak: float = 0.5) -> Verdict:
    """Plain words for a loss."""
    if loss is None or loss != loss:
        return "not measured"
    return "weak" if loss >= weak else "notice" if loss >= notice else "fine"


def not_measured(audit: Audit, subject: str, reason: str) -> Finding:
    """A block that this run leaves out, and why: listed, not scored."""
    return Finding(
        slug=audit.slug, title=audit.title, subject=subject, verdict="not measured", reason=reason,
        sentence=f"Not measured for {subject}.", measure=(type(audit).__doc__ or audit.title).split("\n")[0],
        power="Nothing was measured, so nothing could be seen.",
    )  # fmt: skip


def percent(value: float, digits: int = 1) -> str:
    """0.0123 → '1.2 %'."""
    return f"{100 * value:.{digits}f} %"


def within(e: Estimate, digits: int = 3) -> str:
    """'0.123 [0.120, 0.126]'."""
    return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"
