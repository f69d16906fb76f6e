"""What techniques of hostile clients share: how they become a change, and the gradient of a wish about made-up people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oakum.attacks.base import Access, Attack, Budget, Goal, HostileClients, Threat
from oakum.engine.federation import Hostile, Tactic
from oakum.engine.uploads import Seen
from oakum.losses import log_loss
from oakum.sampling.batches import Pairs
from oakum.seeds import Rng


class ClientAttack(Attack, Tactic):
    """An attack whose change is hostile clients that upload by its own tactic: as many as the budget has users, in as
    many rounds. It asks nothing and reads no log; what it sees is what a federation's server sends to every client."""

    threat = Threat.CLIENTS
    knowledge = "the software, and the shared weights that the server sends"

    def run(self, access: Access, goal: Goal, budget: Budget, rng: Rng) -> HostileClients:
        """The clients."""
        promote = goal.kind != "demote"
        return HostileClients(
            Hostile(
                clients=budget.users, rounds=budget.rounds, tactic=self, targets=tuple(goal.targets), promote=promote
            )
        )


def people_of(seen: Seen) -> list[Any]:
    """The private tables of the copy, whose rows are the made-up people."""
    named = dict(seen.model.named_parameters())
    return [named[n] for n in seen.private]


def wish(seen: Seen, items: Tensor, label: Tensor, rows: int) -> Tensor:
    """Mean log loss of scores of `items` [c] against labels [c] over the first `rows` made-up people."""
    users = torch.arange(rows, device=items.device)
    scores = seen.model.score_candidates(Pairs(users, users=users), items.expand(rows, -1))
    return log_loss(scores, label.expand_as(scores)).mean()


def shared_gradient(seen: Seen, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of a loss by shared name; weights that it does not reach are left out."""
    named = {n: p for n, p in seen.model.named_parameters() if n not in seen.private}
    found: Sequence[Tensor | None] = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {n: g for n, g in zip(named, found, strict=True) if g is not None}
