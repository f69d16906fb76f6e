"""How likely each customer is to buy a release: a distance, a customer's habits and a release's reach as one probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Ids, Interactions, Queries
from oakum.engine.fitted import Fitted
from oakum.errors import DataError
from oakum.kernels.logistic import logistic, sigmoid
from oakum.seeds import generator

Floats = NDArray[np.float64]
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, eq=False)
class PurchaseOdds:
    """p(u, i) = σ(a_tier(u) + b s(u, i) + c log(1 + purchases of u) + d log(1 + days since u's last) + e log(1 + reach_i)).

    s: the score of any fitted system (of CML: minus the squared distance). Frequent and casual customers have intercepts
    of their own (`tiers`, cut at `edges` purchases). weights: [tiers + 4]; columns without variation weigh 0. now:
    microseconds, the moment that "since" counts from, or None where the log has no times.
    """

    fitted: Fitted
    weights: Floats
    edges: tuple[int, ...]
    now: int | None

    @classmethod
    def learn(
        cls,
        fitted: Fitted,
        purchases: Interactions,
        *,
        items: Ids | None = None,
        reach: Sequence[float] | NDArray[Any] | None = None,
        tiers: int = 3,
        pairs: int = 500_000,
        seed: int = 0,
    ) -> PurchaseOdds:
        """Fit on past releases that the system was not trained on: who bought each of them, and who did not.

        purchases: the events of those releases, in the codes of the fitted system; items: the releases (default: all in
        purchases). reach: for every item of the catalogue, how widely it was sold. pairs: customers are drawn at random
        so that customers · releases, whose scores and features are held at once (8 (tiers + 4) bytes each), are at most so
        many.
        """
        known = np.flatnonzero(fitted.histories.lengths > 0).astype(np.int32)
        if not len(purchases) or not len(known):
            raise DataError(
                "The chance of a purchase is learned from purchases of releases that training left out: got none."
            )
        releases = np.unique(purchases.items if items is None else items).astype(np.int32)
        if len(known) > (most := max(1, pairs // len(releases))):
            known = np.sort(generator(seed, "customers").choice(known, most, replace=False))
        counts = fitted.histories.lengths
        edges = np.unique(np.quantile(counts[counts > 0], np.arange(1, tiers) / tiers).astype(int))
        times = fitted.histories.times
        odds = cls(fitted, np.zeros(0), tuple(edges.tolist()), None if times is None else int(times.max()))
        bought = purchases.matrix(len(fitted.users), len(fitted.items))[known][:, releases].toarray() > 0
        x = odds.features(known, releases, reach)
        return cls(fitted, logistic(x, bought.reshape(-1)), odds.edges, odds.now)

    def tier(self, users: Ids) -> NDArray[np.int64]:
        """The tier of each customer by the number of purchases, from 0 (casual)."""
        counts = self.fitted.histories.lengths[users]
        return (
            np.searchsorted(np.array(self.edges), counts, side="right")
            if self.edges
            else np.zeros(len(users), np.int64)
        )

    def features(self, users: Ids, items: Ids, reach: Any = None) -> Floats:
        """float64 [users · items, tiers + 4]."""
        queries: Queries = self.fitted.queries(users)
        scores = self.fitted.score(queries, items).astype(np.float64)
        if np.isnan(scores).any():
            row, column = (int(v[0]) for v in np.nonzero(np.isnan(scores)))
            raise DataError(
                f"'{self.fitted.spec.slug}' cannot place customer {self.fitted.users.decode(users[[row]])[0]!r} and release "
                f"{self.fitted.items.decode(items[[column]])[0]!r}: give customers with purchases and releases with a text."
            )
        own = np.zeros((len(users), len(self.edges) + 3))
        own[np.arange(len(users)), self.tier(users)] = 1.0
        own[:, -2] = np.log1p(self.fitted.histories.lengths[users])
        if self.now is not None:
            last = self.fitted.histories.times[self.fitted.histories.offsets[users + 1] - 1]  # type: ignore[index]
            own[:, -1] = np.log1p(np.maximum(0, self.now - last) / DAY)
        wide = np.zeros(len(items)) if reach is None else np.log1p(np.asarray(reach, np.float64)[items])
        parts = [np.repeat(own, len(items), 0), scores.reshape(-1, 1), np.tile(wide, len(users))[:, None]]
        return np.concatenate(parts, 1)

    def probability(self, users: Ids, items: Ids, *, reach: Any = None) -> Floats:
        """The chance that each customer buys each release, float64 [users, items]; codes of the fitted system."""
        users, items = np.asarray(users, np.int32), np.asarray(items, np.int32)
        return sigmoid(self.features(users, items, reach) @ self.weights).reshape(len(users), len(items))

    def audience(self, item: int, k: int = 100, *, reach: Any = None) -> tuple[Ids, Floats]:
        """The `k` customers most likely to buy a release, best first, and their chances."""
        users = np.flatnonzero(self.fitted.histories.lengths > 0).astype(np.int32)
        chance = self.probability(users, np.array([item], np.int32), reach=reach)[:, 0]
        best = np.lexsort((users, -chance))[:k]
        return users[best], chance[best]

    def to_json(self) -> dict[str, Any]:
        """Plain values, to keep beside the model."""
        return {"weights": self.weights.tolist(), "edges": list(self.edges), "now": self.now}

    @classmethod
    def from_json(cls, fitted: Fitted, value: Mapping[str, Any]) -> PurchaseOdds:
        """The inverse of `to_json` for the same fitted system."""
        return cls(fitted, np.array(value["weights"], np.float64), tuple(value["edges"]), value["now"])
