"""A learned model around a base: every hook is the base's until the wrapper says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from oakum.data import Dataset, Ids, Queries
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.sampling.batches import Batch, Order
from oakum.sampling.samplers import Sampler

if TYPE_CHECKING:
    from oakum.engine.run import Run


class Wrapping(Model):
    """Trains `base` as it trains itself and answers with its scores.

    A subclass overrides what it adds; facts of its own go beside the base's under names of their own, phases of its own
    after the base's.
    """

    def __init__(self, base: Model) -> None:
        super().__init__()
        self.base = base
        self.private = tuple(f"base.{name}" for name in base.private)
        self.borrowed = tuple(f"base.{name}" for name in base.borrowed)

    @property
    def sampler(self) -> Sampler:
        """The base's negatives."""
        return self.base.sampler

    @property
    def candidates(self) -> Ids | None:
        """The base's."""
        return self.base.candidates

    def phases(self) -> Sequence[Phase | tuple[Phase, ...]]:
        """The base's phases over its parameters, which are named one level deeper here."""
        own = lambda p: replace(p, moves=tuple(f"base.{m}" for m in p.moves))
        return [tuple(map(own, p)) if isinstance(p, tuple) else own(p) for p in self.base.phases()]

    def start(self, run: Run) -> None:
        """As the base."""
        self.base.start(run)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The base's facts."""
        return self.base.prepare(data, phase)

    def put_facts(self, facts: Facts) -> None:
        """Kept here, where they are saved, and handed to the base, which reads them."""
        super().put_facts(facts)
        self.base.put_facts(facts)

    def epoch(self, run: Run) -> None:
        """As the base."""
        self.base.epoch(run)

    def data(self, run: Run, data: Dataset) -> Dataset:
        """As the base."""
        return self.base.data(run, data)

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """As the base."""
        return self.base.batches(data, phase, order)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """As the base."""
        return self.base.rows(data, phase)

    def represent(self, batch: Batch) -> Reps:
        """As the base."""
        return self.base.represent(batch)

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """As the base."""
        return self.base.losses(batch, reps)

    def settle(self) -> None:
        """As the base."""
        self.base.settle()

    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """The base's scores."""
        return self.base.score(queries, items)

    def score_candidates(self, batch: Batch, items: Tensor) -> Tensor:
        """As the base."""
        return self.base.score_candidates(batch, items)

    def represent_query(self, batch: Batch) -> Tensor:
        """As the base."""
        return self.base.represent_query(batch)

    def item_table(self) -> Tensor:
        """As the base."""
        return self.base.item_table()
