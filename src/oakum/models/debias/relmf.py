"""Matrix factorisation of clicks that learns what is relevant, not what was shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.data import Dataset, Queries, Schema
from oakum.engine.learner import Facts, Losses, Phase, Reps
from oakum.engine.plan import Plan
from oakum.models.classic.bpr_mf import BPRMFModel
from oakum.nn.foldin import ridge
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Labelled, Order, labelled_pairs
from oakum.sampling.propensity import logged_propensities, popularity_propensities


class RelMF(Spec):
    """Learns relevance from clicks by weighing each click by 1 over the chance that it was shown: for logs of a biased
    recommender, and to lift rare items.

    Paper: Saito et al. 2020. A click is exposure and relevance, P(Y = 1) = θ γ. L = mean of (Y/θ) δ¹ + (1 − Y/θ) δ⁰ + λ/2
    (|P|² + |Q|²), θ replaced by max(θ, M): M = 0 is unbiased, M = 1 the plain loss on clicks. δ¹, δ⁰ are the losses of the
    answers "relevant" and "not" for ŷ = σ(p·q + biases): (1 − ŷ)² and ŷ², or cross-entropy, which has no lower bound under
    small θ (clip, or set non_negative). θ_i = (clicks_i / most clicks)^power, or the column "propensity" of the log (chance
    of each event) or of the table of items. Memory 12 (users + items) d bytes; time 2 events d an epoch: a draw of so many
    pairs, half clicked, half not (`draw="uniform"` or "halves-weighted" keep the mean over all pairs, which the paper's
    halves do not). Newcomers: a ridge solve onto the item table. Choose by sndcg on clicks: a plain metric undoes the method.
    A fake click on a rare item weighs 1/θ: clip, and try a poisoning attack. Differs from the paper in the draws and the
    lower bound just named, in counting epochs, and in early stopping.
    """

    slug = "relmf"
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256), log=True), "width of the vectors"] = 200
    propensity: Annotated[
        Literal["popularity", "logged"], "chance of exposure: a power of popularity, or what the data say"
    ] = "popularity"
    power: Annotated[float, Range(0, 4, search=(0.1, 1)), "exponent of the popularity"] = 0.5
    clip: Annotated[float, Range(0, 1, search=(1e-3, 1), log=True), "M: smallest chance that is believed"] = 0.01
    loss: Annotated[Literal["squared", "cross-entropy"], "what an answer costs"] = "squared"
    draw: Annotated[
        Literal["halves", "halves-weighted", "uniform"], "pairs of a batch: half clicked, also weighed, or all alike"
    ] = "halves"
    biases: Annotated[bool, "a bias of each user and item, and one of all"] = False
    non_negative: Annotated[bool, "drop the part of the losses that falls below 0 (not in the paper)"] = False
    l2: Annotated[float, Range(0, 100, search=(1e-7, 1e-3), log=True), "λ: weight of the squares of both tables"] = 1e-4

    def plan(self) -> Plan:
        """The settings on real data; stopping is judged without the bias of exposure."""
        return Plan(learning_rate=5e-3, batch_size=32768, epochs=300, metric="sndcg@5")

    def build(self, schema: Schema) -> RelMFModel:
        """Empty tables of the right sizes."""
        return RelMFModel(self, schema)


class RelMFModel(BPRMFModel):
    """Two tables, biases beside them where asked for, and the chance of exposure as a fact."""

    def initialise(self) -> None:
        """Xavier's uniform values; biases of 0."""
        nn.init.xavier_uniform_(self.users.weight)
        nn.init.xavier_uniform_(self.items.weight)
        if self.spec.biases:
            self.user_bias = nn.Parameter(torch.zeros(self.users.num_embeddings, 1))
            self.item_bias = nn.Parameter(torch.zeros(self.items.num_embeddings, 1))
            self.bias = nn.Parameter(torch.zeros(1))

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """propensity [items]; with chances by event also pair_propensity [distinct pairs], in the order of the matrix."""
        if self.spec.propensity == "popularity":
            return {"propensity": torch.from_numpy(popularity_propensities(data.item_counts, self.spec.power))}
        by_item, by_pair = logged_propensities(data)
        facts = {"propensity": torch.from_numpy(by_item)}
        if by_pair is not None:
            facts["pair_propensity"] = torch.from_numpy(by_pair)
        return facts

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Clicked and unlabelled pairs."""
        return labelled_pairs(data, order, by=self.spec.draw)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Two pairs a click."""
        return 2 * data.matrix.nnz

    def tables(self) -> tuple[Tensor, Tensor]:
        """The vectors; biases are two more columns on each side: (p, b_u + b, 1) · (q, 1, b_i)."""
        users, items = self.users.weight, self.items.weight
        if not self.spec.biases:
            return users, items
        own, other = self.user_bias + self.bias, self.item_bias
        return torch.cat([users, own, torch.ones_like(own)], 1), torch.cat([items, torch.ones_like(other), other], 1)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, d]: the person and the item of a pair, whether clicked or not."""
        assert isinstance(batch, Labelled)
        users, items = self.tables()
        return {"query": F.embedding(batch.users, users), "positive": F.embedding(batch.items, items)}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """relevance [b], and l2 of both tables."""
        assert isinstance(batch, Labelled)
        logit = (reps["query"] * reps["positive"]).sum(-1)
        if self.spec.loss == "squared":
            chance = torch.sigmoid(logit)
            if_one, if_zero = (1 - chance).square(), chance.square()
        else:
            if_one, if_zero = F.softplus(-logit), F.softplus(logit)
        theta = self.exposure(batch).clamp_min(max(self.spec.clip, 1e-6))
        rows = losses.inverse_propensity(batch.labels, theta, if_one, if_zero, non_negative=self.spec.non_negative)
        if batch.weights is not None:
            rows = rows * batch.weights
        square = self.users.weight.square().sum() + self.items.weight.square().sum()
        return {"relevance": rows, "l2": self.spec.l2 / 2 * square}

    def exposure(self, batch: Labelled) -> Tensor:
        """θ of each row [b]; that of an unlabelled pair is never read."""
        found = self.facts["propensity"][batch.items]
        if "pair_propensity" in self.facts:
            found = torch.where(batch.rows >= 0, self.facts["pair_propensity"][batch.rows.clamp_min(0)], found)
        return found

    def newcomers(self, queries: Queries, items: Tensor) -> Tensor:
        """A ridge solve onto the items' vectors; nobody's bias."""
        if not self.spec.biases:
            return ridge(items, queries.histories)
        own = ridge(items[:, :-2], queries.histories)
        empty = own[:, :1] * 0  # NaN where the history says nothing
        return torch.cat([own, self.bias + empty, 1 + empty], 1)
