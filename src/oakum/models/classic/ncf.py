"""A small network in place of the product of two vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from oakum import losses
from oakum.data import Dataset, Ids, Queries, Schema
from oakum.engine.learner import Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import ParameterError
from oakum.nn.foldin import descend
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Pairs, pairs


class NCF(Spec):
    """Learns how the tastes of a person and the traits of an item go together, rather than multiplying them.

    Paper: He et al. 2017. z = h · [p ⊙ q ; MLP([p' ; q'])] with tables of their own for both halves, σ(z) the chance of a
    like; log loss on every event and on num_negatives uniform items, drawn anew every epoch and never had by the user.
    form="mlp" or "gmf" keeps one half. Memory 12 (users + items) (d + hidden[0] / 2) bytes; time epochs · events ·
    (1 + num_negatives) · widths; scoring everything costs one pass of the network a pair.
    Newcomers: gradient steps on a vector of their own against frozen items and network, as a new client would take them.
    Differs from the paper in starting both halves together (no pre-training), in refusing negatives that the user has
    in training, and in ranking all items in place of 99 sampled ones.
    """

    slug = "ncf"
    form: Annotated[Literal["neumf", "mlp", "gmf"], "both halves, the network alone, or the weighted product alone"] = (
        "neumf"
    )
    embedding_dim: Annotated[int, Range(1, 1024, search=(8, 64), log=True), "width of the vectors of the product"] = 8
    hidden: Annotated[
        tuple[int, ...], "widths of the network; the first is a user's and an item's vector side by side"
    ] = (64, 32, 16, 8)
    num_negatives: Annotated[int, Range(1, 1024), "negatives a positive"] = 4
    l2: Annotated[float, Range(0, 100, search=(1e-7, 1e-3), log=True), "weight of the squares of the batch rows"] = 0.0
    init_std: Annotated[float, Range(above=0), "standard deviation of the first vectors"] = 0.01

    def plan(self) -> Plan:
        """The authors' settings, with early stopping on a validation part."""
        return Plan(learning_rate=1e-3, batch_size=256, epochs=100)

    def build(self, schema: Schema) -> NCFModel:
        """Empty tables of the right sizes."""
        if len(self.hidden) < 2 or self.hidden[0] % 2 or min(self.hidden) < 1:
            raise ParameterError(
                f"The 'hidden' parameter of NCF must be two or more widths, the first of them even. Got {self.hidden}."
            )
        return NCFModel(self, schema)


