"""Every score computed: the yardstick, and the best choice for small shops and rare filters."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Ragged
from oakum.index.base import Floats, Found, Geometry, Metric, Passing


class Exact:
    """Products with all rows, or with those that pass, and selection in one pass.

    Time n · d a request (s · n · d under a filter that lets the share s through), memory 4 n d bytes.
    """

    kind: ClassVar[str] = "exact"

    def __init__(self, vectors: Floats | Geometry, metric: Metric = "dot") -> None:
        self.geometry = vectors if isinstance(vectors, Geometry) else Geometry(vectors, metric)

    def search(
        self, vectors: Floats, k: int, *, where: Filter | Passing | None = None, exclude: Ragged | None = None
    ) -> Found:
        """See `Index.search`; always the best."""
        own = self.geometry
        asked = own.asked(vectors)
        passing = own.passing(where)
        if exclude is None and isinstance(where, Filter):
            exclude = where.exclude
        items, scores = own.best(asked, k, passing, own.excluded(exclude))
        return own.answer(asked, items, scores, "exact", passing, True)

    def settings(self) -> dict[str, Any]:
        """Nothing is chosen."""
        return {}

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing but the vectors."""
        return {}

    @classmethod
    def restored(cls, geometry: Geometry, settings: dict[str, Any], state: dict[str, NDArray[Any]]) -> Exact:
        """Put a saved index back."""
        return cls(geometry)


def placed(asked: Floats) -> NDArray[np.int64]:
    """The rows of queries that say something: no NaN in them."""
    return np.flatnonzero(np.isfinite(asked).all(1))
