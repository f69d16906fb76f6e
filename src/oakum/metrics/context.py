"""What a metric may need beside the lists and the truth: popularity, item vectors, groups, histories, a
rival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Ids, Ragged, Ranking
from oakum.errors import ProtocolError
from oakum.metrics.groups import Groups, activity, tenure
from oakum.splits.protocol import Truth


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Everything here may be absent; a metric that needs it says which field and why.

    num_items: size of the catalogue. num_users: users behind `item_counts`. item_counts: distinct training
    users of each item [items]. item_vectors: float32 [items, d]. item_categories: one row of category codes
    an item. histories: one row a query (else those of the truth). groups: groupings of the queries by name.
    other: the lists that stability metrics compare with. targets, owned, genuine: promoted items, what each
    query's user already has (all parts), and which queries are real users. propensities: chance that an item was
    shown [items]; where they are not given, the square root of its popularity. ties: "expected" or "order" (see
    accuracy).
    """

    num_items: int = 0
    num_users: int = 0
    item_counts: NDArray[np.int64] | None = None
    item_vectors: NDArray[np.float32] | None = None
    item_categories: Ragged | None = None
    histories: Ragged | None = None
    groups: Mapping[str, Groups] = field(default_factory=dict)
    other: Ranking | None = None
    targets: Ids | None = None
    owned: Ragged | None = None
    genuine: NDArray[np.bool_] | None = None
    propensities: NDArray[np.float32] | None = None
    ties: str = "expected"

    @classmethod
    def of(cls, train: Dataset, truth: Truth | None = None, **more: Any) -> Context:
        """From the training data: sizes, popularity, and, for the queries of a truth, histories with the
        groups `activity` (quartiles of history length) and `tenure` (quartiles of time since the first
        event)."""
        groups: dict[str, Groups] = {}
        if truth is not None:
            groups["activity"] = activity(truth.histories)
            if truth.histories.times is not None:
                groups["tenure"] = tenure(truth.histories, truth.at)
        return cls(
            num_items=train.num_items,
            num_users=train.num_users,
            item_counts=train.item_counts,
            histories=None if truth is None else truth.histories,
            groups=groups,
        ).with_(**more)

    def with_(self, **changes: Any) -> Context:
        """A copy with some fields set."""
        return replace(self, **changes)

    def require(self, name: str, metric: str) -> Any:
        """A field that the metric cannot do without, or one sentence that says so."""
        value = getattr(self, name)
        if value is None or (isinstance(value, int) and value == 0):
            raise ProtocolError(f"The metric '{metric}' needs Context.{name}, which is not set.")
        return value
