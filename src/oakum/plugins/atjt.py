"""Denoising by an auxiliary task: histories that look as if something in them were replaced count less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses as rows_of
from oakum.data import Dataset, Schema
from oakum.engine.learner import Facts, Losses, Phase, Plugin, Reps
from oakum.engine.run import Run
from oakum.errors import DataError
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.sampling.views import other_within, replaced, some_rows
from oakum.seeds import keyed_hash


class ATJT(Spec):
    """Weighs each row by how clean the history before it looks to a small network that learns from planted noise.

    Paper: Liu et al. 2024. A recogniser g, with tables of its own, reads (user, history, target) and says in (0, 1) whether
    the history is as it was; it learns on batches in half of which an event was replaced. L = Σ w L_row / Σ w + κ L_noise, w = g of
    the row as it is. Two recognisers are fitted crosswise: each weighs the people whose histories the other learned from, so
    none has seen the row that it weighs. mode "joint" (the paper's): one step moves all, and w passes gradients; "apart": g has
    a phase and a learning rate (`rate`) of its own, and w is a constant. Rows without a history get the mean weight.
    Works over any model whose batches name log rows, or users and items. Cost: two passes of g a row, b · max_length · (8 d · 32)
    products each for d = embedding_dim; memory 2 (users + items) d and b · max_length · 4 d.
    Differs in fitting both halves side by side in every epoch, not one after the other; in drawing the replaced place for each
    row, not once a batch; and in item 0, which here is an item and no padding.
    """

    slug = "atjt"
    begin: Annotated[int, Range(0), "first epoch (from 0) in which weights act; the noise task runs from the first"] = 0
    gamma: Annotated[float, Range(0, 10), "exponent on the weights; 0 is no plug-in"] = 1.0
    kappa: Annotated[float, Range(0, 10_000, search=(1, 200), log=True), "weight of the noise task, where joint"] = (
        100.0
    )
    mode: Annotated[Literal["joint", "apart"], "one step for all, or turns"] = "joint"
    rate: Annotated[
        float, Range(above=0, high=10, search=(1e-4, 1e-1), log=True), "learning rate of g, where apart"
    ] = 3e-3
    batch_size: Annotated[int, Range(1, 1_048_576), "rows in a turn of g, where apart"] = 512
    cross_fit: Annotated[bool, "two recognisers, crosswise; false: one for all rows (the control)"] = True
    max_length: Annotated[int, Range(1, 10_000), "events read before each target"] = 19
    replace_events: Annotated[int, Range(1, 10_000), "events replaced in a planted row"] = 1
    replacement: Annotated[Literal["uniform", "popular", "category"], "what comes in place of an event"] = "uniform"
    category: Annotated[str, "column of the items' table that g reads beside the item; empty: none"] = ""
    embedding_dim: Annotated[int, Range(1, 1024), "width of each field of g"] = 8
    dropout: Annotated[float, Range(0, below=1), "dropout inside g"] = 0.5

    def sizes(self, data: Dataset) -> Mapping[str, int]:
        """How many categories there are."""
        return {"categories": int(categories(data, self.category).max()) + 1}

    def build(self, schema: Schema) -> ATJTPlugin:
        """The plug-in."""
        return ATJTPlugin(self, schema)


def categories(data: Dataset, column: str) -> NDArray[np.int64]:
    """The category of each item, int64 [items]: the first of a list or of "a|b, c"; 0 where nothing is known or asked."""
    if not column:
        return np.zeros(data.num_items, np.int64)
    table = data.tables.get("items")
    if table is None or column not in table.columns:
        found = "has no table of items" if table is None else f"tells of its items: {', '.join(table.columns)}"
        raise DataError(
            f"atjt reads the category '{column}' of items, and '{data.name}' {found}. Name another, or none."
        )
    values = table[column]
    if isinstance(values.dtype, pl.List):
        values = values.list.first()
    names = values.cast(pl.String).fill_null("").str.split("|").list.first().str.split(",").list.first().to_numpy()
    _, codes = np.unique(names.astype(str), return_inverse=True)
    return np.where(names == "", 0, codes.astype(np.int64) + 1)


def histories_of(data: Dataset) -> Facts:
    """Where to find the events before each row: flat histories and the place of each log row in them."""
    flat = data.histories
    assert flat.rows is not None
    owners = flat.owners()
    place = np.full(int(flat.rows.max()) + 1, -1, np.int64)
    place[flat.rows] = np.arange(len(flat.rows))
    pairs = owners * data.num_items + flat.items
    order = np.argsort(pairs, kind="stable")
    found = {"items": flat.items, "owners": owners, "starts": flat.offsets[:-1], "place": place}
    found |= {"pairs": pairs[order], "pair_at": order}
    return {k: torch.from_numpy(np.ascontiguousarray(v, np.int64)) for k, v in found.items()}


class Rows:
    """Rows as g reads them: users, targets [b], histories [b, t] and where they are no padding."""

    def __init__(self, facts: Facts, at: Tensor, length: int) -> None:
        self.known = at >= 0
        at = at.clamp_min(0)
        self.users, self.targets = facts["owners"][at], facts["items"][at]
        index = at[:, None] - torch.arange(length, 0, -1, device=at.device)
        self.there = (index >= facts["starts"][self.users][:, None]) & self.known[:, None]
        self.items = facts["items"][index.clamp_min(0)]

    @property
    def read(self) -> Tensor:
        """Which rows have a history, bool [b]."""
        return self.there.any(1)


class Recogniser(nn.Module):
    """g: weighs each event of a history against the target and says how likely nothing was replaced."""

    def __init__(self, schema: Schema, width: int, dropout: float) -> None:
        super().__init__()
        n = schema.sizes.get("categories", 1)
        self.users, self.items = nn.Embedding(schema.num_users, width), nn.Embedding(schema.num_items, width)
        self.categories = nn.Embedding(n, width) if n > 1 else None
        field = width * (1 if self.categories is None else 2)
        self.look = nn.Sequential(nn.Linear(4 * field, 32), nn.Dropout(dropout), nn.PReLU(), nn.Linear(32, 1))
        act = nn.PReLU()
        self.say = nn.Sequential(nn.Linear(width + 2 * field, 256), act, nn.Linear(256, 64), act, nn.Linear(64, 1))
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def fields(self, items: Tensor, category: Tensor) -> Tensor:
        """[...] -> [..., field]."""
        found = self.items(items)
        return found if self.categories is None else torch.cat([found, self.categories(category[items])], -1)

    def forward(self, rows: Rows, items: Tensor, category: Tensor, pick: Tensor) -> Tensor:
        """Logits [k] of the rows at positions int64 [k], with `items` [b, t] for histories."""
        h, c = self.fields(items[pick], category), self.fields(rows.targets[pick], category)
        wide = c.unsqueeze(1).expand_as(h)
        share = self.look(torch.cat([h, wide, h - wide, h * wide], -1)) * rows.there[pick].unsqueeze(-1)
        seen = (share * h).sum(1)
        out: Tensor = self.say(torch.cat([self.users(rows.users[pick]), seen, c], -1)).squeeze(-1)
        return out


class ATJTPlugin(Plugin):
    """Two recognisers and the weights they give."""

    def __init__(self, spec: ATJT, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        self.judges = nn.ModuleList(
            Recogniser(schema, spec.embedding_dim, spec.dropout) for _ in range(2 if spec.cross_fit else 1)
        )

    def phases(self) -> tuple[Phase, ...]:
        """A turn of its own after every step of the model, where g trains apart."""
        if self.spec.mode == "joint" or self.spec.gamma == 0:
            return ()
        return (Phase(name="noise", own=True, every=1, learning_rate=self.spec.rate),)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """Histories, categories, and what replacements are drawn from."""
        category = categories(data, self.spec.category)
        group = category if self.spec.replacement == "category" else np.zeros_like(category)
        size = np.bincount(group)
        drawn = {
            "category": category,
            "group": group,
            "order": np.argsort(group, kind="stable"),
            "size": size,
            "start": np.cumsum(size) - size,
            "popular": np.cumsum(data.item_counts**0.75),
            "half": (keyed_hash(1, np.arange(data.num_users)) & np.uint64(1)).astype(np.int64),
        }
        return {**histories_of(data), **{k: torch.from_numpy(v) for k, v in drawn.items()}}

    # --- rows -------------------------------------------------------------------------------------------------------
    def lookup(self, batch: Batch) -> Rows:
        """What stands before each row of a batch, found by its log row, or else by its user and item."""
        facts = self.facts
        at = facts["place"][batch.rows.clamp(0, len(facts["place"]) - 1)]
        users: Any = getattr(batch, "users", None)
        items: Any = getattr(batch, "items", None)
        if users is not None and items is not None and len(users) == len(items) == len(at):
            fits = (at >= 0) & (facts["owners"][at] == users) & (facts["items"][at] == items)
            pairs = users * len(facts["category"]) + items
            found = torch.searchsorted(facts["pairs"], pairs, right=True).sub_(1).clamp_min_(0)
            there = facts["pairs"][found] == pairs
            last = torch.where(there, facts["pair_at"][found], torch.full_like(found, -1))
            at = torch.where(fits, at, last)
        return Rows(facts, at, self.spec.max_length)

    def draw(self, items: Tensor) -> Tensor:
        """Other items in place of these [k]."""
        facts = self.facts
        if self.spec.replacement == "popular":
            total = facts["popular"]
            luck = torch.rand(len(items), dtype=total.dtype, device=items.device) * total[-1]
            found = torch.searchsorted(total, luck, right=True).clamp_max(len(total) - 1)
            return torch.where(found != items, found, self.another(items))
        return self.another(items)

    def another(self, items: Tensor) -> Tensor:
        """Uniform over the other items, of the same category where so asked."""
        facts = self.facts
        return other_within(facts["order"], facts["start"], facts["size"], facts["group"], items)

    def logits(self, rows: Rows, items: Tensor, *, learning: bool) -> Tensor:
        """What g says of each row [b]; learning: by the recogniser that learns from it, else by the other one."""
        half = self.facts["half"][rows.users]
        out = torch.zeros(len(half), device=half.device)
        for k, judge in enumerate(self.judges):
            # Recogniser k weighs half k and learns from the other half.
            mine = half >= 0 if len(self.judges) == 1 else half == (1 - k if learning else k)
            pick = torch.nonzero(mine & rows.read).squeeze(1)
            if len(pick):
                out = out.index_copy(0, pick, judge(rows, items, self.facts["category"], pick).float())
        return out

    def noise(self, rows: Rows) -> Tensor:
        """The noise task's loss of each row [b], half of which are altered first."""
        altered = some_rows(rows.read, 0.5)
        items = replaced(rows.items, rows.there, altered, self.spec.replace_events, self.draw)
        said = self.logits(rows, items, learning=True)
        return F.binary_cross_entropy_with_logits(said, (~altered).float(), reduction="none") * rows.read

    def weigh(self, rows: Rows) -> Tensor:
        """How clean each row looks, in (0, 1) [b]; rows without a history get the mean."""
        weight = torch.sigmoid(self.logits(rows, rows.items, learning=False))
        known = rows.read
        mean = weight[known].mean().detach() if bool(known.any()) else weight.new_ones(())
        return torch.where(known, weight, mean)

    # --- hooks ------------------------------------------------------------------------------------------------------
    def loss(self, run: Run, batch: Batch, reps: Reps, losses: Losses) -> Losses:
        """Every loss but "l2" weighted; where joint, the noise task beside them."""
        if self.spec.gamma == 0:
            return losses
        rows = self.lookup(batch)
        out = dict(losses)
        if run.epoch >= self.spec.begin:
            weight = self.weigh(rows) ** self.spec.gamma
            weight = weight.detach() if self.spec.mode == "apart" else weight
            for name, value in losses.items():
                if name != "l2" and len(value) == len(weight):
                    out[name] = rows_of.weighted(value, weight)
        if self.spec.mode == "joint":
            out["noise"] = self.spec.kappa * self.noise(rows)
        return out

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Log rows, shuffled, for the noise task on its own; as many as the spec says, since what the plan's batch size counts
        (rows, sequences) is the model's affair."""
        rows = data.interactions.rows
        rows = rows[np.argsort(keyed_hash(order.key("noise"), rows), kind="stable")]
        for start in range(0, len(rows), self.spec.batch_size):
            yield Batch(torch.from_numpy(rows[start : start + self.spec.batch_size]))

    def represent(self, batch: Batch) -> Reps:
        """Nothing: the noise task reads tables of its own."""
        return {}

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """The noise task [b]."""
        return {"noise": self.noise(self.lookup(batch))}

    # --- afterwards -------------------------------------------------------------------------------------------------
    def weights(self, data: Dataset) -> NDArray[np.float32]:
        """How clean the history before each event looks, float32 [events], by the recogniser that did not learn from it; NaN
        where there is none. Of the log that was trained on: the by-product of training, for whoever looks for noise."""
        out = []
        with torch.no_grad():
            for part in torch.from_numpy(data.interactions.rows.copy()).split(4096):
                rows = self.lookup(Batch(part.to(self.facts["place"].device)))
                out.append(torch.where(rows.read, self.weigh(rows), torch.nan).cpu())
        found: NDArray[np.float32] = torch.cat(out).numpy()
        return found
