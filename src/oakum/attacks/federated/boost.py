"""Ordinary clients with false data: the comparators of poisoned gradients."""

from __future__ import annotations

from typing import Annotated

import torch

from oakum.attacks.federated.common import ClientAttack, people_of, shared_gradient, wish
from oakum.engine.uploads import Seen, Upload
from oakum.parameters import Range


class Boosting(ClientAttack):
    """Clients that train honestly on a made-up history: the targets, and as many random items as asked.

    The comparators of Rong, He, Chen 2022: filler=0 is explicit boosting (EB), filler=29 the random attack (RA). Log loss
    on the history and on num_negatives uniform items each; the private vector stays from round to round and follows its
    own gradient at `rate`. Demoting swaps the labels of the targets. Cost: as an ordinary client.
    """

    slug = "boosting-clients"
    filler: Annotated[int, Range(0, 100_000), "random items liked beside the targets"] = 0
    num_negatives: Annotated[int, Range(1, 1024), "random items a liked one that are not liked"] = 4
    rate: Annotated[float, Range(0, 1000), "step size of the private vector"] = 1e-3

    def upload(self, seen: Seen) -> Upload:
        """The gradient of one honest step on the false history."""
        tables = people_of(seen)
        for table, own in zip(tables, (seen.own[n] for n in seen.private), strict=True):
            table.data.copy_(own)
        targets = seen.targets
        others = torch.randperm(seen.num_items, generator=seen.generator, device=targets.device)
        others = others[~torch.isin(others, targets)]
        liked = self.filler + (len(targets) if seen.promote else 0)
        count = max(1, liked) * self.num_negatives
        items = torch.cat([targets, others[: self.filler + count]])
        label = torch.zeros(len(items), device=targets.device)
        label[: len(targets)] = float(seen.promote)
        label[len(targets) : len(targets) + self.filler] = 1.0
        loss = wish(seen, items, label, 1)
        for own, slope in zip(
            (seen.own[n] for n in seen.private), torch.autograd.grad(loss, tables, retain_graph=True), strict=True
        ):
            own.sub_(slope, alpha=self.rate)
        return dict(shared_gradient(seen, loss))
