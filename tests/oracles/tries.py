"""Codes, one by one: what a trie allows, what beams keep, what a code scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Code = tuple[int, ...]


def children(codes: Sequence[Code], prefix: Code) -> list[int]:
    """The tokens that may follow a prefix, rising."""
    return sorted({c[len(prefix)] for c in codes if c[: len(prefix)] == prefix})


def beams(
    codes: Sequence[Code], log_prob: Callable[[Code, int], float], first: int, each: int, keep: int
) -> list[tuple[float, Code]]:
    """Beam search over prefixes in Python lists; log_prob(prefix, token)."""
    held: list[tuple[float, Code]] = [(0.0, ())]
    for depth in range(len(codes[0])):
        grown = []
        for score, prefix in held:
            found = [(score + log_prob(prefix, t), (*prefix, t)) for t in children(codes, prefix)]
            grown += sorted(found, key=lambda x: (-x[0], x[1]))[: first if depth == 0 else each]
        held = sorted(grown, key=lambda x: (-x[0], x[1]))[:keep]
    return held
