"""A space in which customers lie near what they will buy, for releases that nobody has bought yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from oakum import losses
from oakum.backends.embed import width_of
from oakum.data import Dataset, Ids, Queries, Ragged, Schema
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import ParameterError
from oakum.nn.text import text_facts
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order, Pairs, pairs
from oakum.sampling.samplers import OnOffer, Sampler
from oakum.sampling.sequences import Sequences, count_prefixes, prefixes

DAY = 86_400_000_000  # microseconds


class CML(Spec):
    """Says who will buy a release before anybody has: things lie where their description puts them, people near what they had.

    Papers: Campo et al. 2018 (the system), Hsieh et al. 2017 (the metric). v_i = f(x_i), f a small network on the frozen
    vector of the item's text (less the mean of the items with events), brought into the ball of radius c; z_u the mean of the v
    of the customer's purchases, without the one to predict; s(u, i) = −|z_u − v_i|². L = mean over negatives of
    [m + D(u, i) − D(u, k)]₊, negatives among what was on offer. mode "free" gives customers and items vectors of their own,
    trained by the hardest negative and its rank weight, items tied to f by λ Σ |v_i − f(x_i)|²; an item without events is at
    f(x_i) there, too. No weight belongs to a user or an item in mode "history", so it is refreshed over new releases.
    Titles of a thousand films are learned by heart rather than understood: there, read the categories alone.
    Memory 4 items (D + d) bytes, 12 (users + items) d more in mode "free"; time an epoch: events (max_length + n) d, and the
    network once a step for the items of the batch. Newcomers: as everybody in mode "history", else the mean of their items.
    Differs from the papers: the mean hinge in mode "history" (with the hardest negative a content tower gets worse than
    untrained), squared off-diagonals in the covariance loss (Hsieh's code sums them signed), the chance of a purchase apart
    (`models.classic.audience`). Ranking by distance is exact as a product of vectors two columns wider.
    """

    slug = "cml"
    encoder: Annotated[str, "minilm, hashed:DIM, a folder or the name of a model"] = "minilm"
    text: Annotated[
        Literal["all", "title", "categories"], "what is read of an item; of few items, only what they share"
    ] = "all"
    mode: Annotated[Literal["history", "free"], "customers by their purchases, or with vectors of their own"] = (
        "history"
    )
    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 128), log=True), "width d of the space"] = 64
    hidden_dim: Annotated[int, Range(1, 16384, search=(64, 512), log=True), "width of the network's layer"] = 128
    dropout: Annotated[float, Range(0, below=1, search=(0.1, 0.6)), "share of the layer dropped"] = 0.5
    radius: Annotated[float, Range(above=0, high=100), "c: no point lies farther from the middle"] = 1.0
    margin: Annotated[float, Range(above=0, high=100, search=(0.1, 2)), "m: how much farther a negative must be"] = 0.5
    num_negatives: Annotated[int, Range(1, 4096), "negatives a purchase"] = 10
    past: Annotated[Literal["others", "before"], "what a customer is known by in training: all other purchases, or those before"] = (
        "others"
    )  # fmt: skip
    max_length: Annotated[int, Range(1, 10_000), "purchases read of a customer, the latest ones"] = 100
    recency: Annotated[
        float | None, Range(above=0), "days in which a purchase loses 63 % of its weight; none: all alike"
    ] = None
    feature_weight: Annotated[float, Range(0, 1000), "λ of the tie between items and their texts in mode free"] = 0.1
    covariance_weight: Annotated[float, Range(0, 1000), "weight of the squared covariances between dimensions"] = 0.0

    def plan(self) -> Plan:
        """Adam for the network; AdaGrad in large steps, as Hsieh's, for free vectors."""
        if self.mode == "free":
            return Plan(optimiser="adagrad", learning_rate=0.1, batch_size=8192, epochs=60, evaluate_every=5)
        return Plan(learning_rate=1e-3, weight_decay=1e-4, batch_size=1024, epochs=40, evaluate_every=2)

    def sizes(self, data: Dataset) -> dict[str, int]:
        """The width of the encoder's vectors."""
        return {"text_dim": width_of(self.encoder)}

    def build(self, schema: Schema) -> CMLModel:
        """An untrained space."""
        if self.margin >= 4 * self.radius**2:
            raise ParameterError(
                f"The 'margin' of CML must be below 4 radius² = {4 * self.radius**2:g}, the largest squared distance that "
                f"the ball allows. Got {self.margin:g} instead."
            )
        return CMLModel(self, schema)


def to_ball(points: Tensor, radius: float) -> Tensor:
    """y min(1, c / |y|): what lies outside the ball comes to its surface. [..., d] -> [..., d]."""
    return points * (radius / points.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1)


def as_queries(points: Tensor) -> Tensor:
    """(2z, 1, −|z|²): with `as_items` the product is −|z − v|². [q, d] -> [q, d + 2]."""
    square = points.square().sum(-1, keepdim=True)
    return torch.cat([2 * points, torch.ones_like(square), -square], -1)


def as_items(points: Tensor) -> Tensor:
    """(v, −|v|², 1). [i, d] -> [i, d + 2]."""
    square = points.square().sum(-1, keepdim=True)
    return torch.cat([points, -square, torch.ones_like(square)], -1)


def covariance(points: Tensor) -> Tensor:
    """Σ_{a ≠ b} C_ab² of the covariance of the rows. [n, d] -> []."""
    centred = points - points.mean(0)
    c = centred.T @ centred / len(points)
    return c.square().sum() - c.diagonal().square().sum()


class CMLModel(Model):
    """The network, and tables beside it where vectors are free."""

    private = ("users",)
    reads_content = True

    def __init__(self, spec: CML, schema: Schema) -> None:
        super().__init__()
        self.spec = spec
        self.free = spec.mode == "free"
        self.transfers = not self.free
        wide = schema.sizes.get("text_dim") or width_of(spec.encoder)
        self.tower = nn.Sequential(
            nn.Linear(wide, spec.hidden_dim), nn.ReLU(), nn.Dropout(spec.dropout), nn.Linear(spec.hidden_dim, spec.embedding_dim)
        )  # fmt: skip
        if self.free:
            self.users = nn.Embedding(schema.num_users, spec.embedding_dim)
            self.items = nn.Embedding(schema.num_items, spec.embedding_dim)
            for table in (self.users, self.items):
                nn.init.normal_(table.weight, std=spec.embedding_dim**-0.5)
            self.settle()

    @property
    def sampler(self) -> Sampler:
        """Items on offer that the customer did not have."""
        return OnOffer()

    # --- facts ----------------------------------------------------------------------------------------------------
    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """The texts as vectors, their centre over the items with events, and which items have any."""
        kinds = ("title", "description", "categories") if self.spec.text == "all" else (self.spec.text,)
        facts = text_facts(data, self.spec.encoder, self.facts, kinds=kinds)
        seen = torch.from_numpy(data.item_counts > 0)
        told = seen & (facts["text"] != 0).any(1)
        centre = self.facts.get("centre")
        facts["centre"] = facts["text"][told].sum(0) / told.sum().clamp_min(1) if centre is None else centre.cpu()
        return {**facts, "seen": seen}

    def put_facts(self, facts: Facts) -> None:
        """Centre the features once; an item of which nothing is said is an average one."""
        super().put_facts(facts)
        if "text" in self.facts:
            said = (self.facts["text"] != 0).any(1, keepdim=True)
            self.features = (self.facts["text"] - self.facts["centre"]) * said
            self.unknown = ~said.squeeze(1) & ~self.facts["seen"]

    # --- training -------------------------------------------------------------------------------------------------
    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Purchases; in mode "history" with what else the customer had."""
        spec = self.spec
        if self.free:
            return pairs(data, order, wants=spec.num_negatives)
        around = spec.past == "others"
        return prefixes(data, order, max_length=spec.max_length, wants=spec.num_negatives, around=around)

    def rows(self, data: Dataset, phase: Phase) -> int:
        """The purchases of an epoch."""
        return len(data) if self.free else count_prefixes(data, around=self.spec.past == "others")

    def place(self, codes: Tensor) -> Tensor:
        """f(x) in the ball, [n, d], of item codes [n]."""
        return to_ball(self.tower(self.features[codes]), self.spec.radius)

    def represent(self, batch: Batch) -> Reps:
        """query, positive [b, d], negative [b, n, d]: points in the ball."""
        assert isinstance(batch, Pairs | Sequences)
        drawn = batch.items[:0] if batch.negatives is None else batch.negatives.items
        if isinstance(batch, Pairs):
            codes = torch.cat([batch.items, drawn.flatten()])
            found, query = self.items(codes), self.users(batch.users)
        else:
            past = batch.inputs[batch.inputs >= 0]
            # One pass of the network over the distinct items, which are far fewer than the places.
            distinct, at = torch.unique(torch.cat([batch.items, drawn.flatten(), past]), return_inverse=True)
            points, own = self.place(distinct), len(batch.items) + drawn.numel()
            found, query = points[at[:own]], self.customers(batch, points, at[own:])
        positive, negative = found.split([len(batch.items), drawn.numel()])
        return {"query": query, "positive": positive, "negative": negative.view(*drawn.shape, query.shape[1])}

    def customers(self, batch: Sequences, points: Tensor, at: Tensor) -> Tensor:
        """z [b, d]: weighted means of the points of the inputs, whose rows in `points` are `at`; not of the target itself."""
        there = batch.inputs >= 0
        counts = there.sum(1)
        kept = (batch.inputs != batch.items[:, None])[there].to(points.dtype)
        times = None if batch.times is None else batch.times[there]
        return self.mean(points, at, counts, kept, times)

    def mean(self, points: Tensor, at: Tensor, counts: Tensor, kept: Tensor, times: Tensor | None) -> Tensor:
        """Means [b, d] over rows of `counts` places each; kept: [e] weights, bent by recency; 0 where nothing is kept."""
        owner = torch.repeat_interleave(torch.arange(len(counts), device=at.device), counts)
        if self.spec.recency is not None and times is not None:
            latest = times.new_full((len(counts),), torch.iinfo(torch.int64).min).scatter_reduce(
                0, owner, times, "amax"
            )
            kept = kept * torch.exp((times - latest[owner]).to(points.dtype) / (self.spec.recency * DAY))
        total = points.new_zeros(len(counts)).index_add(0, owner, kept)
        share = kept / total.clamp_min(1e-30)[owner]
        return F.embedding_bag(at, points, counts.cumsum(0) - counts, mode="sum", per_sample_weights=share)

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """hinge or warp [b]; in mode "free" _features, the tie of items to texts; _covariance where it has a weight."""
        assert batch.negatives is not None
        spec, query = self.spec, reps["query"]
        positive = -(query - reps["positive"]).square().sum(-1)
        negative = -(query.unsqueeze(1) - reps["negative"]).square().sum(-1)
        if not self.free:
            out = {"hinge": losses.hinge(positive, negative, spec.margin)}
        else:
            out = {"warp": losses.warp(positive, negative, spec.margin, len(self.features))}
            known = torch.nonzero(self.facts["seen"]).squeeze(1)
            if spec.feature_weight:  # the reference sums over the batch where the engine averages
                gap = (self.items(known) - self.place(known)).square().sum()
                out["_features"] = spec.feature_weight * gap / len(query)
        if spec.covariance_weight:
            points = torch.cat([self.users.weight, self.items.weight] if self.free else [query, reps["positive"]])
            out["_covariance"] = spec.covariance_weight * covariance(points)
        return out

    def settle(self) -> None:
        """Free vectors back into the ball."""
        if self.free:
            with torch.no_grad():
                for table in (self.users, self.items):
                    table.weight.copy_(to_ball(table.weight, self.spec.radius))

    def represent_query(self, batch: Batch) -> Tensor:
        """Customers as query vectors [b, d + 2]."""
        return as_queries(self.represent(batch)["query"])

    def item_table(self) -> Tensor:
        """Items as item vectors [items, d + 2]."""
        return as_items(self.points())

    # --- asking ---------------------------------------------------------------------------------------------------
    def points(self) -> Tensor:
        """Where the items lie [items, d]; NaN for one without a word and without an event."""
        points = self.place(torch.arange(len(self.features), device=self.features.device))
        if self.free:
            points = torch.where(self.facts["seen"][:, None], self.items.weight, points)
        return points.masked_fill(self.unknown[:, None], torch.nan)

    def customer_points(self, queries: Queries) -> Tensor:
        """Where the customers lie [q, d]; NaN for one of whom nothing is known."""
        out = self._means(queries.histories.tail(self.spec.max_length))
        if self.free:
            known = torch.from_numpy(queries.users >= 0).to(out.device)
            users = torch.from_numpy(np.maximum(queries.users, 0).astype(np.int64)).to(out.device)
            out = torch.where(known[:, None], self.users(users), out)
        return out

    def _means(self, histories: Ragged) -> Tensor:
        points: Tensor = self.cached("points", self.points)
        at = torch.from_numpy(histories.items.astype(np.int64)).to(points.device)
        counts = torch.from_numpy(histories.lengths.copy()).to(points.device)
        times = None if histories.times is None else torch.from_numpy(histories.times.copy()).to(points.device)
        told = ~self.unknown[at]
        found = self.mean(points.nan_to_num(), at, counts, told.to(points.dtype), times)
        owner = torch.repeat_interleave(torch.arange(len(counts), device=at.device), counts)
        some = torch.zeros(len(counts), device=at.device).index_add(0, owner, told.float()) > 0
        return found.masked_fill(~some[:, None], torch.nan)

    def item_vectors(self) -> Tensor:
        """(v, −|v|², 1) [items, d + 2]: the product with a query vector is −|z − v|²."""
        out: Tensor = self.cached("items", self.item_table)
        return out

    def query_vectors(self, queries: Queries) -> Tensor:
        """(2z, 1, −|z|²) [q, d + 2]."""
        return as_queries(self.customer_points(queries))

    def explain(self, queries: Queries, items: Ids, k: int = 3) -> NDArray[np.int32]:
        """The purchases of each customer that lie nearest to one item a request [q], best first: int32 [q, k], −1 pads."""
        points: Tensor = self.cached("points", self.points)
        out = np.full((len(queries), k), -1, np.int32)
        for r in range(len(queries)):
            own = np.unique(queries.histories.row(r))
            gap = (points[torch.from_numpy(own.astype(np.int64))] - points[int(items[r])]).square().sum(-1)
            near = own[np.argsort(gap.detach().cpu().numpy(), kind="stable")[:k]]
            out[r, : len(near)] = near
        return out
