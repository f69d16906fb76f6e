"""Answers of one model to one request: plain functions, no network, no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from oakum.data import Filter, Queries, Ragged, Ranking
from oakum.engine.closed import Predicts
from oakum.errors import ParameterError, nearest
from oakum.serve.items import ItemTable
from oakum.serve.models import Served
from oakum.state import Event

T = TypeVar("T")

REMEMBERED = 1_000  # latest events of a person that are looked at
EXPLAINED = 50


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who asks: a user with the events stored since training (`events`, oldest first), or nobody in particular.
    forgotten: the person was deleted, so what the model was trained on must not be used for them."""

    user_id: str | None = None
    events: Sequence[Event] = ()
    forgotten: bool = False
    history: Sequence[str] | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked for."""

    k: int = 10
    allow: Sequence[str] | None = None
    deny: Sequence[str] | None = None
    filter: str | None = None
    exclude_seen: bool = True
    seed: int | None = None


@dataclass
class Answer:
    """A list of (item id, score), best first, and what should be said about it. A score is None where popularity filled
    the end of a list that the model could not."""

    items: list[tuple[str, float | None]]
    fallback: str | None = None
    ignored: list[str] = field(default_factory=list)
    matching: int | None = None


def request_of(served: Served, person: Person) -> tuple[Queries, list[str]]:
    """One request and the item ids that the model does not know.

    A trained user without newer events is asked for by the trained representation. With newer events, or with a history
    of this moment, the person is asked for as a newcomer with the whole history, so that the latest events count at once.
    """
    fitted = served.fitted
    code = -1
    if person.user_id is not None and not person.forgotten:
        code = served.users.get(person.user_id, -1)
    old = fitted.histories.take(np.array([code], np.int64))
    fresh = _fresh(served, old, person.events)
    session = list(person.history or ())
    ignored = [i for i in [*(e.item_id for e in fresh), *session] if i not in served.items]
    fresh = [e for e in fresh if e.item_id in served.items]
    typed = [served.items[i] for i in session if i in served.items]
    if not fresh and not typed:
        # A system that predicts rows knows people by their features, also without an event.
        user = code if len(old.items) or isinstance(fitted.model, Predicts) else -1
        queries = Queries(np.array([user], np.int32), old)
    else:
        queries = Queries(np.array([-1], np.int32), _history(served, old, fresh, typed))
    if ignored and fitted.spec.unknown_ids == "refuse":
        raise ParameterError(f"The model knows no item {ignored[0]!r}.{nearest(ignored[0], served.items)}")
    if person.text is not None:
        if not getattr(fitted.model, "reads_requests", False):
            raise ParameterError(f"The system '{fitted.spec.slug}' does not read typed words; ask without text.")
        queries = replace(queries, text=[person.text])
    return queries, list(dict.fromkeys(ignored))


def _fresh(served: Served, old: Ragged, events: Sequence[Event]) -> list[Event]:
    """The events that the model's own history of the person does not hold already."""
    if not len(old.items) or not events:
        return list(events)
    if old.times is None:
        known = set(old.items.tolist())
        return [e for e in events if served.items.get(e.item_id) not in known]
    held = Counter(zip(old.items.tolist(), old.times.tolist(), strict=True))
    out = []
    for event in events:
        key = (served.items.get(event.item_id, -1), event.time)
        if held[key] > 0:
            held[key] -= 1
        else:
            out.append(event)
    return out


def _history(served: Served, old: Ragged, fresh: Sequence[Event], typed: Sequence[int]) -> Ragged:
    codes = np.array([*old.items, *(served.items[e.item_id] for e in fresh), *typed], np.int32)
    times = None
    if old.times is not None or served.fitted.schema.has_times:
        before = np.empty(0, np.int64) if old.times is None else old.times
        stamps = np.concatenate([before, np.array([e.time for e in fresh], np.int64)])
        order = np.argsort(stamps, kind="stable")
        now = int(stamps.max()) if len(stamps) else 0
        codes[: len(stamps)] = codes[: len(stamps)][order]
        times = np.concatenate([stamps[order], np.full(len(typed), now, np.int64)])[-REMEMBERED:]
    codes = codes[-REMEMBERED:]
    return Ragged(np.array([0, len(codes)], np.int64), codes, times)


