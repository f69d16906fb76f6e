"""As A-ra, with made-up people who dislike the targets."""

from __future__ import annotations

from typing import Annotated

import torch

from oakum.attacks.federated.a_ra import RandomApproximation
from oakum.attacks.federated.common import people_of, wish
from oakum.engine.uploads import Seen
from oakum.parameters import Range


class HardUserMining(RandomApproximation):
    """Uploads what would make people like the targets who least do.

    Paper: Rong, He, Chen 2022, A-hum. The random people of A-ra first take `steps` steps p ← p − rate · ∇_p mean over targets
    of −log σ(−s(p, t)) (the other way round when demoting), without a bound on their length; then the wish of A-ra is taken
    of them. Cost: `steps` further passes over people · targets. The claims say what mining adds.
    """

    slug = "a-hum"
    steps: Annotated[int, Range(0, 10_000), "steps away from the targets"] = 30
    rate: Annotated[float, Range(above=0, high=1000), "size of a step"] = 1e-3

    def mine(self, seen: Seen) -> None:
        """Walk every made-up person away from the targets; each takes the gradient of its own loss."""
        tables = people_of(seen)
        label = torch.full((len(seen.targets),), float(not seen.promote), device=seen.targets.device)
        for _ in range(self.steps):
            loss = wish(seen, seen.targets, label, self.people_count) * self.people_count
            for table, slope in zip(tables, torch.autograd.grad(loss, tables), strict=True):
                table.data.sub_(slope, alpha=self.rate)
