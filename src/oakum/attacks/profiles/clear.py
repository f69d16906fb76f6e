"""Poison against contrastive recommenders: promote, and spread the spectrum of the vectors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from oakum import losses
from oakum.attacks.profiles.relaxed import Relaxed
from oakum.parameters import Range


def deflation(vectors: Tensor, iterations: int = 1) -> Tensor:
    """What one power-iteration deflation takes off: |SFA(H) − H|₁ / n with SFA(H) = H − H r rᵀ / |r|², r = (HᵀH)^iterations r₀,
    r₀ of ones. [n, d] -> []. Small where no direction stands out."""
    square = vectors.T @ vectors
    r = torch.ones(vectors.shape[1], dtype=vectors.dtype)
    for _ in range(iterations):
        r = square @ r
        r = r / r.norm().clamp_min(1e-12)
    return (vectors @ r[:, None] * r).abs().sum() / len(vectors)


class CLeaRProfiles(Relaxed):
    """Fake accounts that promote and flatten the spectrum of the vectors, as contrastive training does by itself.

    Paper: Wang et al. 2024. Up −mean max(s(u, last of the top k) − s(u, t), −κ) − α |SFA(H) − H|₁ over the vectors H of people and
    items: contrast spreads representations evenly, which brings cold items within reach of everybody; the second term asks for
    that. Grey box: reads the log, trains its own model. Memory accounts · items + items · d² floats, time steps · (a fit of iALS +
    accounts · items · d²). Differs in the surrogate (iALS for a contrastive graph model) and in its closed inner step.
    """

    slug = "clear-profiles"
    knowledge: ClassVar[str] = "the log; a surrogate model of its own"
    direction: ClassVar[Any] = "unit"
    momentum: ClassVar[float] = 0.9
    kappa: Annotated[float, Range(0), "how far above the last place is far enough"] = 1.0
    alpha: Annotated[float, Range(0), "weight of the even spectrum"] = 0.1

    def gain(self, people: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """Promotion and evenness."""
        margin = losses.list_margin(people @ items.T, targets, self.k, kappa=self.kappa).mean()
        return -margin - self.alpha * deflation(torch.cat([people, items]))
