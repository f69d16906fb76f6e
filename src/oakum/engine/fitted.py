"""A trained recommender with its ids: what people use, save, audit and serve."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Filter, Ids, Interactions, Queries, Ragged, Ranking, Schema, Vocabulary
from oakum.engine.closed import ClosedForm, Predicts
from oakum.engine.record import Record
from oakum.errors import ParameterError, nearest
from oakum.parameters import Spec

if TYPE_CHECKING:
    import polars as pl

    from oakum.metrics.calibration import Predictions


class Fitted:
    """Model, ids, training histories and run record.

    `recommend` speaks the log's own ids; `rank` and `score` speak codes. Nothing here trains; `refresh` reads new
    events and keeps the weights. The training data, which nobody may write to from now on, stay at hand for what is made
    of them when it is asked for: histories, counts and the digest of the record.
    """

    def __init__(self, spec: Spec, model: Any, schema: Schema, data: Dataset, record: Record) -> None:
        self.spec, self.model, self.schema = spec, model, schema
        self._record, self._data = record, data
        self.users: Vocabulary = data.users
        self.items: Vocabulary = data.items
        self._suited: WeakSet[Any] = WeakSet()  # indexes over these very vectors
        self.plugins: tuple[Any, ...] = ()  # what trained along, for whoever wants to look at it; never saved
        self.step: Any = None  # the plan's step as it ended (a federation: what server and clients kept); never saved
        self.guards: tuple[tuple[Any, Any], ...] = ()  # (defence, scorer) of every third door, innermost first; saved
        self.item_table: pl.DataFrame | None = data.tables.get("items")  # one row a code: what filters may ask for

    @property
    def record(self) -> Record:
        """What ran, on which data: their digest is worked out when the record is first looked at."""
        if not self._record.data:
            self._record.data = self._data.digest
        return self._record

    @cached_property
    def histories(self) -> Ragged:
        """What each user had, oldest first; of labelled rows only what was positive."""
        data = self._data
        if not isinstance(self.model, Predicts):
            return data.histories
        if not data.has_pairs:
            return Ragged.empty(data.num_users)
        had = np.asarray(self.model.labels(data.interactions)) > 0
        return data.with_interactions(data.interactions.take(had)).histories

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Distinct users of each item, int64 [items]; where rows name no users, the rows of each."""
        if self._data.has_pairs:
            return self._data.item_counts
        items = self._data.interactions.items
        return np.bincount(items[items >= 0], minlength=len(self.items)).astype(np.int64)

    @cached_property
    def scorer(self) -> Any:
        """The model as NumPy scores, NaN for what it has never seen."""
        if isinstance(self.model, ClosedForm):
            return self.model
        from oakum.engine.scoring import Scoring

        return Scoring(self.model, seen_items=self.item_counts > 0)

    def behind(self, defence: Any, data: Any) -> Fitted:
        """The same model answering through the third door of a defence, which reads `data` (a `Dataset`, or the `Split`
        that the model was fitted on); saved and loaded with it. A defence without a third door changes nothing."""
        return self.guarded(defence, defence.wrap(self, data))

    def guarded(self, defence: Any, scorer: Any) -> Fitted:
        """The same model with `scorer` in its place: what `defence.wrap` made, or `defence.restore`."""
        if scorer is self.scorer:
            return self
        out = copy.copy(self)
        out._suited = WeakSet()
        out.guards = (*self.guards, (defence, scorer))
        out.__dict__["scorer"] = scorer
        return out

    @property
    def candidates(self) -> Ids | None:
        """The items it may recommend, int32 codes: those of its target domain where it has one; None for all."""
        own: Ids | None = self.model.candidates
        return own

    def log(self) -> Dataset:
        """The log it was trained on, as far as it keeps it: events by user, and what it knows of the items."""
        h = self.histories
        rows = np.arange(len(h.items)) if h.rows is None else h.rows
        events = Interactions(h.owners().astype(np.int32), h.items, h.values, h.times, rows)
        tables = {} if self.item_table is None else {"items": self.item_table}
        return Dataset(events, self.users, self.items, tables, name=self._record.data_name or "log")

    # --- in codes -----------------------------------------------------------------------------------------------
    def queries(self, users: Ids) -> Queries:
        """Requests of trained users, with the histories they were trained on."""
        return Queries(np.asarray(users, np.int32), self.histories.take(users))

    def score(self, queries: Queries, items: Ids | None = None) -> NDArray[np.float32]:
        """Scores [q, items], [q, i] or [q, c]; NaN where the model cannot say."""
        out: NDArray[np.float32] = self.scorer.score(queries, items)
        return out

    def predict(self, data: Dataset | Interactions) -> NDArray[np.float64]:
        """The probability that each row is positive, float64 [n], for systems that predict rows.

        data: a log of its own ids (users and items that training did not have are unknown), or events in the codes of
        the training data (a part of a split). The labels are not looked at.
        """
        return self._rows().predict(self._own(data))

    def predictions(self, data: Dataset | Interactions) -> Predictions:
        """Probabilities beside the labels of the rows, as the metrics take them."""
        return self._rows().predictions(self._own(data))

    def remarks(self, data: Dataset | Interactions) -> tuple[str, ...]:
        """What rows lack of what the model reads, and what it does not know of them: sentences to go with the answers."""
        own = getattr(self.model, "remarks", None)
        return () if own is None else tuple(own(self._own(data)))

    def _rows(self) -> Any:
        if not isinstance(self.model, Predicts):
            raise ParameterError(
                f"'{self.spec.slug}' ranks items and does not predict rows; recommend, rank and score are what it answers."
            )
        return self.scorer

    def _own(self, data: Dataset | Interactions) -> Interactions:
        if isinstance(data, Interactions):
            return data
        log = data.interactions
        coded = [
            own.encode(theirs.ids)[codes] if len(theirs) else codes
            for own, theirs, codes in ((self.users, data.users, log.users), (self.items, data.items, log.items))
        ]
        return replace(log, users=coded[0], items=coded[1])

    def rank(
        self,
        queries: Queries,
        k: int,
        *,
        where: Filter | None = None,
        fallback: bool = False,
        seed: int | None = None,
        index: Any = None,
    ) -> Ranking:
        """The best `k` items of each request under a filter, among the candidates of the model; its own lists where it
        makes any.

        With `fallback`, popularity answers where the model cannot say anything, and the ranking says so. Given a
        `seed`, models that explore draw their lists; without one they show their best guess. index: one that `index` built
        over these item vectors, searched in place of all scores.
        """
        from oakum.recommending import rank

        if index is not None:
            self._suits(index)

        if (own := self.candidates) is not None:
            where = where or Filter()
            where = replace(where, allow=own if where.allow is None else np.intersect1d(own, where.allow))
        popularity = self.item_counts.astype(np.float32) if fallback else None
        return rank(
            self.scorer,
            queries,
            k,
            where=where,
            popularity=popularity,
            seed=seed,
            index=index,
            num_items=len(self.items),
        )

    def index(self, kind: str = "planned", **settings: Any) -> Any:
        """An index over the item vectors: planned (see `Planned.build`), exact, hnsw or ivf, with their settings.

        Raises `ParameterError` where the score of the model is no dot product.
        """
        from oakum.index.building import build

        if not hasattr(self.scorer, "item_vectors") or hasattr(self.scorer, "recommend_lists"):
            raise ParameterError(f"'{self.spec.slug}' does not rank by a dot product, so there is nothing to index.")
        if kind == "planned" and "queries" not in settings and len(self.users):
            some = np.linspace(0, len(self.users) - 1, min(256, len(self.users))).astype(np.int32)
            settings["queries"] = self.scorer.query_vectors(self.queries(some))
        return build(self.scorer.item_vectors(), kind, **settings)

    def choice(self, expression: str) -> Filter:
        """The items that an expression chooses by item_id and the columns saved with the model, as the filter that
        `recommend` takes: `price < 10 and category in ["drum"]`; see `oakum.data.expressions`.

        Raises `ParameterError` where it cannot be read or names a column that the model has not.
        """
        import polars as pl

        from oakum.data.expressions import Expression

        names = pl.Series("item_id", [str(i) for i in self.items.ids.to_list()], dtype=pl.String)
        table = names.to_frame() if self.item_table is None else self.item_table.with_columns(names)
        return Filter(allow=np.flatnonzero(Expression.parse(expression).mask(table)).astype(np.int32))

    def _suits(self, index: Any) -> None:
        """Refuse an index over other vectors; looked at once an index."""
        if index in self._suited:
            return
        own = self.scorer.item_vectors() if hasattr(self.scorer, "item_vectors") else None
        if own is not None and not np.array_equal(own, index.geometry.vectors, equal_nan=True):
            raise ParameterError("This index was built over other item vectors than this model has; build it again.")
        self._suited.add(index)

    # --- in ids -------------------------------------------------------------------------------------------------
    def recommend(
        self,
        users: Sequence[Any] | None = None,
        *,
        history: Sequence[Any] | None = None,
        text: str | None = None,
        k: int = 10,
        allow: Sequence[Any] | None = None,
        deny: Sequence[Any] | None = None,
        remove_seen: bool = True,
        seed: int | None = None,
        context: Mapping[str, Any] | None = None,
        where: Filter | None = None,
        index: Any = None,
    ) -> list[dict[str, Any]]:
        """Lists for known users, or for one newcomer given by the ids of a history. text: typed words, alone or beside
        either, for systems that read them.

        Returns one dictionary a request: user (None for a newcomer), items ({"item", "score"} best first), and
        "fallback": why popularity answered, where it did. Users never seen are answered with popularity and said so;
        unknown ids in a history are ignored and named in "ignored", or refused where the system says so
        (`Spec.unknown_ids`). With a `seed`, models that explore draw their lists. context: values of context columns by
        name, the same for all requests, for systems that read them (those that predict rows). where: a filter in codes
        (what `choice` makes of an expression, `Attributes.filter` of a condition), on top of the others. index: searched in place of all scores;
        lists that a filter shortens are still `k` long where so many pass.
        """
        if text is not None:
            if not getattr(self.model, "reads_requests", False):
                raise ParameterError(f"The system '{self.spec.slug}' does not read typed words; ask without text.")
            history = [] if users is None and history is None else history
        if (users is None) == (history is None):
            raise ParameterError("recommend needs users, a history or text; users and a history not at once.")
        ignored: list[Any] = []
        if history is not None:
            codes = self.items.encode(list(history))
            ignored = [i for i, c in zip(history, codes, strict=True) if c < 0]
            if ignored and self.spec.unknown_ids == "refuse":
                known = [str(i) for i in self.items.ids.to_list()]
                raise ParameterError(f"The model knows no item {ignored[0]!r}.{nearest(str(ignored[0]), known)}")
            if ignored and self.spec.unknown_ids == "need-one" and len(ignored) == len(codes):
                raise ParameterError(
                    f"The model knows none of the {len(codes)} items given (first: {ignored[0]!r}); name at least one of "
                    f"the {len(self.items):,} it was trained on.{nearest(str(ignored[0]), map(str, self.items.ids.to_list()))}"
                )
            queries = Queries(np.array([-1], np.int32), Ragged.of([codes[codes >= 0].tolist()]))
            names: list[Any] = [None]
        else:
            assert users is not None
            codes = self.users.encode(list(users))
            histories = self.histories.take(codes)
            asked = histories.lengths > 0
            if isinstance(self.model, Predicts):  # knows people by their features, also without an event
                asked = codes >= 0
            queries = Queries(np.where(asked, codes, -1).astype(np.int32), histories)
            names = list(users)
        if text is not None:
            queries = replace(queries, text=[text] * len(queries))
        if not len(self.items):
            raise ParameterError("This model was trained on rows without items, so there is nothing to recommend.")
        if context:
            if not isinstance(self.model, Predicts):
                raise ParameterError(f"'{self.spec.slug}' reads no context; it was given {', '.join(context)}.")
            fields = {name: np.full(len(queries), value) for name, value in context.items()}
            queries = replace(queries, fields=fields)
        rules = Filter(
            None if allow is None else self._known(allow, "allow"),
            None if deny is None else self._known(deny, "deny"),
            queries.histories if remove_seen else None,
        )
        if where is not None:
            rules = Filter(
                _both(rules.allow, where.allow, np.intersect1d),
                _both(rules.deny, where.deny, np.union1d),
                rules.exclude,
            )
        ranking = self.rank(queries, k, where=rules, fallback=True, seed=seed, index=index)
        kept = ranking.items >= 0
        pairs = zip(self.items.decode(ranking.items[kept]), ranking.scores[kept].tolist(), strict=True)
        shown = [{"item": i, "score": s} for i, s in pairs]
        ends = np.cumsum(kept.sum(1)).tolist()
        out = []
        for r, name in enumerate(names):
            answer: dict[str, Any] = {"user": name, "items": shown[ends[r - 1] if r else 0 : ends[r]]}
            if ranking.fallback is not None and ranking.fallback[r]:
                why = "no known event in the history" if history is not None or codes[r] >= 0 else "unknown user"
                answer["fallback"] = f"{why}: the most popular items"
            if ignored:
                answer["ignored"] = ignored
            out.append(answer)
        return out

    def _known(self, ids: Sequence[Any], name: str) -> Ids:
        codes = self.items.encode(list(ids))
        if len(ids) and (codes < 0).all():
            raise ParameterError(f"None of the {len(ids)} items of '{name}' is known to the model (first: {ids[0]!r}).")
        return codes[codes >= 0]

    def similar(self, item: Any, k: int = 10) -> list[dict[str, Any]]:
        """The items recommended to someone whose whole history is this item."""
        if self.items.encode([item])[0] < 0:
            raise ParameterError(f"The item {item!r} is not known to the model.")
        found: list[dict[str, Any]] = self.recommend(history=[item], k=k)[0]["items"]
        return found

    def refresh(self, data: Dataset) -> Fitted:
        """The same weights over other data: histories and facts are made anew.

        The data must have the users and items that the model was built for, except where the model says that it
        `transfers` (no weight belongs to a user or an item): such a one takes any vocabulary, also another shop's.
        Closed-form models are computed afresh (they have no weights to keep). Where users and items are fixed, new
        people are still answered as newcomers, and new items need a new `fit`.
        """
        schema = self.schema
        if getattr(self.model, "transfers", False):
            schema = replace(data.schema, sizes=self.schema.sizes)
        elif (
            data.users.ids.to_list() != self.users.ids.to_list() or data.items.ids.to_list() != self.items.ids.to_list()
        ):
            raise ParameterError("refresh needs data over the same users and items; read the log with this vocabulary.")
        if isinstance(self.model, ClosedForm):
            model = self.spec.build(schema)
            model.fit(data, seed=self._record.seed)
        else:
            model = copy.deepcopy(self.model).eval()
            for phase in model.phases():
                model.put_facts(model.prepare(data, phase[0] if isinstance(phase, tuple) else phase))
        out = Fitted(self.spec, model, schema, data, replace(self._record, data=""))
        for defence, scorer in self.guards:
            out = out.guarded(defence, defence.restore(out, scorer.state()))
        return out


def _both(first: Ids | None, second: Ids | None, join: Any) -> Ids | None:
    """Two lists of codes as one; one alone stays the very same array, so that an index remembers it."""
    if first is None or second is None:
        return second if first is None else first
    return np.asarray(join(first, second), np.int32)
