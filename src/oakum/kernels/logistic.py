"""Logistic regression by Newton's method: few columns, an exact optimum, no randomness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sigmoid(z: Floats) -> Floats:
    """1 / (1 + exp(−z)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))


def logistic(x: Floats, labels: NDArray[Any], *, l2: float = 1e-3, steps: int = 50) -> Floats:
    """w that minimises Σ log(1 + exp(x·w)) − y x·w + l2/2 |w|². [n, p], [n] of 0 and 1 -> [p].

    l2 > 0 keeps the optimum finite where columns separate the labels or repeat one another. Cost: steps · n · p².
    """
    x, y = np.asarray(x, np.float64), np.asarray(labels, np.float64)
    w = np.zeros(x.shape[1])
    ridge = l2 * np.eye(x.shape[1])

    def cost(w: Floats) -> float:
        z = x @ w
        return float(np.logaddexp(0, z).sum() - y @ z + 0.5 * l2 * w @ w)

    now = cost(w)
    for _ in range(steps):
        p = sigmoid(x @ w)
        slope = x.T @ (p - y) + l2 * w
        move = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, slope)
        size = 1.0
        while (then := cost(w - size * move)) > now and size > 1e-6:
            size /= 2
        w, gain, now = w - size * move, now - then, then
        if gain <= 1e-10 * max(1.0, abs(now)):
            break
    return w
