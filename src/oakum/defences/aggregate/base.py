"""Rules by which a server combines uploads, as defences: they act during training, in the plan's step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from oakum.defences.base import Defence
from oakum.engine.federation import Aggregator, federated
from oakum.engine.uploads import Uploads


class Aggregation(Aggregator, Defence):
    """A rule as a defence: what is trained with it in place is trained in a federation.

    A row of a table is combined over the uploads that touch it. Whatever stands in place of the mean is multiplied by the
    weight of those it stands for, so that equal uploads give the weighted sum under every rule.
    """

    def trains(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """The plan's federation (all people in every round, where it has none) under this rule."""
        return {"step": federated(plan.get("step")).replace(aggregate=self)}


def by_coordinate(uploads: Uploads, centre: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """A robust centre of every coordinate times the weight of the uploads that it is over.

    centre: [.., c] with NaN where an upload does not touch the coordinate, sorted along the last axis (NaN last) -> [..].
    """
    sort = lambda x: x.movedim(1, -1).sort(-1).values
    out = {}
    for name, x in uploads.dense.items():
        out[name] = centre(sort(x[None]))[0] * uploads.weights.sum()
    for name, table in uploads.tables.items():
        out[name] = table.values.new_zeros(uploads.sizes[name], *table.values.shape[1:])
        for rows, values, owners in table.by_row():
            weight = torch.where(owners >= 0, uploads.weights[owners.clamp_min(0)], 0.0).sum(1)
            middle = centre(sort(values))
            out[name][rows] = middle * weight.view(-1, *[1] * (middle.dim() - 1))
    return out