class NCFModel(Model):
    """Tables of users (private: in a federation each row stays with its client) and of items, and the network."""

    private = ("users", "mlp_users")

    def __init__(self, spec: Any, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        d, half = spec.embedding_dim * (spec.form != "mlp"), spec.hidden[0] // 2 * (spec.form != "gmf")
        self.widths = (d, half)
        table = lambda n, width: nn.Embedding(n, width)
        if d:
            self.users, self.items = table(schema.num_users, d), table(schema.num_items, d)
        if half:
            self.mlp_users, self.mlp_items = table(schema.num_users, half), table(schema.num_items, half)
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(spec.hidden, spec.hidden[1:], strict=False))
        self.out = nn.Linear(d + (spec.hidden[-1] if half else 0), 1)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=spec.init_std)
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def user_rows(self) -> Tensor:
        """[p ; p'] of all users [users, w]."""
        return torch.cat([t.weight for t in self._tables("users", "mlp_users")], 1)

    def item_rows(self) -> Tensor:
        """[q ; q'] of all items [items, w]."""
        return torch.cat([t.weight for t in self._tables("items", "mlp_items")], 1)

    def _tables(self, *names: str) -> list[Any]:
        return [getattr(self, n) for n in names if hasattr(self, n)]

    def _rows(self, names: tuple[str, str], codes: Tensor) -> Tensor:
        return torch.cat([t(codes) for t in self._tables(*names)], -1)

    def logit(self, user: Tensor, item: Tensor) -> Tensor:
        """z of rows [.., w] of users and items, whose shapes broadcast; -> [..]."""
        d, half = self.widths
        parts = [user[..., :d] * item[..., :d]] if d else []
        if half:
            # The first layer by halves: neither is copied for every pair.
            first: Any = self.layers[0]
            left, right = first.weight[:, :half], first.weight[:, half:]
            x = torch.relu((user[..., d:] @ left.T + first.bias) + item[..., d:] @ right.T)
            for layer in list(self.layers)[1:]:
                x = torch.relu(layer(x))
            parts.append(x)
        out: Tensor = self.out(torch.cat(parts, -1)).squeeze(-1)
        return out

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Observed pairs that want negatives."""
        return pairs(data, order, wants=self.spec.num_negatives)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, w], negative [b, n, w]: the rows of both halves side by side."""
        assert isinstance(batch, Pairs)
        assert batch.negatives is not None
        users, items = ("users", "mlp_users"), ("items", "mlp_items")
        return {
            "query": self._rows(users, batch.users),
            "positive": self._rows(items, batch.items),
            "negative": self._rows(items, batch.negatives.items),
        }

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """bce [b]: the mean log loss of a positive and its n negatives; l2 [b] of their rows, where it weighs."""
        positive = self.logit(reps["query"], reps["positive"])
        negative = self.logit(reps["query"].unsqueeze(1), reps["negative"])
        n = negative.shape[1]
        bce = losses.log_loss(torch.cat([positive[:, None], negative], 1), _labels(positive, n)).mean(1)
        if not self.spec.l2:
            return {"bce": bce}
        return {"bce": bce, "l2": self.spec.l2 * losses.l2(reps["query"], reps["positive"], reps["negative"])}

    def score_candidates(self, batch: Batch, items: Tensor) -> Tensor:
        """z of own candidates [b, c]."""
        assert isinstance(batch, Pairs)
        user = self._rows(("users", "mlp_users"), batch.users).unsqueeze(1)
        return self.logit(user, self._rows(("items", "mlp_items"), items))

    def score(self, queries: Queries, items: Ids | None = None) -> Tensor:
        """z of trained users from their row, of newcomers from one that is fitted to their history."""
        table = self.cached("items", self.item_rows)
        rows = self.cached("users", self.user_rows)
        user = rows[torch.from_numpy(np.maximum(queries.users, 0).astype(np.int64)).to(rows.device)]
        fresh = np.flatnonzero(queries.users < 0)
        if len(fresh):
            user = user.clone()
            new = [self._newcomer(queries.histories.row(int(r)), table) for r in fresh]
            user[torch.from_numpy(fresh).to(user.device)] = torch.stack(new)
        if items is not None and items.ndim == 2:
            chosen = table[torch.from_numpy(np.maximum(items, 0).astype(np.int64)).to(table.device)]
            out = self.logit(user.unsqueeze(1), chosen)
        else:
            if items is not None:
                table = table[torch.from_numpy(np.maximum(items, 0).astype(np.int64)).to(table.device)]
            size = max(1, (1 << 22) // max(1, len(table) * max(self.spec.hidden[1], sum(self.widths))))
            out = torch.cat([self.logit(part.unsqueeze(1), table) for part in user.split(size)])
        if items is None:
            return out
        return out.masked_fill(torch.from_numpy(items < 0).to(out.device), torch.nan)

    def _newcomer(self, history: Ids, table: Tensor) -> Tensor:
        """A row [w] fitted to a history against `num_negatives` times as many other items, evenly spread; NaN where it
        is empty."""
        if not len(history):
            return table.new_full((table.shape[1],), torch.nan)
        others = np.setdiff1d(np.arange(len(table)), history)
        count = min(len(others), self.spec.num_negatives * len(history))
        others = others[np.linspace(0, len(others) - 1, count).astype(np.int64)] if count else others
        rows = table[torch.from_numpy(np.concatenate([history, others]).astype(np.int64)).to(table.device)]
        label = (torch.arange(len(rows), device=table.device) < len(history)).float()
        return descend(
            lambda row: losses.log_loss(self.logit(row, rows), label).mean(), table.new_zeros(table.shape[1])
        )


def _labels(positive: Tensor, n: int) -> Tensor:
    label = positive.new_zeros(len(positive), n + 1)
    label[:, 0] = 1.0
    return label
