"""A layered graph of near neighbours, walked from far to near.

The graph is built by faiss (the extra `index`: wheels for every platform, one dependency; hnswlib has no wheels and usearch
no filters in Python). Its arrays are taken over at once, so searching, saving and loading need no faiss and nothing is
ever read in a library's own format.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ids, Ragged
from oakum.errors import MissingExtra, ModelFileError, ParameterError
from oakum.index.base import Floats, Found, Geometry, Metric, Passing
from oakum.index.exact import placed
from oakum.kernels.walk import BLIND, INSIDE, walk

Crossing = Literal["blind", "inside"]
WIDEST = 4096  # a beam that would be wider is an exact scan


class HNSW:
    """Approximate search in about ef · neighbours products a request (Malkov & Yashunin 2018).

    Filters: "blind" crosses all items and keeps those that pass (well where most pass); "inside" keeps to passing items,
    reads through the others to their neighbours and starts from a sample of what passes (ACORN-1, Patel et al. 2024).
    neighbours: links an item and layer (twice as many at the bottom). ef_build, ef: width of the beam when building and when
    asking. The same vectors, seed of the library and one thread give the same graph. Memory 8 · neighbours bytes an item.
    """

    kind: ClassVar[str] = "hnsw"

    def __init__(
        self,
        vectors: Floats | Geometry,
        metric: Metric = "dot",
        *,
        neighbours: int = 16,
        ef_build: int = 100,
        ef: int = 64,
        threads: int = 1,
        graph: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        if not 2 <= neighbours <= 256:
            raise ParameterError(f"neighbours must be from 2 to 256. Got {neighbours}.")
        if ef < 1 or ef_build < 1:
            raise ParameterError(f"ef and ef_build must be at least 1. Got {ef} and {ef_build}.")
        self.geometry = vectors if isinstance(vectors, Geometry) else Geometry(vectors, metric)
        self.neighbours, self.ef_build, self.ef = neighbours, ef_build, ef
        made = _built(self.geometry.space, neighbours, ef_build, threads) if graph is None else graph
        self.graph: dict[str, NDArray[Any]] = dict(made)
        self._stamps: list[tuple[NDArray[np.int32], int]] = []
        self._lock = threading.Lock()

    def search(
        self,
        vectors: Floats,
        k: int,
        *,
        where: Filter | Passing | None = None,
        exclude: Ragged | None = None,
        ef: int | None = None,
        crossing: Crossing = "blind",
    ) -> Found:
        """See `Index.search`; rows that end early though more pass are searched again by scan."""
        own = self.geometry
        asked, passing = own.asked(vectors), own.passing(where)
        if exclude is None and isinstance(where, Filter):
            exclude = where.exclude
        shut = own.excluded(exclude)
        items, scores, _ = self.beam(asked, k, passing, shut, ef or self.ef, crossing)
        again = complete(own, asked, items, scores, k, passing, shut)
        return own.answer(asked, items, scores, f"graph {crossing}", passing, again, float("nan"))

    def beam(
        self, asked: Floats, k: int, passing: Passing | None, shut: Ragged | None, ef: int, crossing: Crossing
    ) -> tuple[Ids, Floats, NDArray[np.int64]]:
        """One walk a row: rows of the table [q, k] (-1 where the walk found fewer), scores, products computed [q]."""
        own, g = self.geometry, self.graph
        items = np.full((len(asked), k), -1, np.int32)
        scores = np.full((len(asked), k), np.nan, np.float32)
        products = np.zeros(len(asked), np.int64)
        lengths = np.zeros(len(asked), np.int64) if shut is None else shut.lengths
        at = placed(asked)
        at = at[np.maximum(ef, k) + lengths[at] <= WIDEST]
        if not len(at) or (passing is not None and not len(passing)):
            return items, scores, products
        efs = np.minimum(np.maximum(ef, k) + lengths[at], own.size).astype(np.int64)
        mask, seeds = (_NONE, _NOBODY) if passing is None else (passing.mask, passing.sample)
        stamp, turn = self._borrow(len(at))
        try:
            nodes, values, _, products[at] = walk(
                np.ascontiguousarray(asked[at]), efs, own.table, g["base"], g["upper"], g["upper_at"], g["levels"],
                int(g["entry"][0]), mask, passing is not None, seeds, INSIDE if crossing == "inside" else BLIND, stamp, turn,
            )  # fmt: skip
        finally:
            self._return(stamp, turn + len(at))
        part = None if shut is None else shut.take(at)
        items[at], scores[at] = own.ordered(nodes, values, k, part)
        return items, scores, products

    def _borrow(self, rows: int) -> tuple[NDArray[np.int32], int]:
        """Marks of visited nodes, one set for each search that is under way."""
        with self._lock:
            stamp, turn = self._stamps.pop() if self._stamps else (np.zeros(self.geometry.size, np.int32), 0)
        if turn + rows >= np.iinfo(np.int32).max:
            stamp[:] = 0
            turn = 0
        return stamp, turn

    def _return(self, stamp: NDArray[np.int32], turn: int) -> None:
        with self._lock:
            self._stamps.append((stamp, turn))

    def settings(self) -> dict[str, Any]:
        """How it was built, and the width of the beam."""
        return {"neighbours": self.neighbours, "ef_build": self.ef_build, "ef": self.ef}

    def state(self) -> dict[str, NDArray[Any]]:
        """The graph."""
        return dict(self.graph)

    @classmethod
    def restored(cls, geometry: Geometry, settings: Mapping[str, Any], state: Mapping[str, NDArray[Any]]) -> HNSW:
        """Put a saved graph back, after checking that no link leads outside."""
        neighbours, ef_build, ef = (int(settings[k]) for k in ("neighbours", "ef_build", "ef"))
        graph = _checked(state, geometry.size)
        return cls(geometry, neighbours=neighbours, ef_build=ef_build, ef=ef, graph=graph)


_NONE = np.empty(0, bool)
_NOBODY = np.empty(0, np.int32)


def complete(
    own: Geometry, asked: Floats, items: Ids, scores: Floats, k: int, passing: Passing | None, shut: Ragged | None
) -> NDArray[np.bool_]:
    """Fill, in place and by scan, rows that hold fewer than `k` though more may pass; which rows were, bool [q]."""
    short = items[:, -1] < 0
    short[np.isnan(asked).any(1)] = False
    at = np.flatnonzero(short)
    if len(at):
        part = None if shut is None else shut.take(at)
        items[at], scores[at] = own.best(asked[at], k, passing, part)
    return short


def _built(space: Floats, neighbours: int, ef_build: int, threads: int) -> dict[str, NDArray[Any]]:
    """The graph that faiss builds, as arrays of our own."""
    try:
        import faiss
    except ModuleNotFoundError:
        raise MissingExtra("Building a graph index", "index") from None
    faiss.omp_set_num_threads(threads)
    made = faiss.IndexHNSWFlat(space.shape[1], neighbours)
    made.hnsw.efConstruction = ef_build
    made.add(space)
    hnsw: Any = made.hnsw
    levels = faiss.vector_to_array(hnsw.levels).astype(np.int32) - 1
    offsets = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    links = faiss.vector_to_array(hnsw.neighbors).astype(np.int32)
    wide = 2 * neighbours
    base = links[offsets[:-1, None] + np.arange(wide)[None]]
    upper_at = np.concatenate([[0], np.cumsum(levels)])[:-1].astype(np.int64)
    owners = np.repeat(np.arange(len(levels)), levels)
    nth = np.arange(len(owners)) - upper_at[owners]
    rows = offsets[owners] + wide + nth * neighbours
    upper = links[rows[:, None] + np.arange(neighbours)[None]]
    entry = np.array([hnsw.entry_point], np.int64)
    out = {"base": base, "upper": upper, "upper_at": upper_at, "levels": levels, "entry": entry}
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def _checked(state: Mapping[str, NDArray[Any]], n: int) -> dict[str, NDArray[Any]]:
    kinds = {
        "base": (np.int32, 2),
        "upper": (np.int32, 2),
        "upper_at": (np.int64, 1),
        "levels": (np.int32, 1),
        "entry": (np.int64, 1),
    }
    out = {}
    for name, (kind, axes) in kinds.items():
        array = state.get(name)
        if array is None or array.dtype != kind or array.ndim != axes:
            raise ModelFileError(f"The graph's '{name}' is missing or of another kind; build the index again.")
        out[name] = np.ascontiguousarray(array)
    levels, upper_at = out["levels"], out["upper_at"]
    sound = (
        len(out["base"]) == len(levels) == len(upper_at) == n and len(out["entry"]) == 1 and out["base"].shape[1] > 0
    )
    sound = sound and 0 <= int(out["entry"][0]) < n
    sound = sound and bool((levels >= 0).all()) and bool((upper_at >= 0).all())
    sound = sound and bool((upper_at + levels <= len(out["upper"])).all())
    for name in ("base", "upper"):
        sound = sound and bool(((out[name] >= -1) & (out[name] < n)).all())
    # A link at a layer must lead to a node that has this layer, or the walk would read another node's list.
    if sound and len(out["upper"]):
        owners = np.repeat(np.arange(n), levels)
        nth = np.arange(len(owners)) - np.repeat(np.concatenate([[0], np.cumsum(levels)])[:-1], levels)
        lists = out["upper"][upper_at[owners] + nth]
        sound = bool((levels[np.maximum(lists, 0)] > nth[:, None])[lists >= 0].all())
    if not sound:
        raise ModelFileError("The graph leads outside its items; the index is damaged: build it again.")
    return out
