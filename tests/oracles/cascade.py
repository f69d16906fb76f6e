"""The graph of interactions as plain sets, and breadth-first search from every row. Slow and obvious."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence


def edges(users: Sequence[int], items: Sequence[int], length: int = 0) -> list[set[int]]:
    """The rows each row leads to, rows in order of time; length > 0 keeps the last so many rows of a person or an item."""
    n = len(users)
    out: list[set[int]] = [set() for _ in range(n)]
    for codes in (users, items):
        for code in set(codes):
            mine = [r for r in range(n) if codes[r] == code]
            mine = mine[-length:] if length else mine
            for a, b in itertools.pairwise(mine):
                out[a].add(b)
    return out


def descendants(graph: list[set[int]], row: int) -> int:
    """How many rows are reached from one, itself included."""
    seen, queue = {row}, deque([row])
    while queue:
        for further in graph[queue.popleft()] - seen:
            seen.add(further)
            queue.append(further)
    return len(seen)
