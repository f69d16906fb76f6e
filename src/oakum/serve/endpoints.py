"""An endpoint as a value: what it is asked with, what it answers, who may ask. Routes and OpenAPI are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from oakum.serve.bodies import LONGEST_ID
from oakum.serve.items import ItemTable
from oakum.serve.models import Served
from oakum.serve.problems import Problem
from oakum.serve.service import Service


@dataclass(frozen=True)
class Call:
    """One request on its way: the service, the model it began with, its id, the values in its path."""

    service: Service
    served: Served
    table: ItemTable
    request_id: str
    path: dict[str, str]

    @property
    def said(self) -> dict[str, str]:
        """What every reply says."""
        return {"model": self.served.id, "data_version": self.served.data_version, "request_id": self.request_id}

    def of(self, user_id: str) -> Call:
        """The same call with the model that answers this person: the candidate of an experiment for some."""
        trial = self.service.trial
        if trial is None or not trial.takes(user_id):
            return self
        served, table = trial.now
        return replace(self, served=served, table=table)


Handler = Callable[[Call, Any], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """method and path; `does(call, body)` answers with a reply, text, or a problem raised. body: the type of the JSON
    body, or of the query of a GET; reply: the type of the answer (str: plain text). role: read, write, admin, or "" for
    everybody. path: ids in it are written as `{name:path}`, so that they may hold slashes."""

    method: str
    path: str
    does: Handler
    about: str
    reply: Any
    body: Any = None
    role: str = "read"
    status: int = 200

    @property
    def shown(self) -> str:
        """The path as documents write it."""
        return self.path.replace(":path}", "}")


def routes(service: Service, endpoints: Sequence[Endpoint]) -> list[Route]:
    """The routes of an application; endpoints of one path become one route, so that a wrong method is told from a wrong
    address."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [Route(path, _Answering(service, found)) for path, found in paths.items()]


class _Answering:
    """One path as an ASGI application: key, rate, body, handler, reply, in this order. Errors go up to the guard."""

    def __init__(self, service: Service, found: dict[str, Endpoint]) -> None:
        self.service, self.found = service, found
        self.decoders = {m: Decoder(e.body) for m, e in found.items() if e.body is not None and m != "GET"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, service = Request(scope), self.service
        endpoint = self.found.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = ", ".join(self.found)
            raise Problem("wrong-method", f"This address takes {allowed}.", {"Allow": allowed})
        scope["oakum.route"] = f"{endpoint.method} {endpoint.shown}"
        if endpoint.role:
            key = service.keys.allow(request.headers.get("authorization"), endpoint.role)
            service.rate.take(key.id if key is not None else request.client.host if request.client else "")
        for name, value in request.path_params.items():
            if not 0 < len(value) <= LONGEST_ID or not value.isprintable():
                raise Problem("bad-request", f"The {name} in the address has 1 to {LONGEST_ID} printable characters.")
        body = None
        if endpoint.body is not None:
            read = _query if endpoint.method == "GET" else _body
            body = read(request, endpoint.body if endpoint.method == "GET" else self.decoders[endpoint.method])
        served, table = service.now
        reply = await endpoint.does(Call(service, served, table, scope["oakum.id"], request.path_params), body)
        if isinstance(reply, str):
            response = Response(reply, endpoint.status, media_type="text/plain; version=0.0.4; charset=utf-8")
        else:
            response = Response(msgspec.json.encode(reply), endpoint.status, media_type="application/json")
        await response(scope, receive, send)


def _body(request: Request, decoder: Decoder[Any]) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("not-json", "Send the body as JSON, not compressed, with 'Content-Type: application/json'.")
    try:
        return decoder.decode(request.scope["oakum.body"])
    except msgspec.ValidationError as error:
        raise Problem("bad-request", f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("bad-json", f"The body cannot be read as JSON: {error}.") from None
    except RecursionError:
        raise Problem("bad-json", "The body nests too deeply.") from None


def _query(request: Request, kind: Any) -> Any:
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem("bad-request", f"In the query of the address: {error}.") from None
