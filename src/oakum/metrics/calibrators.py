"""From scores to chances: curves fitted on labelled scores, for whoever has to say how likely a score is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from oakum.errors import DataError, ParameterError

Floats = NDArray[np.float64]
Kind = Literal["platt", "beta", "gaussian", "gamma", "histogram", "isotonic", "linear"]
TINY = 1e-7


@dataclass(frozen=True, eq=False)
class Calibrator:
    """A fitted curve. kind: which; numbers: all that it is, float64 [2, m] (steps: where, how high) or [1, p].

    platt σ(a s + b), a ≥ 0; beta σ(a ln s − b ln(1 − s) + c), a, b ≥ 0, s in [0, 1]; gaussian σ(a s² + b s + c); gamma
    σ(a ln s' + b s' + c), s' = s − least score + ε; histogram: means of bins of equal mass; isotonic: the best rising
    steps (weighted pool-adjacent-violators), straight lines between them; linear a s + b. The first four minimise the
    weighted log loss (Newton steps), the others the weighted squared error and also take ratings for labels.
    """

    kind: Kind
    numbers: Floats

    @classmethod
    def fit(
        cls, scores: Any, labels: Any, weights: Any = None, *, kind: Kind = "isotonic", bins: int = 15
    ) -> Calibrator:
        """From scores [n], labels [n] (chances and 0/1 in [0, 1]; any number for the last three kinds), weights [n] ≥ 0.

        Raises `DataError` where nothing is left to fit on, a number is missing, or a label is no chance.
        """
        s, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
        w = np.ones(len(s)) if weights is None else np.asarray(weights, np.float64)
        if s.ndim != 1 or s.shape != y.shape or s.shape != w.shape:
            raise DataError(f"Scores, labels and weights must be of one length: got {s.shape}, {y.shape}, {w.shape}.")
        if not (np.isfinite(s).all() and np.isfinite(y).all() and np.isfinite(w).all() and (w >= 0).all()):
            raise DataError(
                "A calibrator is fitted on finite scores, labels and weights of 0 or more; leave others out."
            )
        used = w > 0
        if not used.any():
            raise DataError("There is no labelled score to fit a calibrator on (or all weights are 0).")
        s, y, w = s[used], y[used], w[used]
        if kind in _FEATURES and not ((y >= 0) & (y <= 1)).all():
            raise DataError(
                f"The calibrator '{kind}' takes labels in [0, 1]; cut ratings at a threshold, or use 'linear'."
            )
        if kind in _FEATURES:
            return cls(kind, _logistic(kind, s, y, w))
        if kind == "linear":
            mean = np.average(s, weights=w)
            spread = float(np.average((s - mean) ** 2, weights=w))
            slope = float(np.average((s - mean) * y, weights=w)) / spread if spread > 0 else 0.0
            return cls(kind, np.array([[slope, float(np.average(y, weights=w)) - slope * mean]]))
        if kind == "isotonic":
            return cls(kind, _isotonic(s, y, w))
        if kind == "histogram":
            return cls(kind, _histogram(s, y, w, bins))
        raise ParameterError(
            f"There is no calibrator '{kind}'; there are {', '.join((*_FEATURES, 'histogram', 'isotonic', 'linear'))}."
        )

    def __call__(self, scores: Any) -> Floats:
        """Calibrated values, of the shape of the scores; NaN stays NaN."""
        s = np.asarray(scores, np.float64)
        n = self.numbers
        if self.kind == "linear":
            return np.asarray(n[0, 0] * s + n[0, 1])
        if self.kind == "isotonic":
            return np.asarray(np.where(np.isnan(s), np.nan, np.interp(s, n[0], n[1])))
        if self.kind == "histogram":
            return np.asarray(np.where(np.isnan(s), np.nan, n[1][np.searchsorted(n[0][1:], s, side="right")]))
        x = _FEATURES[self.kind](s, n[0, -1])
        return _sigmoid(x @ n[0, : x.shape[-1]])


def _sigmoid(x: Any) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64))))


def _plain(s: Floats, least: float) -> Floats:
    return np.stack([s, np.ones_like(s)], -1)


def _beta(s: Floats, least: float) -> Floats:
    if ((s < 0) | (s > 1)).any():
        raise DataError("The calibrator 'beta' takes scores in [0, 1]; use 'platt' or 'isotonic' for others.")
    s = np.clip(s, TINY, 1 - TINY)
    return np.stack([np.log(s), -np.log1p(-s), np.ones_like(s)], -1)


def _gaussian(s: Floats, least: float) -> Floats:
    return np.stack([s * s, s, np.ones_like(s)], -1)


def _gamma(s: Floats, least: float) -> Floats:
    s = np.maximum(s - least, 0.0) + 1e-3
    return np.stack([np.log(s), s, np.ones_like(s)], -1)


_FEATURES: dict[str, Callable[[Floats, float], Floats]] = {
    "platt": _plain,
    "beta": _beta,
    "gaussian": _gaussian,
    "gamma": _gamma,
}
_RISING = {"platt": (0,), "beta": (0, 1)}  # slopes that may not fall


def _logistic(kind: str, s: Floats, y: Floats, w: Floats) -> Floats:
    """Weights of the features, float64 [1, p + 1]; the least score is kept behind them."""
    least = float(s.min())
    x = _FEATURES[kind](s, least)
    kept = list(range(x.shape[1]))
    while True:
        found = newton(x[:, kept], y, w)
        wrong = [k for k, v in zip(kept, found, strict=True) if k in _RISING.get(kind, ()) and v < 0]
        if not wrong:
            break
        kept = [k for k in kept if k not in wrong]
    out = np.zeros((1, x.shape[1] + 1))
    out[0, kept] = found
    out[0, -1] = least
    return out


def newton(x: Floats, y: Floats, w: Floats, *, ridge: float = 1e-6) -> Floats:
    """Weighted logistic regression, float64 [p]: x [n, p] with ones in the last column. Features are standardised and
    held by a ridge, so that labels that a score separates have an answer too."""
    total = w.sum()
    mean, scale = (
        np.average(x, axis=0, weights=w),
        np.sqrt(np.average((x - np.average(x, axis=0, weights=w)) ** 2, axis=0, weights=w)),
    )
    mean[-1], scale = 0.0, np.where(scale > 1e-12, scale, 1.0)
    z = (x - mean) / scale
    rate = np.clip(np.average(y, weights=w), 1e-9, 1 - 1e-9)
    at = np.zeros(x.shape[1])
    at[-1] = np.log(rate / (1 - rate))
    hold = np.full(x.shape[1], ridge)

    def cost(a: Floats) -> float:
        v = z @ a
        return float(np.sum(w * (np.logaddexp(0, v) - y * v)) / total + 0.5 * (hold * a * a).sum())

    now = cost(at)
    for _ in range(100):
        p = _sigmoid(z @ at)
        slope = z.T @ (w * (p - y)) / total + hold * at
        bend = (z * (w * p * (1 - p))[:, None]).T @ z / total + np.diag(hold)
        step = np.linalg.solve(bend, slope)
        size = 1.0
        while (new := cost(at - size * step)) > now and size > 1e-6:
            size /= 2
        if new > now or np.abs(size * step).max() < 1e-10:
            break
        at, now = at - size * step, new
    out = at / scale
    out[-1] -= float((out[:-1] * mean[:-1]).sum())
    return out


def _isotonic(s: Floats, y: Floats, w: Floats) -> Floats:
    at, code = np.unique(s, return_inverse=True)
    weight = np.bincount(code, w)
    mean = np.bincount(code, w * y) / weight
    risen = optimize.isotonic_regression(mean, weights=weight).x
    ends = np.r_[True, np.diff(risen) > 0] | np.r_[np.diff(risen) > 0, True]  # first and last score of each step
    return np.stack([at[ends], risen[ends]])


def _histogram(s: Floats, y: Floats, w: Floats, bins: int) -> Floats:
    if bins < 1:
        raise ParameterError(f"The number of bins must be at least 1. Got {bins!r} instead.")
    order = np.argsort(s, kind="stable")
    mass = np.cumsum(w[order]) / w.sum()
    cuts = np.unique(s[order][np.searchsorted(mass, np.arange(1, bins) / bins)])
    code = np.searchsorted(cuts, s, side="right")
    weight = np.bincount(code, w, minlength=len(cuts) + 1)
    mean = np.bincount(code, w * y, minlength=len(cuts) + 1) / np.maximum(weight, 1e-300)
    kept = weight > 0
    starts = np.r_[-np.inf, cuts]
    return np.stack([starts[kept], mean[kept]])
