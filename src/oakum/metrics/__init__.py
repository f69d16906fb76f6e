"""Numbers with their uncertainty: accuracy and beyond, fairness, calibration, stability, robustness.

Names are loaded when first used, so that importing `oakum.metrics` costs nothing. The function that puts an
interval on a mean is `oakum.metrics.statistics.estimate` (`oakum.metrics.estimate` is the module of the
type).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oakum.metrics.accuracy import measure_scores
    from oakum.metrics.calibration import Predictions
    from oakum.metrics.context import Context
    from oakum.metrics.estimate import Estimate
    from oakum.metrics.groups import Groups
    from oakum.metrics.over_seeds import difference_of, pooled, seed_noise
    from oakum.metrics.registry import Metric, definitions, measure, metric, summarise
    from oakum.metrics.statistics import Comparison, compare, compare_all, proportion

_HOMES = {
    "Comparison": "statistics",
    "Context": "context",
    "Estimate": "estimate",
    "Groups": "groups",
    "Metric": "registry",
    "Predictions": "calibration",
    "compare": "statistics",
    "compare_all": "statistics",
    "definitions": "registry",
    "difference_of": "over_seeds",
    "measure": "registry",
    "measure_scores": "accuracy",
    "metric": "registry",
    "pooled": "over_seeds",
    "proportion": "statistics",
    "seed_noise": "over_seeds",
    "summarise": "registry",
}

__all__ = [
    "Comparison",
    "Context",
    "Estimate",
    "Groups",
    "Metric",
    "Predictions",
    "compare",
    "compare_all",
    "definitions",
    "difference_of",
    "measure",
    "measure_scores",
    "metric",
    "pooled",
    "proportion",
    "seed_noise",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"oakum.metrics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'oakum.metrics' has no attribute '{name}'")
