"""Accuracy on relevance from clicks alone: what was rarely shown counts for more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ranking
from oakum.errors import ProtocolError
from oakum.metrics import _places, accuracy
from oakum.splits.protocol import Truth

FLOOR = 0.01


def self_normalised_dcg(
    ranking: Ranking, truth: Truth, propensities: NDArray[np.floating], k: int, *, ties: str = "expected"
) -> NDArray[np.float64]:
    """SNDCG@k: Σ over clicked items in the first k places of w_i / log2(place + 1), over Σ of w_i of all clicked items, [q].

    w_i = 1 / max(θ_i, 0.01), propensities θ float [items]. In [0, 1], NaN without a clicked item; choosing by it on clicks
    is choosing by relevance, where choosing by plain recall prefers what was shown often (Saito et al. 2020).
    """
    items = truth.relevant.items
    if len(items) and items.max() >= len(propensities):
        raise ProtocolError(f"There are propensities of {len(propensities)} items, and item {items.max()} is relevant.")
    weights = (1 / np.maximum(propensities[items], FLOOR)).astype(np.float32)
    found = accuracy.places(ranking, replace(truth, grades=weights), [k], ties=ties).sums[:, 0, _places.GAIN]
    total = np.bincount(truth.relevant.owners(), weights, minlength=len(truth))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, np.clip(found / total, 0.0, 1.0), np.nan)
