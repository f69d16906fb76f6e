"""What an audit writes down. Reports, comparisons and gates read these values and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from oakum.metrics.estimate import Estimate

SCHEMA_VERSION = 1

Verdict = Literal["fine", "notice", "weak", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Cure:
    """A defence that was tried. slug: of the catalogue. after: the measure of the finding once it is in place.
    price: relative change of accuracy on clean data (−0.02 is two per cent lost), with its interval."""

    slug: str
    sentence: str
    after: Estimate | None = None
    price: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Figures that people would rather look at. kind: bars (labels, values with intervals), lines (x, y by series,
    with low and high), heat (rows × columns; `scale` of the first row: what the lightest and the deepest colour mean) or points (a map: x, y, names, and labels where a point is named in the
    drawing). alt: the sentence a screen reader says."""

    kind: Literal["bars", "lines", "heat", "points"]
    title: str
    alt: str
    x_label: str = ""
    y_label: str = ""
    series: Sequence[Mapping[str, Any]] = ()  # each: name, x [n], y [n], low [n]?, high [n]?, names [n]?, labels [n]?
    log_x: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One judged measurement.

    measure: name and definition of the number. loss: 0 (sound) to 1 (as bad as it gets), None where not measured.
    clean, attacked: the measure before and under attack or disturbance. evidence: rows of a table. threat and
    budget: what the adversary was granted and spent. power: what this run could and could not have seen.
    """

    slug: str
    title: str
    subject: str
    verdict: Verdict
    sentence: str
    measure: str
    loss: float | None = None
    clean: Estimate | None = None
    attacked: Estimate | None = None
    evidence: Sequence[Mapping[str, Any]] = ()
    plots: Sequence[Plot] = ()
    threat: str = ""
    budget: Mapping[str, Any] = field(default_factory=dict)
    cures: Sequence[Cure] = ()
    advice: str = ""
    power: str = ""
    reason: str = ""  # why it was not measured, or why a hoped-for effect is absent
    protocol: str = ""  # on whom, under which rule, over which seeds
    seconds: float = 0.0  # what its fits and questions cost, on one core


@dataclass(frozen=True, kw_only=True)
class SystemResult:
    """Accuracy of one system over the seeds: metric name -> Estimate; `seed_noise`: standard deviation over seeds of
    each metric; `newcomers`: the same metrics over people without a past; `settings`: spec, plan, plug-ins."""

    slug: str
    title: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, Estimate]
    seed_noise: Mapping[str, float] = field(default_factory=dict)
    newcomers: Mapping[str, Estimate] = field(default_factory=dict)
    baseline: bool = False
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """A whole audit. data: what `describe` says of the log. protocol: rule, cut, sizes, left_out sentences. lint:
    protocol findings (code, severity, sentence). comparisons: paired differences with corrected p-values.
    plank: slug of the worst finding, or "" where nothing is weak."""

    title: str
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]
    lint: Sequence[Mapping[str, Any]]
    systems: Sequence[SystemResult]
    comparisons: Sequence[Mapping[str, Any]]
    findings: Sequence[Finding]
    plank: str
    settings: Mapping[str, Any]  # mode, seeds, threshold, anchors
    versions: Mapping[str, str]
    started: str
    seconds: float
    runs: Sequence[Mapping[str, Any]] = ()
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes null."""
        return dict(_clean(asdict(self)))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AuditReport:
        """The inverse of `to_json`."""
        kept = dict(value)
        kept["systems"] = [
            SystemResult(**{**s, "metrics": _estimates(s["metrics"]), "newcomers": _estimates(s.get("newcomers", {}))})
            for s in value["systems"]
        ]
        kept["findings"] = [
            Finding(
                **{
                    **f,
                    "clean": _estimate(f["clean"]),
                    "attacked": _estimate(f["attacked"]),
                    "plots": [Plot(**p) for p in f["plots"]],
                    "cures": [
                        Cure(**{**c, "after": _estimate(c["after"]), "price": _estimate(c["price"])})
                        for c in f["cures"]
                    ],
                }
            )
            for f in value["findings"]
        ]
        return cls(**kept)


def _estimate(value: Mapping[str, Any] | None) -> Estimate | None:
    if value is None:
        return None
    numbers = {k: float("nan") if value[k] is None else value[k] for k in ("value", "low", "high")}
    return Estimate(**{**value, **numbers})


def _estimates(values: Mapping[str, Any]) -> dict[str, Estimate]:
    return {k: e for k, v in values.items() if (e := _estimate(v)) is not None}


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
