"""Metrics by name: `metric("ndcg@10")`, the values of many at once, and their estimates.

A name is a base and, where the metric reads lists, a cut-off: `recall@20`, `coverage@10`. Metrics come in
three units: "query" (one value a list, averaged), "pooled" (one value of all lists together, such as
coverage) and "row" (one value a prediction, whose mean is the metric).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from oakum.data import Ranking
from oakum.errors import ParameterError, ProtocolError, nearest
from oakum.metrics import accuracy
from oakum.metrics.beyond import exposure
from oakum.metrics.calibration import Predictions
from oakum.metrics.context import Context
from oakum.metrics.estimate import Estimate
from oakum.metrics.statistics import NAN, estimate, estimates, proportion
from oakum.metrics.table import OF_EXPOSURE, TABLE, Better, Definition
from oakum.seeds import generator
from oakum.splits.protocol import Truth

Floats = NDArray[np.float64]
PARTS = 50  # of the users, for the interval of pooled metrics


class Metric(Protocol):
    """What a metric is to the rest of Oakum. `better`: which end is good; "neither" describes without
    judging."""

    @property
    def name(self) -> str:
        """The name with its cut-off, as printed."""
        ...

    @property
    def better(self) -> Better:
        """Which end is good."""
        ...

    def measure(self, found: Ranking | Predictions, truth: Truth | None, context: Context) -> Floats:
        """One value a unit (query or row; shape [1] for a pooled metric), NaN where there is none."""
        ...

    def summary(
        self, found: Ranking | Predictions, truth: Truth | None, context: Context, *, seed: int = 0
    ) -> Estimate:
        """The metric with its interval."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """A metric with its cut-off (0 where it has none)."""

    definition: Definition
    k: int

    @property
    def name(self) -> str:
        """As printed: `ndcg@10`, `auc`."""
        return f"{self.definition.base}@{self.k}" if self.definition.cut else self.definition.base

    @property
    def better(self) -> Better:
        """Which end is good."""
        return self.definition.better

    @property
    def pooled(self) -> bool:
        """Whether it is one number of all lists together."""
        return self.definition.unit == "pooled"

    def measure(self, found: Ranking | Predictions, truth: Truth | None, context: Context) -> Floats:
        """One value a query or row, NaN where there is none; shape [1] for a pooled metric."""
        d = self.definition
        wanted = Predictions if d.unit == "row" else Ranking
        if not isinstance(found, wanted):
            raise ProtocolError(
                f"The metric '{self.name}' is measured on a {wanted.__name__}. Got a {type(found).__name__}."
            )
        if "truth" in d.needs and truth is None:
            raise ProtocolError(f"The metric '{self.name}' needs the truth: what should have been found.")
        for name in d.needs:
            if name == "items":
                if context.item_vectors is None and context.item_categories is None:
                    context.require("item_vectors", self.name)
            elif name == "histories":
                if context.histories is None and truth is None:
                    context.require(name, self.name)
            elif name != "truth":
                context.require(name, self.name)
        if isinstance(found, Ranking) and self.k > found.k:
            raise ProtocolError(
                f"The metric '{self.name}' needs lists of {self.k}; these have {found.k} places: rank more."
            )
        return np.atleast_1d(np.asarray(d.function(found, truth, self.k, context), np.float64))

    def summary(
        self, found: Ranking | Predictions, truth: Truth | None, context: Context, *, seed: int = 0
    ) -> Estimate:
        """The metric with its interval."""
        values = self.measure(found, truth, context)
        if self.pooled and isinstance(found, Ranking):
            return self._within(_pooled(self, found, context, float(values[0]), seed))
        clusters = found.users if isinstance(found, Predictions) else None
        return self.of_values(values, seed=seed, clusters=clusters)

    def of_values(self, values: Floats, *, seed: int = 0, clusters: Any = None) -> Estimate:
        """The estimate from values measured before; all 0 or all 1 of a yes-or-no metric gets Wilson's
        interval."""
        return self.of_estimate(estimate(values, seed=seed, clusters=clusters, unit=self.unit))

    @property
    def unit(self) -> str:
        """What is drawn for an interval: rows or users."""
        return "rows" if self.definition.unit == "row" else "users"

    def of_estimate(self, found: Estimate) -> Estimate:
        """An estimate of its mean kept within the bounds of the metric, by Wilson where it is a share of 0 or 1."""
        if self.definition.binary and found.n > 1 and found.value in (0.0, 1.0):
            return proportion(found.value * found.n, found.n)
        return self._within(found)

    def _within(self, found: Estimate) -> Estimate:
        low = -np.inf if self.definition.low is None else self.definition.low
        high = np.inf if self.definition.high is None else self.definition.high
        return Estimate(found.value, max(low, found.low), min(high, found.high), found.n, found.how)


def metric(name: str) -> Named:
    """A metric by name, for example "ndcg@10"; a wrong name suggests the nearest."""
    base, at, cut = name.strip().partition("@")
    if base not in TABLE:
        raise ParameterError(f"There is no metric '{base}'.{nearest(base, TABLE)}")
    found = TABLE[base]
    if not found.cut:
        if at:
            raise ParameterError(f"The metric '{base}' has no cut-off: write '{base}'.")
        return Named(found, 0)
    if not cut.isdecimal() or int(cut) < 1:
        got = f"Got '{name}' instead." if at else "It was given none."
        raise ParameterError(f"The metric '{base}' needs a cut-off of at least 1, for example '{base}@10'. {got}")
    return Named(found, int(cut))


def definitions() -> Mapping[str, Definition]:
    """All metrics by base name, in the order of the documentation."""
    return dict(TABLE)


def measure(
    found: Ranking | Predictions, truth: Truth | None, names: Iterable[str], context: Context | None = None
) -> dict[str, Floats]:
    """The values of many metrics by name: float64 [q] (or [n] rows), shape [1] for pooled ones.

    All accuracy metrics together read the lists once.
    """
    context = context or Context()
    chosen = {n: metric(n) for n in names}
    out: dict[str, Floats] = {}
    exact = [m for m in chosen.values() if m.definition.base in accuracy.BASES]
    if isinstance(found, Ranking) and truth is not None:
        wanted = {m.name: (m.definition.base, m.k) for m in exact}
        if wanted:
            out.update(
                zip(wanted, accuracy.values(found, truth, list(wanted.values()), ties=context.ties), strict=True)
            )
    return {n: out[m.name] if m.name in out else m.measure(found, truth, context) for n, m in chosen.items()}


def summarise(
    found: Ranking | Predictions,
    truth: Truth | None,
    names: Iterable[str],
    context: Context | None = None,
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The estimates of many metrics by name: bootstrap over users for means, delete-a-group jackknife for
    pooled."""
    context = context or Context()
    wanted = list(names)
    values = measure(found, truth, wanted, context)
    clusters = found.users if isinstance(found, Predictions) else None
    chosen = {name: metric(name) for name in wanted}
    out: dict[str, Estimate] = {}
    for unit in ("users", "rows") if clusters is None else ():
        own = {n: values[n] for n, m in chosen.items() if m.unit == unit and not m.pooled}
        out.update({n: chosen[n].of_estimate(e) for n, e in estimates(own, seed=seed, unit=unit).items()})
    for name, m in chosen.items():
        if m.pooled:
            out[name] = m.summary(found, truth, context, seed=seed)
        elif clusters is not None:
            out[name] = m.of_values(values[name], seed=seed, clusters=clusters)
    return {name: out[name] for name in wanted}


def _pooled(m: Named, found: Ranking, context: Context, value: float, seed: int) -> Estimate:
    """Interval of a number of all lists together, by leaving out one of 50 random parts of the users in turn.

    A bootstrap would not do: a resample holds 63 % of the users, so its coverage lies below the real one.
    """
    n = len(found)
    parts = min(PARTS, n)
    if parts < 2 or np.isnan(value):
        return Estimate(value, NAN, NAN, n, "too few lists for an interval")
    order = generator(seed, "jackknife").permutation(n)
    members = [order[g::parts] for g in range(parts)]
    of = OF_EXPOSURE[m.definition.base]
    total = exposure(found, m.k, context.num_items)
    without = np.empty(parts)
    for g, own in enumerate(members):
        part = Ranking(found.items[own], found.scores[own])
        without[g] = of(total - exposure(part, m.k, context.num_items))
    error = float(np.sqrt((parts - 1) / parts * ((without - without.mean()) ** 2).sum()))
    half = float(special.stdtrit(parts - 1, 0.975)) * error
    return Estimate(value, value - half, value + half, n, f"jackknife over {parts} parts of the users, 95 %")
