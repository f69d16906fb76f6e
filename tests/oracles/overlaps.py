"""Agreement of two lists with sets, depth by depth. Slow and obvious."""

from __future__ import annotations

from collections.abc import Sequence


def overlap(a: Sequence[int], b: Sequence[int], p: float) -> dict[str, float]:
    """All similarities of two lists without pads, at least one of them not empty."""
    short, long = sorted((len(a), len(b)))
    x = {d: len(set(a[:d]) & set(b[:d])) for d in range(1, long + 1)}
    tail = sum(x[short] * (d - short) / (short * d) * p**d for d in range(short + 1, long + 1)) if short else 0.0
    head = sum(x[d] / d * p**d for d in x)
    rest = (x[long] - x[short]) / long + x[short] / short if short else 0.0
    truncated = (1 - p) * sum(p ** (d - 1) * x[d] / d for d in x)
    return {
        "rbo": (1 - p) / p * (head + tail) + rest * p**long,
        "frbo": truncated / (1 - p**long),
        "average_overlap": sum(x[d] / d for d in x) / long,
        "jaccard": len(set(a) & set(b)) / len(set(a) | set(b)),
        "churn": 1 - len(set(a) & set(b)) / long,
    }
