"""Crosses: pairs of values of two fields as values of their own. No torch here: `nn.fields` turns them into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.fields import UNKNOWN, Layout
from oakum.errors import ParameterError

Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two categorical fields: their names, the slots of a row that hold them, and the rows of their tables."""

    names: tuple[str, str]
    slots: tuple[int, int]
    rows: tuple[int, int]

    @property
    def cells(self) -> int:
        """How many pairs of codes there are."""
        return self.rows[0] * self.rows[1]


def pairs_of(layout: Layout) -> tuple[Pair, ...]:
    """All pairs of categorical fields, in the order (0, 1), (0, 2), ... (1, 2), ...; lists, words and numbers are in none."""
    at = np.concatenate([[0], np.cumsum([f.width for f in layout.fields])]).astype(int).tolist()
    own = [i for i, f in enumerate(layout.fields) if f.kind == "categorical"]
    fields = layout.fields
    out = tuple(
        Pair((fields[i].name, fields[j].name), (at[i], at[j]), (fields[i].rows, fields[j].rows))
        for n, i in enumerate(own)
        for j in own[n + 1 :]
    )
    if sum(p.cells for p in out) >= 1 << 62:
        raise ParameterError("These fields have more pairs of values than can be numbered; name fewer with 'fields'.")
    return out


def learn_crosses(codes: NDArray[Any], pairs: Sequence[Pair], *, min_count: int, largest: int) -> list[Keys]:
    """For each pair the crosses that get a code of their own, ascending int64 keys: first code · rows of the second + second.

    codes: int [n, slots] of training rows. Those in `min_count` rows or more, and of them at most `largest`, the most
    frequent (ties: lower keys). A value that is unknown or rare in its own field is in no cross; "missing" is a value. Time
    pairs · n log n.
    """
    out = []
    for pair in pairs:
        a, b = (codes[:, s].astype(np.int64) for s in pair.slots)
        keys, counts = np.unique((a * pair.rows[1] + b)[(a != UNKNOWN) & (b != UNKNOWN)], return_counts=True)
        keys, counts = keys[counts >= min_count], counts[counts >= min_count]
        if len(keys) > largest:
            keys = np.sort(keys[np.argsort(-counts, kind="stable")[:largest]])
        out.append(keys)
    return out


def join_keys(keys: Sequence[Keys], pairs: Sequence[Pair]) -> Keys:
    """The crosses of several pairs as one ascending array: those of a pair are shifted by the cells of all pairs before."""
    shift = np.concatenate([[0], np.cumsum([p.cells for p in pairs])]).astype(np.int64)
    return np.concatenate([np.empty(0, np.int64), *(k + shift[p] for p, k in enumerate(keys))])


def part_keys(joined: Keys, pairs: Sequence[Pair]) -> list[Keys]:
    """The inverse of `join_keys`."""
    shift = np.concatenate([[0], np.cumsum([p.cells for p in pairs])]).astype(np.int64)
    cut = np.searchsorted(joined, shift)
    return [joined[a:b] - s for a, b, s in zip(cut[:-1], cut[1:], shift[:-1], strict=True)]
