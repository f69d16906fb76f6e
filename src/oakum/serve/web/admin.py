"""What admins decide: batches of feedback; and what was deleted."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from oakum.serve.web.shell import Page, Visit
from oakum.state.schema import ACCEPTED, HELD, STATUS
from oakum.state.statements import statements


async def feedback(visit: Visit) -> dict[str, Any]:
    state = visit.service.state
    rows, counts = await visit.service.work(lambda: (state.batches(), state.counts()))
    held, accepted = STATUS[HELD], STATUS[ACCEPTED]
    return {
        "batches": [
            {**b, "releases": b["status"] == held, "returns": b["status"] in (held, accepted)} for b in reversed(rows)
        ],
        "counts": counts,
        "done": visit.get("done"),
    }


async def release(visit: Visit) -> Response:
    return await _move(visit, visit.service.state.release, "events of {} were let in; the next refresh uses them")


async def take_back(visit: Visit) -> Response:
    return await _move(
        visit, visit.service.state.take_back, "events of {} were taken back; the next refresh leaves them out"
    )


async def _move(visit: Visit, move: Any, said: str) -> Response:
    batch = visit.path["batch"]
    moved = await visit.service.work(move, batch)
    return RedirectResponse(f"/feedback?{urlencode({'done': f'{moved:,} ' + said.format(batch) + '.'})}", 303)


async def deletions(visit: Visit) -> dict[str, Any]:
    user = visit.get("user")
    return {"user": user, "found": await visit.service.work(statements, visit.service.state, user or None)}


PAGES = [
    Page(path="/feedback", does=feedback, template="feedback.html.jinja", role="admin"),
    Page(path="/feedback/{batch}/release", does=release, role="admin", method="POST"),
    Page(path="/feedback/{batch}/take-back", does=take_back, role="admin", method="POST"),
    Page(path="/statements", does=deletions, template="statements.html.jinja", role="admin"),
]
