"""Items in lists around centres: the nearest lists are read, and more of them until enough passes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ids, Ragged
from oakum.errors import ModelFileError, ParameterError
from oakum.index.base import Floats, Found, Geometry, Metric, Passing
from oakum.index.exact import placed
from oakum.index.hnsw import complete
from oakum.kernels.kmeans import kmeans, nearest_centre
from oakum.kernels.lists import nearest_lists, read_lists
from oakum.kernels.quantised import quantised
from oakum.kernels.spread import even, fixed, spread
from oakum.kernels.topk import DENSE
from oakum.seeds import generator

_ALL = np.empty(0, np.int64)
TRAINED = 64  # rows a centre is trained on


class IVF:
    """Inverted lists over k-means (Sivic & Zisserman 2003; Jégou et al. 2011).

    Reads the `probes` nearest lists that hold a passing item, then further ones until k were found. A list cannot hold anything nearer than the
    distance to its centre less its radius: rows whose k-th item beats all lists left are marked exact, and every row is at
    probes = lists. lists 0: the square root of the number of items. Time probes / lists · n · d a request; memory 5 n d
    bytes for the rows in list order and as bytes.
    """

    kind: ClassVar[str] = "ivf"

    def __init__(
        self,
        vectors: Floats | Geometry,
        metric: Metric = "dot",
        *,
        lists: int = 0,
        probes: int = 16,
        seed: int = 0,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        if lists < 0 or probes < 1:
            raise ParameterError(f"lists must be at least 0 and probes at least 1. Got {lists} and {probes}.")
        self.geometry = vectors if isinstance(vectors, Geometry) else Geometry(vectors, metric)
        own = self.geometry
        self.probes, self.seed = probes, seed
        if state is None:
            count = min(lists or max(1, round(own.size**0.5)), own.size)
            rows = np.arange(own.size)
            if own.size > TRAINED * count:
                rows = np.sort(generator(seed, "lists").choice(own.size, TRAINED * count, replace=False))
            centres, _ = kmeans(own.space[rows], count, epochs=10, seed=seed)
            member, _ = nearest_centre(own.space, centres)
            radius = _radii(own.space, centres, member)
            state = {"centres": centres, "member": member, "radius": radius}
        self.centres, self.member, self.radius = state["centres"], state["member"], state["radius"]
        self.order = np.argsort(self.member, kind="stable").astype(np.int32)
        sizes = np.bincount(self.member, minlength=len(self.centres))
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.grouped = np.ascontiguousarray(own.table[self.order])
        self.bytes = quantised(self.grouped)
        self.squares = (self.centres * self.centres).sum(1)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return len(self.centres)

    def search(
        self,
        vectors: Floats,
        k: int,
        *,
        where: Filter | Passing | None = None,
        exclude: Ragged | None = None,
        probes: int | None = None,
    ) -> Found:
        """See `Index.search`."""
        own = self.geometry
        asked, passing = own.asked(vectors), own.passing(where)
        if exclude is None and isinstance(where, Filter):
            exclude = where.exclude
        shut = own.excluded(exclude)
        items, scores, proven, _ = self.read(asked, k, passing, shut, probes or self.probes)
        again = complete(own, asked, items, scores, k, passing, shut)
        return own.answer(asked, items, scores, "lists", passing, proven | again, float("nan"))

    def read(
        self, asked: Floats, k: int, passing: Passing | None, shut: Ragged | None, probes: int
    ) -> tuple[Ids, Floats, NDArray[np.bool_], NDArray[np.int64]]:
        """Rows of the table [q, k], scores, whether a row is proven to be the best [q], rows read [q]."""
        own = self.geometry
        items = np.full((len(asked), k), -1, np.int32)
        scores = np.full((len(asked), k), np.nan, np.float32)
        proven, products = np.zeros(len(asked), bool), np.zeros(len(asked), np.int64)
        at = placed(asked)
        if not len(at):
            return items, scores, proven, products
        part = np.ascontiguousarray(asked[at])
        aims, offsets, factors = own.aims(part)
        gaps = self.gaps(aims)
        # Distances by the expanded square carry sqrt(eps) of the lengths: that much less is promised.
        slack = np.float32(1e-3) * np.sqrt((aims * aims).sum(1))
        left = Ragged.empty(len(at)) if shut is None else shut.take(at)
        known, few = np.arange(len(at)), min(probes, self.lists)
        while len(known):  # queries that few lists do not serve start again with all
            visits, bounds = nearest_lists(gaps[known], self.radius, slack[known], few)
            n = len(known)
            found, values = np.full((n, k), -1, np.int32), np.full((n, k), np.nan, np.float32)
            computed, done, more = np.zeros(n, np.int64), np.zeros(n, bool), np.zeros(n, bool)
            own_left = left if n == len(at) else left.take(known)
            wanted, table, grouped, codes, order, passes, starts, ties, ends, closed = fixed(
                part[known].reshape(-1), own.table.reshape(-1), self.grouped.reshape(-1), self.bytes.reshape(-1), self.order,
                _ALL if passing is None else passing.bits, self.starts, own.ties, own_left.offsets,
                np.ascontiguousarray(own_left.items, np.int32),
            )  # fmt: skip
            work = partial(
                read_lists, wanted, part.shape[1], table, grouped, codes, self.bytes.shape[1], order, passes,
                passing is not None, starts, visits, bounds, *fixed(offsets[known], factors[known]), probes, k, ties, ends, closed, len(at) > 1, found,
                values.view(np.int32), computed, done, more,
            )  # fmt: skip
            spread(work, even(n, self.grouped.size / self.lists * probes * n, worth=DENSE))
            rows = at[known]
            items[rows], scores[rows], products[rows], proven[rows] = found, values, computed, done
            known, few = known[more], self.lists
        return items, scores, proven, products

    def gaps(self, aims: Floats) -> Floats:
        """Distances of places in the space to all centres, float32 [q, lists]."""
        squares = (aims * aims).sum(1)[:, None] - 2 * (aims @ self.centres.T) + self.squares
        return np.sqrt(np.maximum(squares, 0))

    def settings(self) -> dict[str, Any]:
        """How many lists are read."""
        return {"probes": self.probes, "seed": self.seed}

    def state(self) -> dict[str, NDArray[Any]]:
        """Centres, the list of each row, the radius of each list."""
        return {"centres": self.centres, "member": self.member, "radius": self.radius}

    @classmethod
    def restored(cls, geometry: Geometry, settings: Mapping[str, Any], state: Mapping[str, NDArray[Any]]) -> IVF:
        """Put saved lists back, after checking that every row is in one of them."""
        kinds = {"centres": (np.float32, 2), "member": (np.int32, 1), "radius": (np.float32, 1)}
        for name, (kind, axes) in kinds.items():
            if name not in state or state[name].dtype != kind or state[name].ndim != axes:
                raise ModelFileError(f"The index's '{name}' is missing or of another kind; build the index again.")
        centres, member, radius = (np.ascontiguousarray(state[k]) for k in kinds)
        wide = geometry.dim + (geometry.metric == "dot")
        sound = centres.shape == (len(radius), wide) and len(radius) > 0 and len(member) == geometry.size
        if not sound or int(member.min()) < 0 or int(member.max()) >= len(centres):
            raise ModelFileError("The lists do not fit the index's vectors; it is damaged: build it again.")
        kept = {"centres": centres, "member": member, "radius": radius}
        return cls(geometry, probes=int(settings["probes"]), seed=int(settings["seed"]), state=kept)


def _radii(space: Floats, centres: Floats, member: Ids) -> NDArray[np.float32]:
    """The distance from each centre to the furthest row of its list."""
    out = np.zeros(len(centres))
    for at in range(0, len(space), 65_536):
        part = member[at : at + 65_536]
        rest = space[at : at + 65_536].astype(np.float64) - centres[part]
        np.maximum.at(out, part, np.sqrt((rest * rest).sum(1)))
    return np.nextafter(out.astype(np.float32), np.float32(np.inf))
