"""Whether a score can be read as a chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def expected_calibration_error(
    chances: NDArray[np.floating], labels: NDArray[np.floating], *, bins: int = 10, equal: str = "size"
) -> float:
    """Σ_b (n_b / n) |mean chance − mean label| over bins of equal size (default) or of equal width."""
    if equal == "size":
        edges = np.quantile(chances, np.linspace(0, 1, bins + 1)[1:-1])
    else:
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    which = np.searchsorted(edges, chances, side="right")
    n = np.bincount(which, minlength=bins)
    said = np.bincount(which, chances, minlength=bins)
    seen = np.bincount(which, labels, minlength=bins)
    return float(np.abs(said - seen)[n > 0].sum() / max(1, len(chances)))


def brier(chances: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Mean squared distance of chance and outcome."""
    return float(np.mean((np.asarray(chances) - labels) ** 2))


def log_loss(chances: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Mean −log of the chance given to what happened; chances are kept 1e-15 from 0 and 1."""
    p = np.clip(chances, 1e-15, 1 - 1e-15)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def auc(scores: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Chance that a positive outscores a negative, ties a half; NaN where one class is absent."""
    from scipy.stats import rankdata

    positive = np.asarray(labels) > 0
    a, b = int(positive.sum()), int((~positive).sum())
    if not a or not b:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - a * (a + 1) / 2) / (a * b))
