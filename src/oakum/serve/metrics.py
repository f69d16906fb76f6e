"""Counters and histograms in the text format that Prometheus reads (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Labels = tuple[tuple[str, str], ...]

ABOUT = {
    "oakum_requests_total": ("counter", "Answered requests by route and status."),
    "oakum_request_seconds": ("histogram", "Time from the first byte of a request to the last of its answer."),
    "oakum_requests_in_flight": ("gauge", "Requests that are being answered."),
    "oakum_refused_total": ("counter", "Requests refused before any work, by reason."),
    "oakum_events_total": ("counter", "Posted events by what became of them."),
    "oakum_fallbacks_total": ("counter", "Lists that popularity answered in whole or in part."),
    "oakum_model_loads_total": ("counter", "Models loaded while serving, by outcome."),
    "oakum_model_info": ("gauge", "The model that answers."),
    "oakum_drift_items": ("gauge", "Stability index of item popularity, newer events against the training log."),
    "oakum_drift_items_bar": ("gauge", "What chance alone makes of it once in a hundred times."),
    "oakum_drift_rates": ("gauge", "Stability index of events of a person and day, newer against the training log."),
    "oakum_drift_rates_bar": ("gauge", "What chance alone makes of it once in a hundred times."),
    "oakum_drift_unknown_items": ("gauge", "Share of the newer events on items that the model does not know."),
    "oakum_drift_lists": ("gauge", "Share of the panel's lists that changed when the model last did."),
    "oakum_events_held": ("gauge", "Stored events that the quarantine holds."),
    "oakum_experiment_people": ("gauge", "People that the experiment has answered."),
    "oakum_experiment_effect": ("gauge", "Candidate minus current in the mean outcome of a person."),
    "oakum_experiment_low": ("gauge", "Lower end of its interval."),
    "oakum_experiment_high": ("gauge", "Upper end of its interval."),
    "oakum_state_up": ("gauge", "Whether the state could be read at the last look."),
}


class Metrics:
    """Numbers by name and labels. Labels are routes, statuses and reasons, never ids: their number is bounded."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, dict[Labels, list[float]]] = {}

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Count."""
        key = tuple(labels.items())
        with self._lock:
            found = self._numbers.setdefault(name, {})
            found[key] = found.get(key, 0.0) + value

    def set(self, name: str, value: float, **labels: str) -> None:
        """A gauge: one value under one set of labels, older labels go; NaN, which says nothing, is left out."""
        with self._lock:
            self._numbers[name] = {tuple(labels.items()): value} if value == value else {}

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Put a duration into its bucket."""
        key = tuple(labels.items())
        with self._lock:
            row = self._times.setdefault(name, {}).setdefault(key, [0.0] * (len(BUCKETS) + 2))
            for at, top in enumerate(BUCKETS):
                if seconds <= top:
                    row[at] += 1
                    break
            row[-2] += 1
            row[-1] += seconds

    def times(self, name: str) -> dict[str, tuple[int, float, float, float]]:
        """Of each route: how many, and the 50, 95 and 99 % points in seconds, straight lines within a bucket."""
        with self._lock:
            rows = {dict(labels).get("route", ""): list(row) for labels, row in self._times.get(name, {}).items()}
        return {
            route: (int(row[-2]), *(_quantile(row, q) for q in (0.5, 0.95, 0.99)))  # type: ignore[misc]
            for route, row in rows.items()
        }

    def numbers(self, name: str) -> dict[Labels, float]:
        """A counter or gauge by its labels."""
        with self._lock:
            return dict(self._numbers.get(name, {}))

    def text(self) -> str:
        """All of it, for one scrape."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, (kind, about) in ABOUT.items():
            yield f"# HELP {name} {about}"
            yield f"# TYPE {name} {kind}"
            for labels, value in self._numbers.get(name, {}).items():
                yield f"{name}{_spelt(labels)} {value:.17g}"
            for labels, row in self._times.get(name, {}).items():
                total = 0.0
                for top, count in zip(BUCKETS, row, strict=False):
                    total += count
                    yield f"{name}_bucket{_spelt((*labels, ('le', f'{top:g}')))} {total:g}"
                yield f"{name}_bucket{_spelt((*labels, ('le', '+Inf')))} {row[-2]:g}"
                yield f"{name}_sum{_spelt(labels)} {row[-1]:.17g}"
                yield f"{name}_count{_spelt(labels)} {row[-2]:g}"


def _spelt(labels: Labels) -> str:
    if not labels:
        return ""
    escape = lambda v: v.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return "{" + ",".join(f'{k}="{escape(v)}"' for k, v in labels) + "}"


def _quantile(row: list[float], share: float) -> float:
    """The point below which a share of the durations lies; the last bound where it lies beyond all."""
    wanted, passed, low = share * row[-2], 0.0, 0.0
    for top, count in zip(BUCKETS, row, strict=False):
        if count and passed + count >= wanted:
            return low + (top - low) * (wanted - passed) / count
        passed, low = passed + count, top
    return BUCKETS[-1]
