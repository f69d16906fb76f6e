"""Indexes by name: built from vectors, or put back from what was saved."""

from __future__ import annotations

from typing import Any

from oakum.errors import ParameterError, nearest
from oakum.index.base import Floats, Index, Metric
from oakum.index.exact import Exact
from oakum.index.filtered import Planned
from oakum.index.hnsw import HNSW
from oakum.index.ivf import IVF

KINDS: dict[str, Any] = {c.kind: c for c in (Exact, HNSW, IVF, Planned)}


def build(vectors: Floats, kind: str = "planned", metric: Metric = "dot", **settings: Any) -> Index:
    """An index over vectors [items, d]: planned, exact, hnsw or ivf; `settings` are those of its class."""
    if kind not in KINDS:
        raise ParameterError(f"There is no index '{kind}'.{nearest(kind, KINDS)}")
    make = Planned.build if kind == "planned" else KINDS[kind]
    try:
        made: Index = make(vectors, metric, **settings)
    except TypeError as error:
        if "keyword argument" not in str(error):
            raise
        raise ParameterError(f"The index '{kind}' has no such setting: {str(error).rpartition(' ')[2]}.") from None
    return made
