"""Items in lists around centres: the nearest lists are read, and more of them until enough passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ids, Ragged
from oakum.errors import ModelFileError, ParameterError
from oakum.index.base import Floats, Found, Geometry, Metric, Passing
from oakum.index.exact import placed
from oakum.index.hnsw import complete
from oakum.kernels.kmeans import kmeans, nearest_centre
from oakum.kernels.walk import probe
from oakum.seeds import generator

_NOWHERE = np.empty(0, np.int32)
TRAINED = 64  # rows a centre is trained on


class IVF:
    """Inverted lists over k-means (Sivic & Zisserman 2003; Jégou et al. 2011).

    Reads the `probes` nearest lists that hold a passing item, then further ones until k were found. A list cannot hold anything nearer than the
    distance to its centre less its radius: rows whose k-th item beats all lists left are marked exact, and every row is at
    probes = lists. lists 0: the square root of the number of items. Time probes / lists · n · d a request; memory 4 n d
    bytes for the rows in list order.
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
        self.place_of = np.empty(own.size, np.int32)
        self.place_of[self.order] = np.arange(own.size, dtype=np.int32)
        sizes = np.bincount(self.member, minlength=len(self.centres))
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.grouped = np.ascontiguousarray(own.table[self.order])

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
        """Rows of the table [q, k], scores, whether a row is proven to be the best [q], products computed [q]."""
        own = self.geometry
        items = np.full((len(asked), k), -1, np.int32)
        scores = np.full((len(asked), k), np.nan, np.float32)
        proven, products = np.zeros(len(asked), bool), np.zeros(len(asked), np.int64)
        at = placed(asked)
        if not len(at):
            return items, scores, proven, products
        part = np.ascontiguousarray(asked[at])
        aims, offsets, factors = own.aims(part)
        gaps = (aims * aims).sum(1)[:, None] - 2 * (aims @ self.centres.T) + (self.centres * self.centres).sum(1)
        gaps = np.sqrt(np.maximum(gaps, 0))
        visits = np.argsort(gaps, axis=1, kind="stable").astype(np.int32)
        # Distances by the expanded square carry sqrt(eps) of the lengths: that much less is promised.
        slack = np.float32(1e-3) * np.sqrt((aims * aims).sum(1))[:, None]
        least = np.maximum(np.take_along_axis(gaps, visits, 1) - self.radius[visits] - slack, 0) ** 2
        bounds = np.minimum.accumulate(least[:, ::-1], axis=1)[:, ::-1].astype(np.float32)
        lengths = np.zeros(len(part), np.int64) if shut is None else shut.lengths[at]
        places, starts = (_NOWHERE, self.starts) if passing is None else self._places(passing)
        nodes, values, _, products[at], proven[at] = probe(
            part, (k + lengths).astype(np.int64), self.grouped, self.order, places, starts, passing is not None, visits,
            np.ascontiguousarray(bounds), offsets, factors, probes,
        )  # fmt: skip
        items[at], scores[at] = own.ordered(nodes, values, k, None if shut is None else shut.take(at))
        return items, scores, proven, products

    def _places(self, passing: Passing) -> tuple[Ids, NDArray[np.int64]]:
        """The rows in list order that pass, and where each list begins among them; kept with the filter."""
        held = passing.kept.get(id(self))
        if held is None:
            places = np.sort(self.place_of[passing.rows])
            held = places, np.searchsorted(places, self.starts).astype(np.int64)
            passing.kept[id(self)] = held
        found: tuple[Ids, NDArray[np.int64]] = held
        return found

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
