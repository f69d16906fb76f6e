"""What is known of a user, and forgetting it."""

from __future__ import annotations

from typing import Any

import numpy as np

from oakum.forgetting.forget import digest_of
from oakum.serve.bodies import (
    Answered,
    ForgetReply,
    Page,
    Statement,
    StatementsReply,
    StoredEvent,
    TrainedEvent,
    UserReply,
    Whose,
)
from oakum.serve.endpoints import Call, Endpoint
from oakum.serve.problems import Problem
from oakum.state import Event
from oakum.state.experiments import answers_of
from oakum.state.statements import put_statement, statements


async def show(call: Call, page: Page) -> UserReply:
    state, user = call.service.state, call.path["user_id"]
    call = call.of(user)
    events, parts = await call.service.work(
        lambda: (state.of_user(user, after=page.after, limit=page.limit), answers_of(state, user))
    )
    trained = [] if page.after or state.is_forgotten(user) else _trained(call, user)
    if not events and not trained and not page.after:
        said = "" if not state.is_forgotten(user) else " They were deleted: GET /v1/statements?user_id=… says when."
        raise Problem("not-found", f"Nothing is known of the user {user!r}.{said}")
    more = len(events) == page.limit
    return UserReply(
        user_id=user,
        events=[_stored(e) for e in events],
        trained=trained,
        experiments=[Answered(experiment=e, arm=_ARMS[c], first=t / 1e6) for e, c, t in parts] or None,
        next=events[-1].seq if more else None,
        **call.said,
    )


def _stored(e: Event) -> StoredEvent:
    return StoredEvent(
        event_id=e.event_id, user_id=e.user_id, item_id=e.item_id, timestamp=e.time / 1e6, status=e.status,
        type=e.type, weight=e.weight, batch=e.batch,
    )  # fmt: skip


def _trained(call: Call, user: str) -> list[TrainedEvent]:
    code = call.served.users.get(user)
    if code is None:
        return []
    row = call.served.fitted.histories.take(np.array([code]))
    times: list[float | None] = [None] * len(row.items) if row.times is None else (row.times / 1e6).tolist()
    ids = call.served.item_ids
    return [TrainedEvent(item_id=ids[c], timestamp=t) for c, t in zip(row.items.tolist(), times, strict=True)]


async def forget(call: Call, _: Any) -> ForgetReply:
    state, user = call.service.state, call.path["user_id"]
    trained = len(_trained(call, user))
    statement = "All stored events of this user are removed, and no answer uses them from now on."
    if trained:
        statement += (
            f" The model was trained on {trained} events of this user; they are no longer used to answer, and "
            "`oakum refresh` makes a model without them; `oakum forget` also measures what is left."
        )

    def do() -> dict[str, int]:
        removed = state.forget(user)
        record = {"removed": removed, "trained": trained, "model": call.served.id}
        put_statement(state, {"people": [digest_of(user)], "statement": statement, "record": record})
        return removed

    removed = await call.service.work(do)
    return ForgetReply(user_id=user, removed=removed, statement=statement, **call.said)


async def said(call: Call, whose: Whose) -> StatementsReply:
    found = await call.service.work(statements, call.service.state, whose.user_id)
    return StatementsReply(statements=[Statement(**s) for s in found], **call.said)


_ARMS = {False: "current", True: "candidate"}
ENDPOINTS = [
    Endpoint(
        method="GET", path="/v1/users/{user_id:path}", does=show, body=Page, reply=UserReply, role="write",
        about="All that is known of a user, stored events included.",
    ),
    Endpoint(
        method="DELETE", path="/v1/users/{user_id:path}", does=forget, reply=ForgetReply, role="admin",
        about="Remove a user's events for good and stop using what the model was trained on.",
    ),
    Endpoint(
        method="GET", path="/v1/statements", does=said, body=Whose, reply=StatementsReply, role="admin",
        about="Statements of deletion, of one user or all; made by DELETE here and by `oakum forget --state`.",
    ),
]  # fmt: skip
