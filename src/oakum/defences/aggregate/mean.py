"""The ordinary rule of a federation: what everybody sends is added up by weight."""

from __future__ import annotations

from torch import Tensor

from oakum.defences.aggregate.base import Aggregation
from oakum.engine.uploads import Replies, Uploads


class FedAvg(Aggregation):
    """The weighted mean of what clients upload: no upload is looked at by itself, and none is resisted.

    Paper: McMahan et al. 2017. w ← w − η Σ_u a_u g_u, g_u the sum of the gradients of the local steps; under `sgd` that is
    the mean of the local models. Sums are enough, so it works under secure aggregation, which no robust rule does.
    Memory and time: one gradient, whatever the number of clients. What every other rule is compared with.
    """

    slug = "fed-avg"
    linear = True

    def combine(self, uploads: Uploads, memory: dict[str, Tensor]) -> Replies:
        """The weighted sum."""
        return Replies(uploads.total())
