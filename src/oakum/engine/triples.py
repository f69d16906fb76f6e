"""Plain gradient steps over triples of a person, an item had and one not had: how BPR was published, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from oakum.engine.plan import Step
from oakum.errors import OakumError, ParameterError
from oakum.parameters import Range

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from oakum.data import Dataset
    from oakum.engine.learner import Learner, Phase, Plugin
    from oakum.engine.optimisers import Update
    from oakum.engine.run import Run
    from oakum.sampling.batches import Batch, Order


class Triples(Step):
    """Every triple (p, q, o) of a batch moves its three rows at once, before the next is looked at.

    Stochastic gradient descent as Rendle et al. (2009) wrote it: softplus(p·o − p·q) + l2/2 (|p|² + |q|² + |o|²), its
    gradient in closed form, the rate that of the plan. A row with n negatives makes n triples. The order, the negatives,
    schedules, early stopping and resuming are the engine's own; a batch is only what lies between two looks at the clock, so
    it may be large. For models that are the product of two tables (`Model.by_triples`), on the CPU, by one thread: each
    step sees those before it. Millions of triples a second, where steps over batches make a fifth of one. A plug-in that
    moves representations or losses has no closed form; its run takes `chunk` rows at once through the ordinary step, with
    the sum of their gradients, which is the same to first order.
    """

    slug = "triples"
    chunk: Annotated[int, Range(1, 65_536), "rows that move together where a plug-in needs gradients"] = 1024

    def begin(self, run: Run) -> Descent:
        """The steps over the tables of a run's model."""
        return Descent(self, run)


class Descent:
    """The steps of one run; all they change are the tables, so they keep no state of their own."""

    def __init__(self, spec: Triples, run: Run) -> None:
        self.spec, self.run = spec, run
        self.closed = not any(_needs_gradients(plugin) for plugin in run.plugins)
        plan, kind = run.plan, type(run.model).__name__
        if run.model.by_triples() is None:
            raise ParameterError(
                f"{kind} is not the product of two tables under the loss of BPR alone, which steps by triples need; give "
                "the plan step=None."
            )
        if plan.optimiser != "sgd" or plan.weight_decay or plan.clip_norm:
            raise ParameterError(
                "Steps by triples follow the plain gradient: the plan needs optimiser='sgd' and neither weight_decay nor "
                "clip_norm (the model's own l2 is obeyed)."
            )
        if plan.precision != "float32" or run.device.type != "cpu":
            raise ParameterError("Steps by triples run on the CPU in float32: give the plan device='cpu'.")

    def count(self) -> int:
        """Batches of an epoch."""
        run = self.run
        return -(-run.model.rows(run.data, run.phase) // run.plan.batch_size)

    def batches(self, learner: Learner, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """The learner's own."""
        return learner.batches(data, phase, order)

    def __call__(self, batch: Batch, moving: Sequence[torch.nn.Parameter], update: Update) -> dict[str, float]:
        """One triple after the other; the mean losses, each triple's taken before it moved."""
        if not self.closed:
            return self._chunks(batch, moving, update)
        for plugin in self.run.plugins:
            batch = plugin.batch(self.run, batch)
        return self._triples(batch, float(update.param_groups[0]["lr"]))

    def _chunks(self, batch: Batch, moving: Sequence[torch.nn.Parameter], update: Update) -> dict[str, float]:
        """Ordinary steps over a few rows each: the rate times their number makes the mean of the losses their sum."""
        import torch

        from oakum.engine import steps

        if self.run.phase.own:
            return steps.central(self.run, batch, moving, update)
        rate = float(update.param_groups[0]["lr"])
        sums: dict[str, float] = {}
        for at in torch.arange(len(batch)).split(self.spec.chunk):
            for group in update.param_groups:
                group["lr"] = rate * len(at)
            for name, value in steps.central(self.run, batch.take(at), moving, update).items():
                sums[name] = sums.get(name, 0.0) + value * len(at) / len(batch)
        return sums

    def _triples(self, batch: Batch, rate: float) -> dict[str, float]:
        from oakum.kernels.bpr import descend

        found = self.run.model.by_triples()
        negatives = batch.negatives
        assert found is not None
        assert negatives is not None
        users, items, l2 = found
        others = negatives.items.expand(len(batch), -1)
        # A row with n negatives makes n triples.
        whole = lambda x: x.unsqueeze(1).expand(others.shape).flatten().numpy()
        who, had = whole(batch.users), whole(batch.items)  # type: ignore[attr-defined]
        tables = users.detach().numpy(), items.detach().numpy()
        ranking, squares = descend(*tables, who, had, others.flatten().numpy(), rate, l2)
        if not ranking + squares < float("inf"):
            raise OakumError(
                f"The loss is not finite in phase '{self.run.phase.name}', epoch {self.run.epoch}, step {self.run.step} "
                f"(bpr = {ranking:.4g}, l2 = {squares:.4g}). Lower learning_rate (now {self.run.plan.learning_rate:g})."
            )
        return {"bpr": ranking, "l2": squares}

    def state(self) -> dict[str, Tensor]:
        """Nothing beside the weights."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take up."""

    def notes(self) -> list[str]:
        """Nothing to say."""
        return []


def _needs_gradients(plugin: Plugin) -> bool:
    """Whether a plug-in does more than choose what is learned from."""
    from oakum.engine.learner import Plugin as Base

    own = type(plugin)
    moves = own.reps is not Base.reps or own.loss is not Base.loss
    return moves or bool(plugin.phases()) or next(plugin.parameters(), None) is not None
