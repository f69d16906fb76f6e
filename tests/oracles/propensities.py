"""Inverse propensities by enumeration, and the self-normalised DCG by loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def expected_loss(theta: float, gamma: float, if_one: float, if_zero: float, clip: float = 0.0) -> float:
    """Σ over exposure and relevance of P(O, R) · [(Y/θ) δ¹ + (1 − Y/θ) δ⁰], Y = O R."""
    total = 0.0
    believed = max(theta, clip)
    for shown, relevant in itertools.product((0, 1), (0, 1)):
        chance = (theta if shown else 1 - theta) * (gamma if relevant else 1 - gamma)
        y = shown * relevant
        total += chance * (y / believed * if_one + (1 - y / believed) * if_zero)
    return total


def sndcg(lists: Any, relevant: Any, theta: Any, k: int) -> list[float]:
    """One value a query, without ties."""
    out = []
    for row, wanted in zip(lists, relevant, strict=True):
        weight = lambda i: 1 / max(theta[i], 0.01)
        gain = sum(weight(i) / np.log2(place + 2) for place, i in enumerate(row[:k]) if i in set(wanted))
        out.append(gain / sum(weight(i) for i in set(wanted)) if len(wanted) else float("nan"))
    return out
