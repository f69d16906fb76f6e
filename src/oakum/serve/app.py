"""The application: endpoints in a list, one guard around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from oakum.serve.endpoints import Endpoint, routes
from oakum.serve.guard import Guard
from oakum.serve.openapi import describe
from oakum.serve.problems import Problem
from oakum.serve.routes import ask, feedback, health, items, people
from oakum.serve.service import Service

ENDPOINTS: list[Endpoint] = [
    *ask.ENDPOINTS,
    *feedback.ENDPOINTS,
    *items.ENDPOINTS,
    *people.ENDPOINTS,
    *health.ENDPOINTS,
]


def build_app(service: Service, *, more: Sequence[Endpoint] = (), pages: Sequence[Route] = ()) -> Guard:
    """The ASGI application of a service. more: further endpoints, described in the OpenAPI document like the others;
    pages: routes outside of it."""
    endpoints = [*ENDPOINTS, *more]
    document = msgspec.json.encode(describe(endpoints, keys=service.keys.needed))

    async def openapi(request: Request) -> Response:
        request.scope["oakum.route"] = "GET /openapi.json"
        return Response(document, media_type="application/json")

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    listed = [*routes(service, endpoints), Route("/openapi.json", openapi), *pages]
    return Guard(Router(listed, redirect_slashes=False, default=_nothing, lifespan=life), service)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        raise Problem(
            "not-found", f"There is nothing at {scope['path'][:200]!r}; GET /openapi.json lists what there is."
        )
