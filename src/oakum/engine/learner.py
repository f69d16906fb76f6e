"""What the engine trains. Models and plug-ins share one life cycle; every method has a default."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from oakum.data import Dataset, Ids, Queries
from oakum.sampling.batches import Batch, Order
from oakum.sampling.samplers import Sampler, Uniform

if TYPE_CHECKING:
    from oakum.engine.run import Run

Facts = Mapping[str, Tensor]
Reps = dict[str, Tensor]
Losses = dict[str, Tensor]

#: Names in `Reps` that any plug-in may rely on; a model may add private ones that start with "_".
PUBLIC_REPS = ("query", "positive", "negative", "fields", "states", "logits", "levels")


def ranking_loss(losses: Losses) -> Tensor:
    """What ranks, [b]: the sum of all losses but "l2" and those whose name starts with "_"."""
    return torch.stack([value for name, value in losses.items() if name != "l2" and not name.startswith("_")]).sum(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training.

    moves: parameter-name prefixes that change in it ("" is all). on: the part that feeds it ("train" or "valid").
    steps: length of a turn in an alternation (None: a whole pass). every: a plug-in's turn comes after so many of
    the model's steps. epochs, learning_rate: None takes the plan's. own: a plug-in's phase with its own batches.
    looks: whether the validation part is looked at after its epochs; not in a phase before which the model cannot score.
    alone: judged by itself (a search): the next phase starts from its best weights and is compared with none before.
    after: a plug-in's phase that comes when the model's own are done: the model's last phase once more, with the epochs
    and the learning rate given here and a fresh optimiser, from the best weights so far; its last weights are kept.
    """

    name: str = "main"
    moves: Sequence[str] = ("",)
    on: str = "train"
    steps: int | None = None
    every: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    own: bool = False
    looks: bool = True
    alone: bool = False
    after: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class Learner(nn.Module):
    """Anything with parameters and a place in the training loop."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Tensor] = {}
        self._cache: dict[str, Any] = {}

    def phases(self) -> Sequence[Phase | tuple[Phase, ...]]:
        """The phases, one after the other; a tuple alternates."""
        return (Phase(),)

    def start(self, run: Run) -> None:
        """Called at every start, also of a resumed run: hooks, parametrisations."""

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """What must be known of the data before a phase: graphs, counts, codes; saved beside the weights.

        Parameters may be made anew here (a search that keeps some tables); `resize` then follows when weights are put in.
        """
        return {}

    def resize(self, state: Mapping[str, Tensor]) -> None:
        """Called before the weights `state` are put in: a learner whose sizes changed in training takes theirs."""

    def epoch(self, run: Run) -> None:
        """Called before each epoch; what it changes is saved, so a resumed run does not repeat it."""

    def data(self, run: Run, data: Dataset) -> Dataset:
        """Train on this one instead, this epoch; pure in the data, the seed, the epoch and the buffers."""
        return data

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """The batches of one epoch, lazily; their order comes from `order` and row ids alone."""
        raise TypeError(f"{type(self).__name__} does not say how its batches are made.")

    def rows(self, data: Dataset, phase: Phase) -> int:
        """How many of what the batch size counts an epoch has; schedules and progress are laid out by it."""
        return len(data)

    def represent(self, batch: Batch) -> Reps:
        """Named tensors of a batch: query [b, d], positive [b, d], negative [b, n, d], ..."""
        raise TypeError(f"{type(self).__name__} does not say what represents a batch.")

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """Named losses, one value a row; the engine averages each and adds them up.

        "l2" names regularisers; a name that starts with "_" is a loss beside the ranking (a contrast, an alignment):
        plug-ins that ask for the ranking losses leave both out.
        """
        raise TypeError(f"{type(self).__name__} does not say its losses.")

    def settle(self) -> None:
        """After each step: projections, clipping, masks."""

    def cached(self, name: str, make: Callable[[], Any]) -> Any:
        """A value kept while the weights stand still (scoring); made anew at each call while they move."""
        if self.training:
            return make()
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    def train(self, mode: bool = True) -> Learner:
        """As in torch; what was cached under the old weights is dropped."""
        self._cache.clear()
        super().train(mode)
        return self

    def put_facts(self, facts: Facts) -> None:
        """Keep what `prepare` found, on the device of the parameters."""
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        self.facts.update({k: v.to(device) for k, v in facts.items()})
        self._cache.clear()


class Model(Learner):
    """A learned recommender.

    private: parameters that never leave a federated client. borrowed: parts of a frozen backbone, neither moved nor
    saved. reads_content: can score items that have no event. transfers: no weight belongs to a user or an item, so
    the model can be refreshed over another vocabulary. reads_requests: understands typed words (`Queries.text`).
    """

    private: Sequence[str] = ()
    borrowed: Sequence[str] = ()
    reads_content: bool = False
    transfers: bool = False
    reads_requests: bool = False

    @property
    def candidates(self) -> Ids | None:
        """The items it may recommend, int32 codes (a target domain); None for all."""
        return None

    @property
    def sampler(self) -> Sampler:
        """The negatives the paper draws; a plan may replace them."""
        return Uniform()

    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """Scores [q, items], [q, i] or [q, c]; NaN where the model cannot say.

        By default the dot products of `query_vectors(queries)` [q, d] and `item_vectors()` [items, d], which a model
        has where its score is one.
        """
        own: Any = self
        if not hasattr(self, "query_vectors"):
            raise TypeError(f"{type(self).__name__} does not say how it scores.")
        vectors, table = own.query_vectors(queries), own.item_vectors()
        if items is None:
            return vectors @ table.T
        chosen = table[torch.from_numpy(np.maximum(items, 0).astype(np.int64)).to(table.device)]
        out = vectors @ chosen.T if items.ndim == 1 else (vectors.unsqueeze(1) * chosen).sum(-1)
        return out.masked_fill(torch.from_numpy(items < 0).to(out.device), torch.nan)

    def by_triples(self) -> tuple[Tensor, Tensor, float] | None:
        """Its tables of users [u, d] and items [i, d] and the weight of their squares, where its loss is BPR of their dot
        products and nothing else, so that `Triples` can step without a backward pass; None for every other model."""
        return None

    def score_candidates(self, batch: Batch, items: Tensor) -> Tensor:
        """Scores of own candidates [b, c] for the rows of a training batch; what adaptive samplers ask for."""
        reps = self.represent_query(batch)
        return (reps.unsqueeze(1) * self.item_table()[items]).sum(-1)

    def represent_query(self, batch: Batch) -> Tensor:
        """The query vectors [b, d] of a training batch, for adaptive samplers."""
        raise TypeError(f"{type(self).__name__} has no query vectors, so negatives cannot be chosen by score.")

    def item_table(self) -> Tensor:
        """The item vectors [items, d] that queries are compared with."""
        raise TypeError(f"{type(self).__name__} has no item vectors.")


class Plugin(Learner):
    """An addition to training that is gone at inference. Three hooks; without phases of its own it trains along."""

    def phases(self) -> Sequence[Phase | tuple[Phase, ...]]:
        """None of its own by default."""
        return ()

    def batch(self, run: Run, batch: Batch) -> Batch:
        """Change what is learned from."""
        return batch

    def reps(self, run: Run, batch: Batch, reps: Reps) -> Reps:
        """Change how it is represented."""
        return reps

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """Change or add losses."""
        return losses


def flat_phases(phases: Sequence[Phase | tuple[Phase, ...]]) -> list[Phase]:
    """Phases in order, alternations taken apart."""
    return [p for part in phases for p in (part if isinstance(part, tuple) else (part,))]


def owner_of(phase: Phase, model: Model, plugins: Sequence[Plugin]) -> Learner:
    """Who makes the batches and the losses of a phase: the plug-in whose own it is, else the model."""
    if not phase.own:
        return model
    return next(p for p in plugins if phase in flat_phases(p.phases()))
