"""A fraud head beside the recommender: whoever looks fake weighs less in its loss."""

from __future__ import annotations

from typing import Annotated

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.data import Dataset, Schema
from oakum.engine.learner import Facts, Losses, Phase, Plugin, Reps, ranking_loss
from oakum.engine.run import Run
from oakum.nn.project import projected
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch

WIDTH = 16  # user vectors of any width are projected to so many numbers


class GraphRfi(Spec):
    """Learns who is genuine beside what people like, and lets the doubtful weigh less.

    Paper: Zhang et al. 2020. L = γ CE(P(genuine), label) + P(genuine) · L_rank, P by a forest of neural decision trees over the user's
    vector and a tenth of their mean error. Labels: the column `known` of the users' table, 1 for known fakes; those without a
    value count in no cross entropy. Without such a column everybody is taken for genuine, and the head can only doubt people
    whose loss is above γ. Acts on any model with query vectors. Cost b · trees · 2^depth; memory `WIDTH` · trees · 2^depth weights and
    one label a user. Differs in ranking losses for squared errors of ratings, and in a fixed random projection of the user's
    vector (a plug-in does not know its width).
    """

    slug = "graphrfi"
    begin: Annotated[int, Range(0), "first epoch (from 0) in which it acts"] = 0
    gamma: Annotated[float, Range(0, 1000, search=(0.5, 50), log=True), "weight of the fraud loss; 0: no plug-in"] = 5.0
    trees: Annotated[int, Range(1, 1000), "trees of the forest"] = 5
    depth: Annotated[int, Range(1, 10), "decisions of a tree from root to leaf"] = 3
    known: Annotated[str, "column of the users' table: 1 known fake, 0 known genuine, empty unknown"] = "known_fake"

    def build(self, schema: Schema) -> GraphRfiPlugin:
        """The plug-in."""
        return GraphRfiPlugin(self)


class NeuralForest(nn.Module):
    """Soft decision trees (Kontschieder et al. 2015): every node goes right with σ(w · x + b), every leaf holds a probability."""

    def __init__(self, width: int, trees: int, depth: int) -> None:
        super().__init__()
        self.trees, self.depth = trees, depth
        self.nodes = nn.Linear(width, trees * (2**depth - 1))
        self.leaves = nn.Parameter(0.1 * torch.randn(trees, 2**depth))

    def forward(self, x: Tensor) -> Tensor:
        """The mean over trees of the expected leaf, in (0, 1): [b, width] -> [b]."""
        right = torch.sigmoid(self.nodes(x)).view(len(x), self.trees, -1)
        reach = torch.ones(len(x), self.trees, 1, device=x.device)
        for level in range(self.depth):
            here = right[:, :, 2**level - 1 : 2 ** (level + 1) - 1]
            reach = torch.stack([reach * (1 - here), reach * here], -1).flatten(2)
        return (reach * torch.sigmoid(self.leaves)).sum(-1).mean(-1)


class GraphRfiPlugin(Plugin):
    """Weighs the ranking losses by P(genuine) and adds the loss "_fraud"."""

    def __init__(self, spec: GraphRfi) -> None:
        super().__init__()
        self.spec = spec
        self.forest = NeuralForest(WIDTH + 1, spec.trees, spec.depth)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Labels [users]: 1 genuine, 0 fake, NaN unknown."""
        table = data.tables.get("users")
        if table is None or self.spec.known not in table.columns:
            return {"genuine": torch.ones(data.num_users)}
        marks = table[self.spec.known].cast(pl.Float32).fill_null(float("nan")).to_numpy()
        return {"genuine": torch.from_numpy(1.0 - marks)}

    def genuine(self, query: Tensor, error: Tensor) -> Tensor:
        """P(genuine) from user vectors [b, d] and mean errors [b]."""
        out: Tensor = self.forest(torch.cat([projected(query, WIDTH), error[:, None] / 10], -1))
        return out

    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """The same losses, each row by how genuine its user looks."""
        query = reps.get("query")
        if run.epoch < self.spec.begin or self.spec.gamma == 0 or query is None:
            return losses
        rank = ranking_loss(losses).detach()
        users = getattr(batch, "users", None)
        if len(rank) != len(query):
            return losses
        if users is None or len(users) != len(query):
            users, label = torch.arange(len(query), device=query.device), torch.ones(len(query), device=query.device)
        else:
            label = self.facts["genuine"][users]
        _, code, count = torch.unique(users, return_inverse=True, return_counts=True)
        own = torch.zeros(len(count), device=rank.device).index_add_(0, code, rank.float())[code] / count[code]
        believed = self.genuine(query, own)
        told = torch.isfinite(label)
        fraud = F.binary_cross_entropy(believed.clamp(1e-6, 1 - 1e-6), torch.nan_to_num(label), reduction="none") * told
        aside = lambda name, value: name == "l2" or name.startswith("_") or len(value) != len(believed)
        out = {n: v if aside(n, v) else v * believed for n, v in losses.items()}
        return {**out, "_fraud": self.spec.gamma * fraud}
