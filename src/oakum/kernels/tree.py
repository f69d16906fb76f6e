"""A small classification tree over a few numbers a row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tree:
    """feature: int64 [nodes], -1 at a leaf; cut: float64 [nodes]; left, right: int64 [nodes]; share: float64 [nodes], the
    smoothed weight of ones (n₁ + 1) / (n + 2) of what reached a node in training."""

    feature: NDArray[np.int64]
    cut: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    share: Floats

    def predict(self, x: Floats) -> Floats:
        """The share of the leaf that each row [n, f] falls into, float64 [n]."""
        at = np.zeros(len(x), np.int64)
        while (inner := self.feature[at] >= 0).any():
            rows = np.flatnonzero(inner)
            node = at[rows]
            goes = x[rows, self.feature[node]] <= self.cut[node]
            at[rows] = np.where(goes, self.left[node], self.right[node])
        return self.share[at]


def grow(x: Floats, y: NDArray[np.bool_], *, depth: int = 4, least: int = 5, balanced: bool = True) -> Tree:
    """Split by the largest fall of the Gini impurity, `depth` levels at most, `least` rows a leaf at least.

    x: float64 [n, f] without NaN; y: bool [n]. balanced: both classes weigh the same in all. The order of the rows changes
    nothing: cuts lie midway between neighbouring values, ties go to the first feature and the lowest cut. O(depth · f · n log n).
    """
    ones = max(1, int(y.sum()))
    weight = np.where(y, len(y) / (2 * ones), len(y) / (2 * max(1, len(y) - ones))) if balanced else np.ones(len(y))
    nodes: list[tuple[int, float, int, int, float]] = []

    def add(rows: NDArray[np.int64], left_levels: int) -> int:
        number = len(nodes)
        total, hit = float(weight[rows].sum()), float(weight[rows][y[rows]].sum())
        nodes.append((-1, 0.0, -1, -1, (hit + 1) / (total + 2)))
        found = _best(x[rows], y[rows], weight[rows], least) if left_levels and 0 < hit < total else None
        if found is not None:
            feature, cut = found
            goes = x[rows, feature] <= cut
            low, high = add(rows[goes], left_levels - 1), add(rows[~goes], left_levels - 1)
            nodes[number] = (feature, cut, low, high, nodes[number][4])
        return number

    add(np.arange(len(x)), depth)
    columns = list(zip(*nodes, strict=True))
    return Tree(
        np.array(columns[0], np.int64), np.array(columns[1], np.float64), np.array(columns[2], np.int64),
        np.array(columns[3], np.int64), np.array(columns[4], np.float64),
    )  # fmt: skip


def _best(x: Floats, y: NDArray[np.bool_], weight: Floats, least: int) -> tuple[int, float] | None:
    best, chosen = 1e-9, None
    total, hit = weight.sum(), weight[y].sum()
    gini = lambda w, h: w - (h**2 + (w - h) ** 2) / np.maximum(w, 1e-12)  # weight times impurity
    for feature in range(x.shape[1]):
        order = np.argsort(x[:, feature], kind="stable")
        values = x[order, feature]
        w, h = np.cumsum(weight[order])[:-1], np.cumsum(np.where(y[order], weight[order], 0.0))[:-1]
        fall = gini(total, hit) - gini(w, h) - gini(total - w, hit - h)
        allowed = values[1:] > values[:-1]
        allowed[: least - 1] = allowed[len(allowed) - least + 1 :] = False
        if not allowed.any():
            continue
        fall = np.where(allowed, fall, -np.inf)
        # The first of those that are equal up to rounding: sums in another order must not choose another cut.
        at = int(np.flatnonzero(fall >= fall.max() - 1e-9 * total)[0])
        if fall[at] > best * (1 + 1e-9) + 1e-9 * total:
            best, chosen = float(fall[at]), (feature, float((values[at] + values[at + 1]) / 2))
    return chosen