def recommend(served: Served, table: ItemTable, person: Person, wish: Wish) -> Answer:
    """The best `k` items that the wish allows. Fewer come back only where fewer are allowed: where the model can say less
    than that, the most popular allowed items fill the list, and the answer says so."""
    (found,) = recommend_all(served, table, [person], wish)
    if isinstance(found, Exception):
        raise found
    return found


def recommend_all(served: Served, table: ItemTable, people: Sequence[Person], wish: Wish) -> list[Answer | Exception]:
    """`recommend` for several people who wish alike, searched as one. Where one of them cannot be answered, the exception
    stands in their place and the others have their answers. Lists that are drawn (`seed`) are drawn for each alone."""
    asked: list[tuple[Queries, list[str]] | Exception] = [_caught(request_of, served, p) for p in people]
    open_ = _open(served, table, wish)
    kinds: dict[Any, list[int]] = {}
    for at, one in enumerate(asked):
        if not isinstance(one, Exception):
            kinds.setdefault(at if wish.seed is not None else _told(one[0]), []).append(at)
    out: list[Answer | Exception] = [one if isinstance(one, Exception) else Answer([]) for one in asked]
    for places in kinds.values():
        rankings = _found(served, [asked[at][0] for at in places], open_.where, wish)  # type: ignore[index]
        for at, ranking in zip(places, rankings, strict=True):
            queries, ignored = asked[at]  # type: ignore[misc]
            if isinstance(ranking, Exception):
                out[at] = ranking
            else:
                out[at] = _answer(served, people[at], wish, queries, ignored, ranking, open_)
    return out


def _caught(do: Callable[..., T], *arguments: Any) -> T | Exception:
    try:
        return do(*arguments)
    except Exception as error:
        return error


def _told(queries: Queries) -> tuple[bool, ...]:
    """What a request says of itself: only requests that say the same can be one."""
    own = queries.histories
    return queries.text is None, queries.at is None, own.times is None, own.values is None


@dataclass(frozen=True, eq=False)
class _Open:
    """What a wish allows: as a filter for everybody, as a mask [items] (None: all), and how many items that is."""

    where: Filter = field(default_factory=Filter)
    mask: NDArray[np.bool_] | None = None
    matching: int | None = None


def _open(served: Served, table: ItemTable, wish: Wish) -> _Open:
    if wish.filter is not None and wish.allow is None and not wish.deny:
        mask, codes = table.chosen(wish.filter)  # the same arrays each time: what was made ready for them still serves
        return _Open(Filter(allow=codes), mask, len(codes))
    if wish.allow is None and not wish.deny:
        return _Open()
    mask = np.ones(len(served.item_ids), bool) if wish.filter is None else table.mask(wish.filter).copy()
    if wish.allow is not None:
        named = np.zeros(len(mask), bool)
        codes = served.codes(list(wish.allow))
        named[codes[codes >= 0]] = True
        mask &= named
    if wish.deny:
        codes = served.codes(list(wish.deny))
        mask[codes[codes >= 0]] = False
    codes = np.flatnonzero(mask).astype(np.int32)
    return _Open(Filter(allow=codes), mask, len(codes))


def _found(served: Served, requests: Sequence[Queries], where: Filter, wish: Wish) -> Sequence[Ranking | Exception]:
    """The ranking of each request, by one search; one by one where that fails, so that an error stays with its cause."""
    k = min(wish.k, len(served.item_ids))

    def find(queries: Queries) -> Ranking:
        rules = replace(where, exclude=queries.histories if wish.exclude_seen else None)
        return served.finder.find(queries, k, rules, seed=wish.seed)

    if len(requests) > 1:
        together = _caught(find, Queries.join(requests))
        if not isinstance(together, Exception):
            ends = np.cumsum([0, *(len(q) for q in requests)]).tolist()
            return [together.span(start, stop) for start, stop in pairwise(ends)]
    return [_caught(find, queries) for queries in requests]


