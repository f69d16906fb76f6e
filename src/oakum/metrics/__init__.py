"""Numbers with intervals: accuracy, beyond accuracy, stability, robustness, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ranking
from oakum.errors import ParameterError, nearest
from oakum.metrics import accuracy
from oakum.metrics.estimate import Estimate
from oakum.split.protocol import Truth

__all__ = ["Estimate", "measure", "parse", "summarise"]


def parse(name: str) -> tuple[str, int]:
    """'ndcg@10' → ('ndcg', 10); a wrong name suggests the nearest."""
    base, _, cut = name.partition("@")
    if base not in accuracy.METRICS:
        raise ParameterError(f"There is no metric '{base}'.{nearest(base, accuracy.METRICS)}")
    if not cut.isdigit() or int(cut) < 1:
        raise ParameterError(f"The metric '{name}' needs a cut-off, as in '{base}@10'.")
    return base, int(cut)


def measure(ranking: Ranking, truth: Truth, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Metrics by name, one value a user of `truth` (rows aligned with the ranking).

    Raises `ParameterError` for an unknown name or a cut-off beyond the length of the lists.
    """
    out = {}
    counts = truth.relevant.lengths
    hits: dict[int, NDArray[np.float64]] = {}
    for name in names:
        base, k = parse(name)
        if k > ranking.k:
            raise ParameterError(f"'{name}' needs lists of {k} items; these have {ranking.k}.")
        if k not in hits:
            hits[k] = accuracy.gains(ranking, truth.relevant, k)
        out[name] = accuracy.METRICS[base](hits[k], counts)
    return out


def summarise(ranking: Ranking, truth: Truth, names: Sequence[str], *, seed: int = 0) -> dict[str, Estimate]:
    """Metrics by name, each with its interval over users."""
    from oakum.metrics.statistics import estimate

    return {name: estimate(values, seed=seed) for name, values in measure(ranking, truth, names).items()}
