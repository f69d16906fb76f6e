"""What every request passes first: an id, a size, a deadline, a host; and what every answer gets: headers and numbers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oakum.serve.problems import MEDIA, Problem, problem_of
from oakum.serve.service import Service

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HERE = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.I)
ALWAYS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class Guard:
    """ASGI middleware around the whole application. The body is read here, within limits, into scope["oakum.body"]."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        settings, metrics = self.service.settings, self.service.metrics
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)
        scope["oakum.id"], scope["oakum.route"] = request_id, "unknown"
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name.lower() for name, _ in message["headers"]}  # a page brings its own policy
                more = [header for header in ALWAYS if header[0] not in own]
                message["headers"] = [*message["headers"], *more, (b"x-request-id", request_id.encode())]
            await send(message)

        began = time.perf_counter()
        metrics.add("oakum_requests_in_flight")
        try:
            async with asyncio.timeout(2 * settings.seconds + 1):
                try:
                    self._host(headers)
                    scope["oakum.body"] = await self._body(headers, receive)
                    await self.app(scope, receive, answer)
                except Exception as error:
                    if status:
                        raise
                    problem = self._problem(error, request_id)
                    drain = receive if problem.name == "too-large" else None
                    await refuse(answer, problem, request_id, drain, settings.seconds)
        except TimeoutError:
            if status:
                raise  # the answer is under way and its reader does not take it: the connection goes
            await refuse(answer, Problem("late", "The request took too long; ask for less."), request_id)
        finally:
            metrics.add("oakum_requests_in_flight", -1.0)
            route = scope["oakum.route"]
            metrics.add("oakum_requests_total", route=route, status=str(status))
            metrics.time("oakum_request_seconds", time.perf_counter() - began, route=route)

    def _problem(self, error: Exception, request_id: str) -> Problem:
        found = problem_of(error)
        if found is None:
            self.service.say(f"request {request_id} failed:\n{traceback.format_exc()}")
            found = Problem("failure", f"This should not happen; the log tells more under request {request_id}.")
        if found.status in (401, 403, 408, 413, 415, 429, 503):
            self.service.metrics.add("oakum_refused_total", reason=found.name)
        return found

    def _host(self, headers: dict[bytes, bytes]) -> None:
        """Without keys only this machine may ask, and no web page in a browser on it: a page whose own name is made to
        resolve to loopback still sends that name. What a browser sends on behalf of another page names that page's
        origin, also where it needs no leave to send it (a form, a post without a body)."""
        if self.service.keys.needed or not self.service.settings.loopback:
            return
        host = headers.get(b"host", b"").decode("latin-1")
        if not _HERE.fullmatch(host):
            raise Problem("bad-host", "This service answers under localhost only; with keys it answers under any name.")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") not in (f"http://{host}", f"https://{host}"):
            raise Problem("bad-host", "Without keys this service answers no other web page.")

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit, seconds = self.service.settings.body, self.service.settings.seconds
        large = Problem(
            "too-large", f"A body may have {limit:,} bytes; send less, in several requests.", {"Connection": "close"}
        )
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told[:18]) > limit:
            raise large
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem("too-slow", "The connection ended before the request did.")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise large
                    more = message.get("more_body", False)
        except TimeoutError:
            detail = f"The whole request has {seconds:g} seconds to arrive."
            raise Problem("too-slow", detail, {"Connection": "close"}) from None
        return b"".join(parts)


async def refuse(
    send: Send, problem: Problem, request_id: str, drain: Receive | None = None, seconds: float = 0.0
) -> None:
    """Answer with a problem object. drain: read on for some seconds and throw away what comes, because most clients read
    no answer before they have sent all, and a closed connection would hide it from them."""
    body = problem.body(request_id)
    headers = [(b"content-type", MEDIA.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(k.lower().encode(), v.encode()) for k, v in problem.headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    if drain is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (message := await drain())["type"] == "http.request" and message.get("more_body"):
                    pass
        body = b""
    await send({"type": "http.response.body", "body": body})
