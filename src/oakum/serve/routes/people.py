"""What is known of a user, and forgetting it."""

from __future__ import annotations

from typing import Any

import numpy as np

from oakum.serve.bodies import ForgetReply, Page, StoredEvent, TrainedEvent, UserReply
from oakum.serve.endpoints import Call, Endpoint
from oakum.serve.problems import Problem
from oakum.state import Event


async def show(call: Call, page: Page) -> UserReply:
    state, served, user = call.service.state, call.served, call.path["user_id"]
    events = await call.service.work(lambda: state.of_user(user, after=page.after, limit=page.limit))
    trained = [] if page.after or state.is_forgotten(user) else _trained(call, user)
    if not events and not trained and not page.after:
        raise Problem("not-found", f"Nothing is known of the user {user!r}.")
    more = len(events) == page.limit
    return UserReply(
        user_id=user,
        events=[_stored(e) for e in events],
        trained=trained,
        next=events[-1].seq if more else None,
        model=served.id,
        data_version=served.data_version,
        request_id=call.request_id,
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
    removed = await call.service.work(state.forget, user)
    statement = "All stored events of this user are removed, and no answer uses them from now on."
    if trained:
        statement += (
            f" The model was trained on {trained} events of this user; they are no longer used to answer, and "
            "`oakum refresh` makes a model without them."
        )
    return ForgetReply(user_id=user, removed=removed, statement=statement, **call.said)


ENDPOINTS = [
    Endpoint(
        method="GET", path="/v1/users/{user_id:path}", does=show, body=Page, reply=UserReply, role="write",
        about="All that is known of a user, stored events included.",
    ),
    Endpoint(
        method="DELETE", path="/v1/users/{user_id:path}", does=forget, reply=ForgetReply, role="admin",
        about="Remove a user's events for good and stop using what the model was trained on.",
    ),
]  # fmt: skip