def _answer(
    served: Served, person: Person, wish: Wish, queries: Queries, ignored: list[str], ranking: Ranking, open_: _Open
) -> Answer:
    kept = ranking.items[0] >= 0
    codes, scores = ranking.items[0][kept], ranking.scores[0][kept]
    found: list[tuple[str, float | None]] = [
        (served.item_ids[c], s) for c, s in zip(codes.tolist(), scores.tolist(), strict=True)
    ]
    answer = Answer(found, ignored=ignored, matching=open_.matching)
    k = min(wish.k, len(served.item_ids))
    if len(found) < k:
        exclude = queries.histories if wish.exclude_seen else None
        _fill(served, answer, codes, open_.mask, exclude, k, person)
    return answer


def _fill(
    served: Served, answer: Answer, codes: Any, allowed: Any, exclude: Ragged | None, k: int, person: Person
) -> None:
    free = np.ones(len(served.item_ids), bool) if allowed is None else allowed.copy()
    free[codes] = False
    if exclude is not None:
        free[exclude.items] = False
    more = served.popular[free[served.popular]][: k - len(codes)]
    if not len(more):
        return
    counts = served.fitted.item_counts
    silent = not answer.items
    answer.items += [(served.item_ids[c], float(counts[c]) if silent else None) for c in more.tolist()]
    if silent:
        known = person.user_id is None or bool(person.history) or person.user_id in served.users
        why = "no known event in the history" if known else "unknown user"
        answer.fallback = f"{why}: the most popular items, scored by their number of users"
    else:
        answer.fallback = (
            f"the model can place {len(codes)} items here; the {len(more)} after them are the most popular ones"
        )


def score(served: Served, person: Person, items: Sequence[str]) -> tuple[list[tuple[str, float | None]], list[str]]:
    """Scores of the named items; None where the model cannot say."""
    queries, ignored = request_of(served, person)
    codes = served.codes(list(items))
    scores = served.fitted.score(queries, codes)[0] if len(codes) else np.empty(0, np.float32)
    values = [None if np.isnan(s) else float(s) for s in scores]
    return list(zip(items, values, strict=True)), ignored


def explain(
    served: Served, person: Person, item: str
) -> tuple[float | None, list[tuple[str, float | None]], list[str]]:
    """The score of an item from the person's history, and how much of it each event is worth: the score with the event
    less the score without it, exactly, for the latest events, most worth first. What the trained representation of a user
    knows beyond the history is not in it."""
    if item not in served.items:
        raise ParameterError(f"The item {item!r} is not known to the model.")
    queries, ignored = request_of(served, person)
    history = queries.histories.tail(EXPLAINED)
    codes = history.items
    if not len(codes):
        return None, [], ignored
    places = np.arange(len(codes))
    rows = [places, *(np.delete(places, at) for at in places)]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(r) for r in rows], out=offsets[1:])
    index = np.concatenate(rows)
    times = None if history.times is None else history.times[index]
    text = None if queries.text is None else list(queries.text) * len(rows)
    asked = Queries(np.full(len(rows), -1, np.int32), Ragged(offsets, codes[index], times), text=text)
    scores = served.fitted.score(asked, np.array([served.items[item]], np.int32))[:, 0]
    number = lambda x: None if np.isnan(x) else float(x)
    worth = [(served.item_ids[c], number(scores[0] - s)) for c, s in zip(codes.tolist(), scores[1:], strict=True)]
    worth.sort(key=lambda w: -np.inf if w[1] is None else w[1], reverse=True)
    return number(scores[0]), worth, ignored
