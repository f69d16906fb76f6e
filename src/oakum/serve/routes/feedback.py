"""Events come in; batches of them are let in or taken back."""

from __future__ import annotations

import time
from typing import Any

from oakum.serve.bodies import Batch as BatchBody
from oakum.serve.bodies import (
    BatchesReply,
    BatchReply,
    EventsReply,
    EventsRequest,
    micros,
    text_of,
)
from oakum.serve.endpoints import Call, Endpoint
from oakum.state import Event


async def add(call: Call, ask: EventsRequest) -> EventsReply:
    now = int(time.time() * 1e6)
    events = [
        Event(
            text_of(e.user_id),
            text_of(e.item_id),
            now if e.timestamp is None else micros(e.timestamp),
            e.event_id or "",
            e.type,
            e.weight,
        )
        for e in ask.events
    ]
    future, ids = call.service.state.add_events(events)
    found = await call.service.durable(future)
    call.service.metrics.add("oakum_events_total", found.stored, outcome="stored")
    call.service.metrics.add("oakum_events_total", found.duplicates, outcome="duplicate")
    return EventsReply(stored=found.stored, duplicates=found.duplicates, event_ids=list(ids), **call.said)


async def batches(call: Call, _: Any) -> BatchesReply:
    state = call.service.state
    rows, counts = await call.service.work(lambda: (state.batches(), state.counts()))
    return BatchesReply(batches=[BatchBody(**row) for row in rows], events=counts, **call.said)


async def release(call: Call, _: Any) -> BatchReply:
    return await _moved(call, call.service.state.release)


async def take_back(call: Call, _: Any) -> BatchReply:
    return await _moved(call, call.service.state.take_back)


async def _moved(call: Call, move: Any) -> BatchReply:
    def do() -> tuple[int, dict[str, Any]]:
        moved = move(call.path["batch"])
        return moved, next(b for b in call.service.state.batches() if b["id"] == call.path["batch"])

    moved, row = await call.service.work(do)
    return BatchReply(batch=BatchBody(**row), moved=moved, **call.said)


ENDPOINTS = [
    Endpoint(
        method="POST", path="/v1/events", does=add, body=EventsRequest, reply=EventsReply, role="write",
        about="Store events; answered when they are on disk. The same event_id counts once.",
    ),
    Endpoint(
        method="GET", path="/v1/batches", does=batches, reply=BatchesReply, role="admin",
        about="Screened batches of events, and stored events by status.",
    ),
    Endpoint(
        method="POST", path="/v1/batches/{batch}/release", does=release, reply=BatchReply, role="admin",
        about="Let the held events of a batch in.",
    ),
    Endpoint(
        method="POST", path="/v1/batches/{batch}/take-back", does=take_back, reply=BatchReply, role="admin",
        about="Take a whole batch out; its events stay stored and are not used.",
    ),
]  # fmt: skip
