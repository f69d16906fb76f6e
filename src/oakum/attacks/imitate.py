"""Copies of a victim, made from its lists: questions that are counted once each, and the copy as a value."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.attacks.access import Access
from oakum.attacks.changes import Nothing
from oakum.data import Dataset, Ids, Interactions, Queries, Ragged, Ranking, Vocabulary
from oakum.engine.fit import fit
from oakum.errors import BudgetExceeded, ParameterError
from oakum.metrics.stability import churn, frbo, top1_change
from oakum.parameters import Spec


class Oracle:
    """The victim's lists for histories of newcomers. What was asked before is remembered and not asked again."""

    def __init__(self, access: Access, k: int, queries: int) -> None:
        self.k, self._access, self._allowed = k, access, queries
        self._known: dict[bytes, Ids] = {}

    @property
    def spent(self) -> int:
        """Queries so far."""
        return self._access.spent

    @property
    def left(self) -> int:
        """Queries that are left."""
        return max(0, self._allowed - self.spent)

    def ask(self, histories: Ragged) -> tuple[Ids, NDArray[np.bool_]]:
        """The list of each history, int32 [q, k] with -1 where it ends early, and whether it was answered, bool [q].

        Histories that were not asked before are asked in order while queries are left; the rest has no answer.
        """
        names = [histories.row(r).tobytes() for r in range(len(histories))]
        fresh: dict[bytes, int] = {}
        for r, name in enumerate(names):
            if name not in self._known and name not in fresh and len(fresh) < self.left:
                fresh[name] = r
        if fresh:
            at = np.fromiter(fresh.values(), np.int64)
            found = self._access.lists(Queries(np.full(len(at), -1, np.int32), histories.take(at)), self.k).items
            self._known.update(zip(fresh, found, strict=True))
        none = np.full(self.k, -1, np.int32)
        lists = np.stack([self._known.get(n, none) for n in names]) if names else np.empty((0, self.k), np.int32)
        return lists, np.array([n in self._known for n in names], bool)

    def ask_all(self, histories: Ragged) -> tuple[Ids, NDArray[np.bool_]]:
        """The same for every prefix: the list after each event, int32 [events, k], and whether it was answered."""
        owners = histories.owners()
        starts = histories.offsets[owners]
        return self.ask(histories.slices(starts, np.arange(len(owners)) - starts + 1))


@dataclass(frozen=True, eq=False)
class Imitation(Nothing):
    """A copy of the victim: nothing about the victim or its log changes. fitted: the copy; queries: what it cost; examples:
    (history, list) pairs it was trained on."""

    fitted: Any
    queries: int
    examples: int

    def digest(self) -> str:
        """SHA-256 of the copy's answers to one-item histories."""
        n = len(self.fitted.items)
        ask = Queries(np.full(n, -1, np.int32), Ragged(np.arange(n + 1), np.arange(n, dtype=np.int32)))
        return hashlib.sha256(self.fitted.rank(ask, min(10, n)).items.tobytes()).hexdigest()


def asked_log(
    data: Dataset, sequences: Ragged, lists: Ids, answered: NDArray[np.bool_], *, closed: bool = True
) -> Dataset:
    """What the adversary learned, as a log over the victim's items: its users are the sequences that were sent.

    lists: int32 [events, k], the list after each event of `sequences`; answered: bool [events]. The log has one event more a
    sequence, the first of its last list, so that every list belongs to the row of the event after it; the table "lists" names
    it by that row; closed = False leaves that event out, and the last lists with it. Every item that was shown stands in a history of its own, since a model can only recommend what it knows.
    """
    ends = sequences.offsets[1:]
    filled = ends > sequences.offsets[:-1]
    keep = filled & closed
    if not closed:
        answered = answered.copy()
        answered[ends[filled] - 1] = False
    last = ends[keep] - 1
    closing = np.where(lists[last, 0] >= 0, lists[last, 0], sequences.items[last])
    items = np.insert(sequences.items, ends[keep], closing)
    users = np.insert(sequences.owners(), ends[keep], np.flatnonzero(keep))
    place = np.arange(len(sequences.items)) + np.searchsorted(ends[keep], np.arange(len(sequences.items)), "right")
    shown = np.unique(lists[lists >= 0])
    n = len(sequences) + len(shown)
    owners = np.concatenate([users, np.arange(len(sequences), n)]).astype(np.int32)
    codes = np.concatenate([items, shown]).astype(np.int32)
    events = Interactions(owners, codes, None, np.arange(len(codes), dtype=np.int64))
    told = pl.DataFrame({"row": place[answered] + 1, "items": lists[answered].tolist()}, schema_overrides={
        "row": pl.Int64, "items": pl.List(pl.Int32)
    })  # fmt: skip
    names = Vocabulary(pl.Series("id", np.arange(n), dtype=pl.Int64))
    return Dataset(events, names, data.items, {"lists": told}, name=f"what was asked of '{data.name}'")


def told_part(sequences: Ragged, lists: Ids, answered: NDArray[np.bool_]) -> tuple[Ragged, Ids]:
    """Each sequence up to the first question without an answer, with its lists; sequences without any are left out."""
    missed = np.concatenate([np.zeros(1, np.int64), np.cumsum(~answered)])
    told = missed[1:] == missed[sequences.offsets[sequences.owners()]]
    kept = sequences.keep(told)
    return kept.take(np.flatnonzero(kept.lengths > 0)), lists[told]


def imitate(
    oracle: Oracle,
    data: Dataset,
    spec: Spec,
    queries: Ragged,
    loss: Spec,
    *,
    plan: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Imitation:
    """A copy of the victim behind `oracle`: asks for the list after every event of `queries`, fits `spec` to what came back.

    loss: a plug-in that learns from the table "lists" of `asked_log`. Raises `BudgetExceeded` where nothing can be asked.
    """
    lists, answered = oracle.ask_all(queries)
    if not answered.any():
        raise BudgetExceeded(
            "A copy needs the victim's lists, and there are no queries to ask for one; give the budget some queries."
        )
    queries, lists = told_part(queries, lists, answered)
    log = asked_log(data, queries, lists, np.ones(len(lists), bool))
    fitted = fit(spec, log, plan={**(plan or {}), "checkpoint": None, "patience": 0}, plugins=[loss], seed=seed)
    return Imitation(fitted, oracle.spent, len(lists))


def likeness(victim: Any, copy: Any, queries: Queries, k: Sequence[int] = (1, 10)) -> dict[str, NDArray[np.float64]]:
    """How alike a copy answers, by query [q]: agr@k, the share of the first k places' items that both show, and frbo@k, which
    weighs the first places more. All items may be shown, also those of the history."""
    if not k or min(k) < 1:
        raise ParameterError(f"Cut-offs must be ints in [1, inf). Got {list(k)} instead.")
    newcomers = Queries(np.full(len(queries), -1, np.int32), queries.histories)
    first: Ranking = victim.rank(newcomers, max(k))
    second: Ranking = copy.rank(newcomers, max(k))
    out = {f"agr@{n}": 1 - (churn(first, second, n) if n > 1 else top1_change(first, second)) for n in k}
    return out | {f"frbo@{n}": frbo(first, second, n) for n in k if n > 1}
