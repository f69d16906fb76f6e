"""Plots that audits make from their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oakum.audits.record import Cure, Plot
from oakum.metrics.estimate import Estimate


def exposure_plot(
    title: str,
    clean: Estimate,
    table: Mapping[tuple[str, float], Estimate],
    cures: Sequence[Cure],
    worst: str,
    top: float,
    k: int,
) -> Plot:
    """Exposure against the share of fake accounts, a line a technique, a point a cure; everything in per cent."""
    attacks = list(dict.fromkeys(a for a, _ in table))
    shares = sorted({s for _, s in table})
    series: list[dict[str, Any]] = []
    for attack in attacks:
        points = [(0.0, clean), *((s, table[attack, s]) for s in shares)]
        series.append(
            {
                "name": attack,
                "x": [100 * s for s, _ in points],
                "y": [100 * e.value for _, e in points],
                "low": [100 * e.low for _, e in points],
                "high": [100 * e.high for _, e in points],
            }
        )
    for cure in cures:
        if cure.after is not None:
            e = cure.after
            one = {"x": [100 * top], "y": [100 * e.value], "low": [100 * e.low], "high": [100 * e.high]}
            series.append({"name": f"{worst} with {cure.slug}", **one})
    return Plot(
        kind="lines",
        title=f"What fake accounts buy on {title}",
        alt="; ".join(f"{s['name']}: {s['y'][-1]:.2f} % of lists at {s['x'][-1]:.1f} % fake accounts" for s in series),
        x_label="fake accounts, % of people",
        y_label=f"lists with a target in the top {k}, %",
        series=series,
    )
