"""What every index is: vectors made comparable, filters made ready, answers that say how they were found."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ids, Ragged, Ranking
from oakum.errors import DataError, ParameterError, nearest
from oakum.kernels.lists import packed
from oakum.kernels.quantised import APART, STEPS, quantised, topk_quantised
from oakum.kernels.select import tie_ranks
from oakum.kernels.topk import ALL, topk
from oakum.seeds import generator

Floats = NDArray[np.float32]
Metric = Literal["dot", "cosine", "l2"]
KEPT_BYTES = 1 << 25  # rows of a filter that are kept beside it for the next request
REMEMBERED = 16  # filters that stay ready
SAMPLE = 192  # passing items that walks may start from


@dataclass(frozen=True, slots=True, eq=False)
class Found(Ranking):
    """A ranking and how it came about. plan: the way of search. passing: items the filter lets through.

    exact bool [q]: rows proven to be the best. recall: what this plan reached when it was measured (1 where exact, NaN
    where nobody measured it).
    """

    plan: str = ""
    passing: int = 0
    exact: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    recall: float = 1.0


@runtime_checkable
class Index(Protocol):
    """Finds the items of the highest score (dot product, cosine, or minus the squared distance) for query vectors."""

    kind: ClassVar[str]
    geometry: Geometry

    def search(
        self, vectors: Floats, k: int, *, where: Filter | Passing | None = None, exclude: Ragged | None = None
    ) -> Found:
        """The `k` best items of each row of `vectors` [q, d]; fewer only where fewer pass.

        where: what may be shown to all (a `Passing` made by `geometry.passing` saves making it ready again). exclude:
        one row of items a request. A row of NaN finds nothing.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What was chosen and measured when it was built, as JSON."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays that searching needs beside the vectors."""
        ...


