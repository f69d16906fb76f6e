"""Matrix factorisation trained by the weights that endless propagation over the graph would give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from oakum import losses
from oakum.data import Dataset, Schema
from oakum.engine.learner import Facts, Losses, Phase, Reps
from oakum.engine.plan import Plan
from oakum.kernels.neighbours import cooccurring
from oakum.models.classic.bpr_mf import BPRMFModel
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Pairs, pairs
from oakum.sampling.samplers import Sampler, Shared, Uniform


class UltraGCN(Spec):
    """What a graph network of endless depth would learn, trained and served as matrix factorisation: for large graphs.

    Paper: Mao et al. 2021. β_ui = sqrt((d_u + 1) / (d_i + 1)) / d_u, S(i) the K items of largest ω_ij, summed over a batch:
    L = −Σ (w₁ + w₂ β_ui) log σ(s_ui) − (W/n) Σ_j (w₃ + w₄ β_uj) log σ(−s_uj) − λ Σ_{j in S(i)} ω_ij log σ(s_uj) + γ/2 |all|²,
    s = p·q, j uniform over all items. Memory 12 (users + items) d + 8 items K bytes and 8 batch (n + K) d bytes a step;
    time: events (n + K) d an epoch, no sparse product, and once Σ_u |H_u|² for ω. `sampling="shared"` draws one set for a
    batch: n d floats instead of batch n d. Newcomers: a ridge solve onto the item table. Differs from the reference: ω in
    sparse blocks, not a dense matrix; n = 200 for any data by default. The loss is a sum: learning rate and γ belong to the
    batch size. Tiny first values mean a long stay at the popularity ranking (ten epochs on a million events, more on small
    data): keep the patience above it.
    """

    slug = "ultragcn"
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "width of the vectors"] = 64
    init_std: Annotated[float, Range(above=0), "standard deviation of the first values"] = 1e-3
    w1: Annotated[float, Range(0, 100), "plain weight of a positive"] = 1e-7
    w2: Annotated[float, Range(0, 100), "weight of β of a positive"] = 1.0
    w3: Annotated[float, Range(0, 100), "plain weight of a negative"] = 1e-7
    w4: Annotated[float, Range(0, 100), "weight of β of a negative"] = 1.0
    num_negatives: Annotated[int, Range(1, 16384, search=(50, 1000), log=True), "n: negatives a positive"] = 200
    negative_weight: Annotated[float, Range(0, search=(10, 1000), log=True), "W: weight of all negatives together"] = (
        200.0
    )
    sampling: Annotated[
        Literal["any", "sift", "shared"], "any item; never the user's own; or any, one set for a whole batch"
    ] = "any"
    k: Annotated[int, Range(1, 1000), "K: co-occurring items read a positive"] = 10
    item_weight: Annotated[float, Range(0, search=(1e-4, 3), log=True), "λ: weight of the co-occurring items"] = 1e-3
    omega: Annotated[
        Literal["code", "paper"], "the code's ω keeps the item among its own neighbours, the paper's does not"
    ] = "code"
    l2: Annotated[float, Range(0, 100, search=(1e-6, 1e-3), log=True), "γ: weight of the squares of both tables"] = 1e-4

    def plan(self) -> Plan:
        """The reference's settings for a million events."""
        return Plan(learning_rate=1e-3, batch_size=1024, epochs=2000, metric="recall@20", patience=15)

    def build(self, schema: Schema) -> UltraGCNModel:
        """Empty tables of the right sizes."""
        return UltraGCNModel(self, schema)


def endless_weights(user_counts: NDArray[Any], item_counts: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """β as two vectors, β_ui = b_u[u] · b_i[i]: what an edge weighs where propagation with self-loops stands still.

    Degrees [users], [items] -> float32 [users], [items]; 0 for a user without events.
    """
    d = np.asarray(user_counts, np.float64)
    of_users = np.where(d > 0, np.sqrt(d + 1) / np.maximum(d, 1), 0.0)
    of_items = 1 / np.sqrt(np.asarray(item_counts, np.float64) + 1)
    return of_users.astype(np.float32), of_items.astype(np.float32)


def item_graph(matrix: Any, k: int, form: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """S(i) and ω: items int32 [items, k] (-1 pads) and weights float32 [items, k] (0 there), G = RᵀR, g its row sums.

    code: ω_ij = G_ij sqrt(g_i + 1) / g_i / sqrt(g_j + 1), j = i allowed. paper: ω_ij = G_ij / (g_i − G_ii) · sqrt(g_i / g_j).
    """
    own = np.asarray(matrix.sum(0), np.float64).ravel()
    total = np.asarray(matrix.T @ np.asarray(matrix.sum(1)), np.float64).ravel()
    over = lambda top, below: np.where(below > 0, top / np.where(below > 0, below, 1), 0.0)
    if form == "code":
        left, right = over(np.sqrt(total + 1), total), 1 / np.sqrt(total + 1)
    else:
        left, right = over(np.sqrt(total), total - own), over(1.0, np.sqrt(total))
    return cooccurring(matrix, k, left, right, diagonal=form == "code")


class UltraGCNModel(BPRMFModel):
    """Two tables; degrees and co-occurring items as facts."""

    @property
    def sampler(self) -> Sampler:
        """Uniform over all items, the user's own included unless they are sifted out."""
        return Shared(reject=False) if self.spec.sampling == "shared" else Uniform(reject=self.spec.sampling == "sift")

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """β as two vectors, and the K co-occurring items of each item with their ω."""
        users, items = endless_weights(data.user_counts, data.item_counts)
        near, omega = item_graph(data.matrix, self.spec.k, self.spec.omega)
        facts = {"beta_users": users, "beta_items": items, "near": near.astype(np.int64).clip(0), "omega": omega}
        return {n: torch.from_numpy(v) for n, v in facts.items()}

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every event once, n negatives each."""
        return pairs(data, order, wants=self.spec.num_negatives)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, d], negative [b, n, d] or [1, n, d]; private: the co-occurring items [b, K, d]."""
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        drawn = batch.negatives.items
        codes = [batch.items, drawn.flatten()]
        if self.spec.item_weight:
            codes.append(self.facts["near"][batch.items].flatten())
        # One look-up, so that the dense gradient of the table is made once.
        found = self.items(torch.cat(codes)).split([len(c) for c in codes])
        reps = {"query": self.users(batch.users), "positive": found[0], "negative": found[1].view(*drawn.shape, -1)}
        if self.spec.item_weight:
            reps["_near"] = found[2].view(len(batch), self.spec.k, -1)
        return reps

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """bce [b], _near [b] and l2, each times the size of the batch, so that their means are the paper's sums."""
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        spec, b = self.spec, len(batch)
        query = reps["query"]
        beta_users, beta_items = self.facts["beta_users"][batch.users], self.facts["beta_items"]
        positive = (query * reps["positive"]).sum(-1)
        negative = losses.against(query, reps["negative"])
        pull = (spec.w1 + spec.w2 * beta_users * beta_items[batch.items]) * F.softplus(-positive)
        weight = spec.w3 + spec.w4 * beta_users.unsqueeze(1) * beta_items[batch.negatives.items]
        push = spec.negative_weight * (weight * F.softplus(negative)).mean(-1)
        out = {"bce": b * (pull + push)}
        if "_near" in reps:
            near = (reps["_near"] @ query.unsqueeze(-1)).squeeze(-1)
            out["_near"] = b * spec.item_weight * (self.facts["omega"][batch.items] * F.softplus(-near)).sum(-1)
        out["l2"] = spec.l2 / 2 * (self.users.weight.square().sum() + self.items.weight.square().sum())
        return out
