"""kNN-Embed over a base that is trained: the same mixture, made from its vectors once they stand still."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from oakum.data import Dataset, Filter, Queries, Ranking
from oakum.engine.learner import Facts, Phase
from oakum.engine.wrapping import Wrapping
from oakum.models.classic.knn_embed import KNNEmbed, Mixture, rows_of


class KNNEmbedLearned(Wrapping):
    """Trains the base; clusters are drawn at the first list after training or loading, under a seed that is saved."""

    def __init__(self, spec: KNNEmbed, base: Any) -> None:
        super().__init__(base)
        self.spec = spec

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The base's facts, the training rows and the seed of the clusters."""
        rows = data.matrix
        return {
            **super().prepare(data, phase),
            "mixture_indptr": torch.from_numpy(rows.indptr.astype(np.int64)),
            "mixture_indices": torch.from_numpy(rows.indices.astype(np.int64)),
            "mixture_seed": torch.randint(1 << 62, (1,)),
        }

    def mixture(self) -> Mixture:
        """The mixture over the vectors of the moment."""

        def make() -> Mixture:
            base: Any = self.base
            vectors = base.item_vectors().detach().float().cpu().numpy().copy()
            indptr, indices = (self.facts[f"mixture_{n}"].cpu().numpy() for n in ("indptr", "indices"))
            x = rows_of(indptr, indices, len(vectors))
            vectors[np.bincount(indices, minlength=len(vectors)) == 0] = np.nan
            return Mixture.over(self.spec, vectors, x, int(self.facts["mixture_seed"][0]))

        found: Mixture = self.cached("mixture", make)
        return found

    def recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        """The mixture's lists."""
        return Ranking(*self.mixture().lists(queries, k, where)[:2])
