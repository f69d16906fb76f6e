"""Signing in with a key, and out."""

from __future__ import annotations

from typing import Any

from starlette.responses import RedirectResponse, Response

from oakum.serve.problems import Problem
from oakum.serve.web.session import SESSION
from oakum.serve.web.shell import Page, Visit, templates


async def form(visit: Visit) -> dict[str, Any] | Response:
    if not visit.service.keys.needed:
        return RedirectResponse("/", 303)
    return {"next": _local(_next(visit.query)), "error": ""}


def _next(query: list[tuple[str, str]]) -> str:
    return next((v for n, v in query if n == "next"), "/")


def _local(path: str) -> str:
    """An address of ours; anything that might lead elsewhere becomes the first page."""
    safe = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if safe and len(path) <= 2_000 else "/"


async def enter(visit: Visit) -> Response:
    if not visit.service.keys.needed:
        return RedirectResponse("/", 303)
    target = _local(visit.form.get("next", "/"))
    try:
        await visit.service.work(visit.session.sign_in, visit.form.get("key", ""))
    except Problem as problem:
        from oakum.serve.web.shell import named

        text = templates().get_template("signin.html.jinja").render(
            style=named("style.css"), script=named("live.js"), session=visit.session, keys=True, answers="",
            has_audit=False, next=target, error=problem.detail,
        )  # fmt: skip
        return Response(text, 401, media_type="text/html; charset=utf-8")
    response = RedirectResponse(target, 303)
    visit.session.remember(response)
    return response


async def leave(visit: Visit) -> Response:
    response = RedirectResponse("/", 303)
    response.delete_cookie(SESSION, httponly=True, samesite="strict", secure=visit.session.secure)
    return response


PAGES = [
    Page(path="/sign-in", does=form, template="signin.html.jinja", role=""),
    Page(path="/sign-in", does=enter, role="", method="POST"),
    Page(path="/sign-out", does=leave, role="", method="POST"),
]