@dataclass(frozen=True, eq=False)
class Passing:
    """A filter made ready for many requests. rows int32: the places of passing items among those that have a vector,
    rising; total: how many have one."""

    rows: NDArray[np.int32]
    total: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def share(self) -> float:
        """Selectivity: the share of items that pass."""
        return len(self.rows) / max(1, self.total)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Which pass, bool [total]."""
        out = np.zeros(self.total, bool)
        out[self.rows] = True
        return out

    @cached_property
    def bits(self) -> NDArray[np.int64]:
        """Which pass, a bit each: see `packed`."""
        return np.asarray(packed(self.rows, self.total))

    @cached_property
    def sample(self) -> NDArray[np.int32]:
        """A few of them, drawn once: where walks begin."""
        if len(self.rows) <= SAMPLE:
            return self.rows
        drawn = generator(0, "starts").choice(len(self.rows), SAMPLE, replace=False)
        return self.rows[np.sort(drawn)]

    @cached_property
    def kept(self) -> dict[Any, Any]:
        """What searching prepared for this filter, by name (or by the index that did)."""
        return {}


class Geometry:
    """Vectors under one measure, with everything reduced to "the largest dot product".

    cosine: rows on the unit sphere. l2: one more column, −|x|²/2, against 1 in the query. `space` turns the same order into
    an order of distances (dot: one more column completes all rows to one length), which is what graphs and lists are built
    on. Items with NaN (and, for cosine, zeros) have no place and are never found. Memory 4 n d bytes beside the vectors.
    """

    def __init__(self, vectors: Floats, metric: Metric = "dot") -> None:
        if metric not in get_args(Metric):
            raise ParameterError(f"There is no measure '{metric}'.{nearest(metric, get_args(Metric))}")
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise DataError(f"An index needs vectors [items, d]. Got an array of shape {vectors.shape}.")
        self.metric: Metric = metric
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.num_items, self.dim = self.vectors.shape
        placed = np.isfinite(self.vectors).all(1)
        if metric == "cosine":
            placed &= self.vectors.any(1)
        self.codes: Ids = np.flatnonzero(placed).astype(np.int32)
        self.whole = len(self.codes) == self.num_items
        self.ties: Ids = tie_ranks(self.num_items)[self.codes]
        rows = self.vectors if self.whole else self.vectors[self.codes]
        self.table: Floats = rows
        if metric == "cosine":
            self.table = _unit(rows)
        elif metric == "l2":
            half = -0.5 * np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
            self.table = np.concatenate([rows, half[:, None].astype(np.float32)], 1)
        self.size = len(self.table)
        self._remembered: dict[tuple[int, int], tuple[Any, Passing]] = {}
        self._lock = threading.Lock()
        if not self.size:
            raise DataError("An index needs at least one item with a vector; all rows are empty or NaN.")

    # --- distances --------------------------------------------------------------------------------------------------
    @cached_property
    def length(self) -> float:
        """The largest length of a row."""
        return float(np.sqrt(np.einsum("nd,nd->n", self.table, self.table, dtype=np.float64).max()))

    @cached_property
    def space(self) -> Floats:
        """Rows whose distances to `aims` rise as scores fall, float32 [size, d or d + 1]."""
        if self.metric == "cosine":
            return self.table
        if self.metric == "l2":
            return np.ascontiguousarray(self.table[:, :-1])
        rest = self.length**2 - np.einsum("nd,nd->n", self.table, self.table, dtype=np.float64)
        return np.concatenate([self.table, np.sqrt(np.maximum(rest, 0))[:, None].astype(np.float32)], 1)

    def asked(self, vectors: Floats) -> Floats:
        """Queries [q, d] as rows that the table is multiplied with."""
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ParameterError(f"This index holds vectors of width {self.dim}. Got queries of shape {vectors.shape}.")
        out = np.ascontiguousarray(vectors, np.float32)
        if self.metric == "cosine":
            return _unit(out)
        if self.metric == "l2":
            return np.concatenate([out, np.ones((len(out), 1), np.float32)], 1)
        return out

    def aims(self, asked: Floats) -> tuple[Floats, Floats, Floats]:
        """Queries in `space`, and (offset, factor) [q] with squared distance = offset − 2 · factor · score."""
        one = np.ones(len(asked), np.float32)
        if self.metric == "cosine":
            return asked, 2 * one, one
        if self.metric == "l2":
            aim = np.ascontiguousarray(asked[:, :-1])
            return aim, np.einsum("qd,qd->q", aim, aim), one
        # The order of dot products does not depend on the query's length: give it that of the longest item.
        factor = np.float32(self.length) / np.maximum(np.linalg.norm(asked, axis=1), np.float32(1e-30))
        aim = np.concatenate([asked * factor[:, None], np.zeros((len(asked), 1), np.float32)], 1)
        return aim.astype(np.float32), np.full(len(asked), 2 * self.length**2, np.float32), factor.astype(np.float32)

    @cached_property
    def place_of(self) -> Ids:
        """The row of each item in the table, int32 [items]; -1 where it has none."""
        out = np.full(self.num_items, -1, np.int32)
        out[self.codes] = np.arange(self.size, dtype=np.int32)
        return out

    # --- filters ----------------------------------------------------------------------------------------------------
    def passing(self, where: Filter | Passing | None) -> Passing | None:
        """The filter made ready; None where everything passes. Filters over read-only arrays are remembered."""
        if where is None or isinstance(where, Passing) or (where.allow is None and where.deny is None):
            return where if isinstance(where, Passing) else None
        arrays = (where.allow, where.deny)
        if any(a is not None and a.flags.writeable for a in arrays):
            return self._ready(where)
        key = (id(where.allow), id(where.deny))
        with self._lock:
            held = self._remembered.pop(key, None) or (arrays, self._ready(where))
            self._remembered[key] = held  # the arrays are held too, so their identities stay theirs
            while len(self._remembered) > REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
        return held[1]

    def _ready(self, where: Filter) -> Passing:
        for name, codes in (("allow", where.allow), ("deny", where.deny)):
            self._inside(codes, name)
        if where.deny is None and where.allow is not None:  # few items: no look at all the others
            rows = np.array(where.allow, np.int32)
            if not (np.diff(rows) > 0).all():
                rows = np.unique(rows)
            if not self.whole:
                rows = self.place_of[rows]
                rows = rows[rows >= 0]
            return Passing(rows, self.size)
        shut = where.closed(self.num_items)
        assert shut is not None
        open_ = ~shut if self.whole else ~shut[self.codes]
        return Passing(np.flatnonzero(open_).astype(np.int32), self.size)

    def excluded(self, exclude: Ragged | None) -> Ragged | None:
        """Excluded items as rows of the table."""
        if exclude is None or not len(exclude.items):
            return None
        self._inside(exclude.items, "exclude")
        if self.whole:
            return exclude
        rows = self.place_of[exclude.items]
        known = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(known)])[exclude.offsets].astype(np.int64)
        return Ragged(offsets, rows[known])

    def _inside(self, codes: Ids | None, name: str) -> None:
        if codes is not None and len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < self.num_items:
            raise ParameterError(
                f"'{name}' names an item outside 0 … {self.num_items - 1}, which is all this index holds."
            )

    # --- exact answers ----------------------------------------------------------------------------------------------
    def best(self, asked: Floats, k: int, passing: Passing | None, exclude: Ragged | None) -> tuple[Ids, Floats]:
        """The exact answer: rows of the table int32 [q, k] (-1 pads) and scores, best first.

        Time d a request and passing row. A few requests read the rows as bytes first. Under a filter the rows are read where
        they lie; from its second request on, few ones lie side by side, kept with the filter.
        """
        rows = ALL if passing is None else passing.rows
        if len(asked) <= APART and self.dim >= STEPS and np.isfinite(asked).all():
            codes = self._beside(passing, "bytes", self.bytes)
            beside = codes is not self.bytes
            return topk_quantised(
                asked, self.table, codes, k, exclude=exclude, rows=rows, beside=beside, ties=self.ties
            )
        table = self._beside(passing, "table", self.table)
        return topk(asked, table, k, exclude=exclude, rows=rows, beside=table is not self.table, ties=self.ties)

    @cached_property
    def bytes(self) -> NDArray[np.int8]:
        """The rows of the table as bytes, int8 [size, 8 + d or more]; see `quantised`."""
        return quantised(self.table)

    def _beside(self, passing: Passing | None, name: str, table: NDArray[Any]) -> NDArray[Any]:
        """The rows of a table that pass, side by side, where they are few and asked for again; else the table."""
        if passing is None:
            return table
        kept = passing.kept
        if name in kept:
            return np.asarray(kept[name])
        if f"asked {name}" in kept and len(passing) * table.shape[1] * table.itemsize <= KEPT_BYTES:
            kept[name] = table[passing.rows]
            return np.asarray(kept[name])
        kept[f"asked {name}"] = True
        return table

    def ordered(self, nodes: Ids, scores: Floats, k: int, exclude: Ragged | None) -> tuple[Ids, Floats]:
        """The `k` best of unordered rows of the table [q, c] (-1 pads) without those excluded, ties as everywhere."""
        bad = nodes < 0
        if exclude is not None:
            row = np.arange(len(nodes), dtype=np.int64)[:, None] * self.size  # one number a (request, item)
            bad |= np.isin(row + nodes, exclude.owners() * self.size + exclude.items)
        scores = np.where(bad, -np.inf, scores)
        order = np.lexsort((self.ties[np.maximum(nodes, 0)], -scores), axis=1)[:, :k]
        items = np.full((len(nodes), k), -1, np.int32)
        values = np.full((len(nodes), k), np.nan, np.float32)
        width = order.shape[1]
        gone = np.take_along_axis(bad, order, 1)
        items[:, :width] = np.where(gone, -1, np.take_along_axis(nodes, order, 1))
        values[:, :width] = np.where(gone, np.nan, np.take_along_axis(scores, order, 1))
        return items, values

    def answer(
        self,
        asked: Floats,
        items: Ids,
        scores: Floats,
        plan: str,
        passing: Passing | None,
        exact: NDArray[np.bool_] | bool,
        recall: float = 1.0,
    ) -> Found:
        """Rows of the table as item codes, scores in the measure that was asked for."""
        if self.metric == "l2":
            own = np.einsum("qd,qd->q", asked[:, :-1], asked[:, :-1])
            scores = np.minimum(2 * scores - own[:, None], 0)
        codes = items if self.whole else np.where(items >= 0, self.codes[np.maximum(items, 0)], -1).astype(np.int32)
        proven = np.broadcast_to(np.asarray(exact, bool), (len(asked),)).copy()
        return Found(codes, scores, None, plan, self.size if passing is None else len(passing), proven, recall)


def recall_of(found: Ids, truth: Ids) -> float:
    """Share of the true items that were found, over all rows; a list that ends early misses the rest. NaN without any."""
    total = int((truth >= 0).sum())
    if not total:
        return float("nan")
    hits = sum(int(np.isin(t[t >= 0], f).sum()) for f, t in zip(found, truth, strict=True))
    return hits / total


def _unit(x: Floats) -> Floats:
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.ascontiguousarray(np.where(lengths > 0, x / lengths, np.nan), np.float32)
