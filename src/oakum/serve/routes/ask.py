"""Lists, neighbours, scores and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oakum.serve import answers
from oakum.serve.answers import Answer, Person, Wish
from oakum.serve.bodies import (
    Asker,
    ExplainReply,
    ExplainRequest,
    RecommendReply,
    RecommendRequest,
    ScoredItem,
    ScoreReply,
    ScoreRequest,
    SimilarRequest,
    Worth,
    text_of,
)
from oakum.serve.endpoints import Call, Endpoint
from oakum.serve.problems import Problem
from oakum.serve.service import Asks


def _texts(ids: Sequence[str | int] | None) -> tuple[str, ...] | None:
    return None if ids is None else tuple(text_of(i) for i in ids)


def _person(call: Call, ask: Asker) -> tuple[Person, str | None]:
    user = None if ask.user_id is None else text_of(ask.user_id)
    return call.service.person(call.served, user, history=_texts(ask.history), text=ask.text)


def _somebody(ask: Asker) -> None:
    if ask.user_id is None and ask.history is None and ask.text is None:
        raise Problem("bad-request", "Say for whom: give user_id, history or text.")


def _whose(call: Call, ask: Asker) -> Call:
    """The call with the model that answers this person."""
    _somebody(ask)
    return call if ask.user_id is None else call.of(text_of(ask.user_id))


async def recommend(call: Call, ask: RecommendRequest) -> RecommendReply:
    call = _whose(call, ask)
    asks = Asks(None if ask.user_id is None else text_of(ask.user_id), _texts(ask.history), ask.text)
    wish = Wish(
        k=ask.k, allow=_texts(ask.allow), deny=_texts(ask.deny), filter=ask.filter, exclude_seen=ask.exclude_seen, seed=ask.seed,
    )  # fmt: skip
    found, degraded = await call.service.recommend(call.served, call.table, asks, wish)
    if ask.user_id is not None and call.service.trial is not None:
        call.service.trial.note(text_of(ask.user_id))
    return _listed(call, found, degraded)


async def similar(call: Call, ask: SimilarRequest) -> RecommendReply:
    item = text_of(ask.item_id)
    if item not in call.served.items:
        raise Problem("not-found", f"The item {item!r} is not known to the model.")
    wish = Wish(k=ask.k, allow=_texts(ask.allow), deny=_texts(ask.deny), filter=ask.filter)
    return _listed(call, *await call.service.recommend(call.served, call.table, Asks(history=(item,)), wish))


def _listed(call: Call, found: Answer, degraded: str | None = None) -> RecommendReply:
    if found.fallback is not None:
        call.service.metrics.add("oakum_fallbacks_total")
    return RecommendReply(
        items=[ScoredItem(item_id=i, score=s) for i, s in found.items],
        fallback=found.fallback,
        ignored=found.ignored or None,
        matching=found.matching,
        degraded=degraded,
        **call.said,
    )


async def score(call: Call, ask: ScoreRequest) -> ScoreReply:
    call = _whose(call, ask)

    def do() -> tuple[Any, str | None]:
        person, degraded = _person(call, ask)
        return answers.score(call.served, person, _texts(ask.items) or ()), degraded

    (scores, ignored), degraded = await call.service.work(do)
    return ScoreReply(
        scores=[ScoredItem(item_id=i, score=s) for i, s in scores],
        ignored=ignored or None,
        degraded=degraded,
        **call.said,
    )


async def explain(call: Call, ask: ExplainRequest) -> ExplainReply:
    call = _whose(call, ask)
    item = text_of(ask.item_id)
    if item not in call.served.items:
        raise Problem("not-found", f"The item {item!r} is not known to the model.")

    def do() -> tuple[Any, str | None]:
        person, degraded = _person(call, ask)
        return answers.explain(call.served, person, item), degraded

    (value, because, ignored), degraded = await call.service.work(do)
    return ExplainReply(
        item_id=item,
        score=value,
        because=[Worth(item_id=i, effect=e) for i, e in because],
        ignored=ignored or None,
        degraded=degraded,
        **call.said,
    )


ENDPOINTS = [
    Endpoint(
        method="POST", path="/v1/recommend", does=recommend, body=RecommendRequest, reply=RecommendReply,
        about="The best items for a user, a history or typed words, under any filter.",
    ),
    Endpoint(
        method="POST", path="/v1/similar", does=similar, body=SimilarRequest, reply=RecommendReply,
        about="Items for somebody whose whole history is one item.",
    ),
    Endpoint(
        method="POST", path="/v1/score", does=score, body=ScoreRequest, reply=ScoreReply,
        about="Scores of named items.",
    ),
    Endpoint(
        method="POST", path="/v1/explain", does=explain, body=ExplainRequest, reply=ExplainReply,
        about="What each event of the history is worth for an item.",
    ),
]  # fmt: skip
