"""What items of bundles are known by: what they are, who had them, and a place in a table; and one vector of all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oakum.data import Dataset
from oakum.data.bundles import feedback_log
from oakum.engine.fit import fit
from oakum.engine.learner import Facts
from oakum.errors import DataError, ParameterError
from oakum.nn.interact import MLP
from oakum.parameters import Spec

VIEWS = ("content", "feedback", "bundles")


def vector_column(data: Dataset, column: str) -> NDArray[np.float32]:
    """A column of vectors of the item table, [items, width]; zero rows where there is none."""
    table = data.tables["items"]
    if column not in table.columns:
        have = ", ".join(table.columns)
        raise DataError(f"The item table of '{data.name}' has no column '{column}' of vectors; it has {have}.")
    rows = [v if v is not None else [] for v in table[column].to_list()]
    width = max((len(v) for v in rows), default=0)
    wrong = next((r for r, v in enumerate(rows) if len(v) not in (0, width)), None)
    if wrong is not None or not width:
        found = "no vector at all"
        if wrong is not None:
            found = f"{len(rows[wrong])} numbers for item {data.items.ids[wrong]!r}"
        raise DataError(
            f"Column '{column}' of '{data.name}' should hold vectors of one length ({width}); found {found}."
        )
    return np.array([v if len(v) else [0.0] * width for v in rows], np.float32)


def feedback_vectors(data: Dataset, spec: Spec, width: int) -> NDArray[np.float32]:
    """Unit vectors of the items by what shoppers had, [items, width], from any system with item vectors; zero rows where
    nobody had an item. The system is fitted under one seed: what it finds belongs to the data."""
    out = np.zeros((data.num_items, width), np.float32)
    feedback = feedback_log(data)
    if feedback is None:
        return out
    scorer = fit(spec, feedback).scorer
    if not hasattr(scorer, "item_vectors"):
        raise ParameterError(f"Feedback is read by a system with item vectors, and '{spec.slug}' has none.")
    vectors = np.nan_to_num(scorer.item_vectors())[:, :width]
    out[:, : vectors.shape[1]] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return out


class ItemEncoder(nn.Module):
    """The views of items, fused: one vector each.

    widths: of the facts "text", "vector" and "feedback", 0 for what is not there; table: items of a free table, 0 for none.
    """

    def __init__(self, widths: Mapping[str, int], table: int, width: int) -> None:
        super().__init__()
        self.content = nn.ModuleDict()
        for name in ("text", "vector"):
            if size := widths[name]:
                net = MLP(size, (size, 4 * width), logit=False)
                self.content[name] = nn.Sequential(net, nn.Linear(4 * width, width))
        self.feedback = nn.Linear(widths["feedback"], width, bias=False) if widths["feedback"] else None
        self.table = nn.Embedding(table, width) if table else None
        if self.table is not None:
            nn.init.xavier_normal_(self.table.weight)
        self.several = bool(self.content) + (self.feedback is not None) + (self.table is not None) > 1
        if self.several:
            self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def views(self, facts: Facts, items: Tensor) -> Tensor:
        """The views of some items int64 [n], unit vectors or zero, [n, views, d]; an item without feedback has its content
        in that place."""
        out = []
        if self.content:
            parts = [_unit(net(facts[name][items]), facts[name][items]) for name, net in self.content.items()]
            out.append(F.normalize(torch.stack(parts).sum(0), dim=-1))
        if self.feedback is not None:
            known = facts["feedback"][items]
            own = _unit(self.feedback(known), known)
            out.append(torch.where(known.any(1, keepdim=True), own, out[0]) if out else own)
        if self.table is not None:
            out.append(F.normalize(self.table(items), dim=-1))
        return torch.stack(out, 1)

    def fuse(self, views: Tensor) -> Tensor:
        """Each view asks all; the views are the values; averaged. [n, views, d] -> [n, d]."""
        if not self.several:
            return views[:, 0]
        weights = torch.softmax(self.query(views) @ self.key(views).transpose(1, 2) / views.shape[-1] ** 0.5, -1)
        return (weights @ views).mean(1)

    def forward(self, facts: Facts, items: Tensor) -> Tensor:
        """int64 [n] -> [n, d]."""
        return self.fuse(self.views(facts, items))


def _unit(vectors: Tensor, known: Tensor) -> Tensor:
    """Length 1 where something is known, else 0."""
    return F.normalize(vectors, dim=-1) * known.any(1, keepdim=True)
