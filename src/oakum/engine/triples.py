"""Plain gradient steps over triples of a person, an item had and one not had: how BPR was published, in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from oakum.engine.plan import Step
from oakum.errors import OakumError, ParameterError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from oakum.data import Dataset
    from oakum.engine.learner import Learner, Phase
    from oakum.engine.run import Run
    from oakum.sampling.batches import Batch, Order


class Triples(Step):
    """Every triple (p, q, o) of a batch moves its three rows at once, before the next is looked at.

    Stochastic gradient descent as Rendle et al. (2009) wrote it: softplus(p·o − p·q) + l2/2 (|p|² + |q|² + |o|²), its
    gradient in closed form, the rate that of the plan. A row with n negatives makes n triples. The order, the negatives,
    schedules, early stopping and resuming are the engine's own; a batch is only what lies between two looks at the clock, so
    it may be large. For models that are the product of two tables (`Model.by_triples`), on the CPU, by one thread: each
    step sees those before it. Millions of triples a second, where a step of automatic gradients makes a tenth of one.
    """

    slug = "triples"

    def begin(self, run: Run) -> Descent:
        """The steps over the tables of a run's model."""
        return Descent(run)


class Descent:
    """The steps of one run; all they change are the tables, so they keep no state of their own."""

    def __init__(self, run: Run) -> None:
        self.run = run
        plan, kind = run.plan, type(run.model).__name__
        if run.model.by_triples() is None:
            raise ParameterError(
                f"{kind} is not the product of two tables under the loss of BPR alone, which steps by triples need; give "
                "the plan step=None."
            )
        if run.plugins:
            raise ParameterError(
                f"{type(run.plugins[0]).__name__} changes what is learned from a batch, and steps by triples have a closed "
                "form without it; give the plan step=None."
            )
        if plan.optimiser != "sgd" or plan.weight_decay or plan.clip_norm:
            raise ParameterError(
                "Steps by triples follow the plain gradient: the plan needs optimiser='sgd' and neither weight_decay nor "
                "clip_norm (the model's own l2 is obeyed)."
            )
        if run.device.type != "cpu":
            raise ParameterError("Steps by triples run on the CPU: give the plan device='cpu'.")

    def count(self) -> int:
        """Batches of an epoch."""
        run = self.run
        return -(-run.model.rows(run.data, run.phase) // run.plan.batch_size)

    def batches(self, learner: Learner, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """The learner's own."""
        return learner.batches(data, phase, order)

    def __call__(
        self, batch: Batch, moving: Sequence[torch.nn.Parameter], update: torch.optim.Optimizer
    ) -> dict[str, float]:
        """One triple after the other; the mean losses, each triple's taken before it moved."""
        from oakum.kernels.bpr import descend

        found = self.run.model.by_triples()
        negatives = batch.negatives
        assert found is not None
        assert negatives is not None
        users, items, l2 = found
        who, had = batch.users.numpy(), batch.items.numpy()  # type: ignore[attr-defined]
        others = negatives.items.expand(len(batch), -1).contiguous().numpy()
        rate = float(update.param_groups[0]["lr"])
        ranking, squares = descend(users.detach().numpy(), items.detach().numpy(), who, had, others, rate, l2)
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
