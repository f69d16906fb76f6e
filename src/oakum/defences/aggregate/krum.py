"""The uploads that have near neighbours, and no others."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from oakum.defences.aggregate.base import Aggregation
from oakum.engine.uploads import Replies, Uploads
from oakum.errors import ParameterError
from oakum.parameters import Range


class Krum(Aggregation):
    """Keeps the uploads that lie nearest to most of the others, and takes their mean.

    Paper: Blanchard et al. 2017. An upload's score is the sum of its squared distances to its c − f − 2 nearest of c
    uploads, f the hostile ones expected; the `keep` lowest scores stay (1 is Krum, more is Multi-Krum; 0 keeps c − f).
    People who like different things are far from each other without being hostile, so little of a recommender survives a
    small `keep`. Time clients² · touched weights, memory clients².
    """

    slug = "krum"
    hostile: Annotated[float, Range(0, below=0.5), "share of hostile uploads to expect in a round"] = 0.1
    keep: Annotated[int, Range(0), "uploads kept in a round; 0 keeps all but as many as are expected to be hostile"] = 0

    def combine(self, uploads: Uploads, memory: dict[str, Tensor]) -> Replies:
        """The kept uploads in place of all."""
        kept = uploads.weights.new_zeros(len(uploads))
        kept[chosen(uploads.products(), self.hostile, self.keep)] = 1.0
        weights = uploads.weights * kept
        return Replies(uploads.total(weights * (uploads.weights.sum() / weights.sum())))


def chosen(products: Tensor, hostile: float, keep: int) -> Tensor:
    """Places of the kept uploads, from the dot products of all pairs [c, c]."""
    c = len(products)
    expected = int(hostile * c)
    near = c - expected - 2
    if near < 1:
        raise ParameterError(
            f"Krum needs more uploads in a round: {c} with {expected} hostile ones leave no neighbours."
        )
    squares = products.diagonal()
    distance = (squares[:, None] + squares[None] - 2 * products).clamp_min(0)
    distance.fill_diagonal_(torch.inf)
    score = distance.sort(-1).values[:, :near].sum(-1)
    return torch.argsort(score, stable=True)[: keep or c - expected]
