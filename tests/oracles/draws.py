"""Negatives drawn one at a time, by the formula that fixes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oakum.sampling.negatives import TRIES

WORD = (1 << 64) - 1


def mixed(x: int) -> int:
    """splitmix64's step."""
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def drawn(
    key: int, users: Sequence[int], n: int, num_items: int, owned: dict[int, set[int]], cumulative: Sequence[float] = ()
) -> list[list[int]]:
    """Draw a of slot s is hash(hash(key ^ hash(s)) + a); the first that the user lacks counts."""
    out = []
    for r, user in enumerate(users):
        row = []
        for c in range(n):
            slot, item = mixed(key ^ mixed(r * n + c)), 0
            for attempt in range(TRIES):
                share = (mixed((slot + attempt) & WORD) >> 11) * 2.0**-53
                if len(cumulative):
                    found = np.searchsorted(cumulative, share * cumulative[-1], side="right")
                    item = min(int(found), num_items - 1)
                else:
                    item = int(share * num_items)
                if item not in owned.get(user, set()):
                    break
            row.append(item)
        out.append(row)
    return out
