"""A few clients push an item by the gradient of a wish about people whom they make up at random."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from oakum.attacks.federated.common import ClientAttack, people_of, shared_gradient, wish
from oakum.engine.uploads import Seen, Upload
from oakum.parameters import Range


class RandomApproximation(ClientAttack):
    """Uploads what would make random people like the targets.

    Paper: Rong, He, Chen 2022, A-ra. Per client and round: p ~ N(0, std²) for every one of `people`, as vectors are before
    training; L = mean over people and targets of −log σ(s(p, t)) (σ(−s) when demoting); its gradient by the target rows and
    the network is uploaded as it is, p held still. Works through what the network makes of an item for everybody: with a
    plain product of vectors nothing is left of it, for p is as often against a target as for it. `pad` adds rows that look
    like other people's, since one touched row among hundreds gives the client away. What counts is hostile clients a round
    times the learning rate. Cost: one pass over people · targets a client and round.
    """

    slug = "a-ra"
    people_count: Annotated[int, Range(1, 10_000), "people made up by a client in a round"] = 10
    std: Annotated[float, Range(above=0), "standard deviation of their vectors"] = 0.01
    pad: Annotated[int, Range(0), "rows of other items sent along, with random values of the size of the targets'"] = 0

    @property
    def people(self) -> int:
        """Rows that the client's copy needs."""
        return self.people_count

    def upload(self, seen: Seen) -> Upload:
        """The gradient of the wish."""
        for table in people_of(seen):
            noise = torch.randn(table.shape, generator=seen.generator, device=table.device) * self.std
            table.data.copy_(noise)
        self.mine(seen)
        label = torch.full((len(seen.targets),), float(seen.promote), device=seen.targets.device)
        found = shared_gradient(seen, wish(seen, seen.targets, label, self.people_count))
        return {n: self._padded(g, seen) if self.pad and _is_table(g, seen) else g for n, g in found.items()}

    def mine(self, seen: Seen) -> None:
        """Change the made-up people before the wish is taken; random ones stay as they are."""

    def _padded(self, gradient: Tensor, seen: Seen) -> Tensor:
        """Random rows of zero mean and of the targets' size beside the targets'."""
        size = gradient[seen.targets].norm(dim=-1).mean()
        others = torch.randperm(len(gradient), generator=seen.generator, device=gradient.device)
        others = others[~torch.isin(others, seen.targets)][: self.pad]
        noise = torch.randn(len(others), gradient.shape[1], generator=seen.generator, device=gradient.device)
        return gradient.index_copy(0, others, noise * (size / gradient.shape[1] ** 0.5))


def _is_table(gradient: Tensor, seen: Seen) -> bool:
    rows = torch.count_nonzero(gradient.flatten(1).any(1)) if gradient.dim() == 2 else gradient.numel()
    return gradient.dim() == 2 and int(rows) <= len(seen.targets) < len(gradient)
