"""Vulnerability-aware adversarial training: move most those whom the model already fits best."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from oakum.engine.learner import Reps
from oakum.parameters import Range
from oakum.plugins.apr import APR, APRPlugin
from oakum.sampling.batches import Batch


class VAT(APR):
    """APR whose move grows with how well a user is fitted.

    Paper: Zhang et al. 2024. λ_u = ρ σ(L̄ / (L_u + 1e-9) − 1), L_u the user's ranking loss in the batch (stopped), L̄ its mean
    over the distinct users of the batch; Δ_v = ε λ_u g_v / |g_v|. L_u = L̄ gives APR; λ lies in (0.5379, 2] for ρ = 2.
    Cost as APR. Differs in averaging a user's rows (`aggregate="mean"`); the paper's code sums them, which makes a user
    who was drawn twice look half as vulnerable.
    """

    slug = "vat"
    rho: Annotated[float, Range(0, 100), "largest factor on the move"] = 2.0
    aggregate: Annotated[Literal["mean", "sum"], "how the rows of a user in a batch are put together"] = "mean"

    def build(self, schema: Any) -> VATPlugin:
        """The plug-in."""
        return VATPlugin(self)


def user_losses(users: Tensor, rank: Tensor, aggregate: str) -> tuple[Tensor, Tensor]:
    """L_u for every row [b], and L̄ over the distinct users []."""
    _, code, count = torch.unique(users, return_inverse=True, return_counts=True)
    total = torch.zeros(len(count), device=rank.device).index_add_(0, code, rank)
    if aggregate == "mean":
        total = total / count
    return total[code], total.mean()


class VATPlugin(APRPlugin):
    """APR with a size of its own for every user."""

    def sizes(self, batch: Batch, reps: Reps, rank: Tensor) -> Tensor:
        """ε λ_u, [b]; without users in the batch every row is a user."""
        users = getattr(batch, "users", None)
        if users is None or len(users) != len(rank):
            users = torch.arange(len(rank), device=rank.device)
        own, mean = user_losses(users, rank, self.spec.aggregate)
        factor: Tensor = self.spec.rho * torch.sigmoid(mean / (own + 1e-9) - 1)
        return self.spec.eps * factor


class PamaCF(APR):
    """APR whose move grows with the length of the user's vector.

    Paper: Zhang et al. 2024 (NeurIPS). λ_u = ρ σ(|p_u|² / mean |p_u|² − 1), p_u the final representation, stopped. Cost as APR.
    """

    slug = "pamacf"
    rho: Annotated[float, Range(0, 100), "largest factor on the move"] = 2.0

    def build(self, schema: Any) -> PamaCFPlugin:
        """The plug-in."""
        return PamaCFPlugin(self)


class PamaCFPlugin(APRPlugin):
    """APR with a size by the length of the query vector."""

    def sizes(self, batch: Batch, reps: Reps, rank: Tensor) -> Tensor:
        """ε λ_u, [b]."""
        length = (reps["query"].detach() ** 2).sum(-1)
        factor: Tensor = self.spec.rho * torch.sigmoid(length / length.mean().clamp_min(1e-12) - 1)
        return self.spec.eps * factor
