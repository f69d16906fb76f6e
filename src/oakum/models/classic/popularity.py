"""Counting: what everybody had, lately or ever. The baselines that every number is read against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Ids, Queries, Schema
from oakum.engine.closed import ClosedForm, pick
from oakum.errors import DataError
from oakum.parameters import Range, Spec

DAY = 86_400_000_000  # microseconds


class Popularity(Spec):
    """The items that most people had: s(j) = number of distinct users with j.

    The same list for everybody before seen items are removed. Memory: one number an item; time: one pass.
    Newcomers get the same list.
    """

    slug = "popularity"

    def build(self, schema: Schema) -> Counts:
        """An empty count."""
        return Counts(self, schema)

    def weights(self, data: Dataset) -> NDArray[np.float32]:
        """The score of each item, float32 [items]."""
        return data.item_counts.astype(np.float32)


class Recent(Popularity):
    """The items that most people had lately: distinct users within the last `window_days` of the log.

    Memory: one number an item; time: one pass. Needs times. Newcomers get the same list.
    """

    slug = "recent"
    window_days: Annotated[
        float, Range(0, search=(1, 60), log=True), "days; 0 takes a tenth of the span, at most 7"
    ] = 0.0

    def weights(self, data: Dataset) -> NDArray[np.float32]:
        """Distinct users an item within the window."""
        times = _times(data, self.slug)
        span = int(times.max() - times.min())
        window = self.window_days * DAY if self.window_days else min(7 * DAY, max(1, span // 10))
        recent = data.interactions.take(times > times.max() - window)
        return data.with_interactions(recent).item_counts.astype(np.float32)


class Decayed(Popularity):
    """Popularity that fades: s(j) = Σ over events of 2^(−age / half-life).

    Memory: one number an item; time: one pass. Needs times. An infinite half-life counts all events alike. Newcomers get
    the same list.
    """

    slug = "decayed"
    half_life_days: Annotated[float, Range(0, search=(1, 365), log=True), "days; 0 takes a tenth of the span"] = 0.0

    def weights(self, data: Dataset) -> NDArray[np.float32]:
        """Decayed number of events an item."""
        times = _times(data, self.slug)
        span = max(1, int(times.max() - times.min()))
        life = self.half_life_days * DAY if self.half_life_days else span / 10
        fading = np.exp2((times - times.max()) / life)
        return np.bincount(data.interactions.items, fading, minlength=data.num_items).astype(np.float32)


def _times(data: Dataset, slug: str) -> NDArray[np.int64]:
    times = data.interactions.times
    if times is None:
        raise DataError(f"'{slug}' needs a time column and '{data.name}' has none; 'popularity' works without.")
    return times


class Counts(ClosedForm):
    """One number an item."""

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Count; items without any event cannot be said anything about (NaN)."""
        scores = self.spec.weights(data).astype(np.float32)
        scores[data.item_counts == 0] = np.nan
        self.scores = scores

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """The same row for every request."""
        return pick(np.repeat(self.scores[None], len(queries), 0), items)

    def state(self) -> dict[str, NDArray[Any]]:
        """The numbers."""
        return {"scores": self.scores}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put them back."""
        self.scores = state["scores"]
