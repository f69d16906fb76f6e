"""What all pages share: who may see them, one frame around them, errors as pages, style and script by digest."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from oakum.serve.bodies import LONGEST_ID
from oakum.serve.items import ItemTable
from oakum.serve.models import Served
from oakum.serve.problems import Problem, problem_of
from oakum.serve.service import Service
from oakum.serve.web.session import Session

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
TITLES = ("title", "name")  # columns that say what an item is called


@dataclass(frozen=True)
class Visit:
    """One request for a page: the service, the model it began with, who looks, what the address and the form say."""

    service: Service
    session: Session
    served: Served
    table: ItemTable
    query: list[tuple[str, str]]
    form: Mapping[str, str]
    path: Mapping[str, str]

    def get(self, name: str) -> str:
        """A value of the address, "" where it is missing. Raises `Problem` where it is too long or not printable."""
        return next((checked(name, v) for n, v in self.query if n == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a name, in order."""
        return [checked(name, v) for n, v in self.query if n == name]

    def title(self, id: str) -> str:
        """What an item is called, "" where nothing says so."""
        code = self.served.items.get(id)
        columns = [c for c in TITLES if c in self.table.frame.columns]
        if code is None or not columns:
            return ""
        return str(self.table.frame[columns[0]][code] or "")


def checked(name: str, value: str) -> str:
    """A text that may be an id."""
    if len(value) > LONGEST_ID or not (value.isprintable() or not value):
        raise Problem("bad-request", f"The {name} in the address has at most {LONGEST_ID} printable characters.")
    return value


Does = Callable[[Visit], Awaitable["dict[str, Any] | Response"]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """An address, a template, and what fills it. role: who may see it, "" for everybody."""

    path: str
    does: Does
    template: str = ""
    role: str = "read"
    method: str = "GET"


class Answering:
    """One path as an ASGI application."""

    def __init__(self, service: Service, found: Mapping[str, Page]) -> None:
        self.service, self.found = service, found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        session = Session(self.service, request)
        try:
            response = await self._answer(request, session)
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise  # the guard logs it and says so
            if problem.name == "no-key" and request.method in ("GET", "HEAD"):
                here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                response = RedirectResponse(f"/sign-in?next={quote(here, safe='')}", 303)
            else:
                response = self._page("problem.html.jinja", session, {"problem": problem}, problem.status)
                response.headers.update(problem.headers)
        session.finish(response)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    async def _answer(self, request: Request, session: Session) -> Response:
        page = self.found.get("GET" if request.method == "HEAD" else request.method)
        if page is None:
            raise Problem("wrong-method", f"This address takes {', '.join(self.found)}.")
        request.scope["oakum.route"] = f"{page.method} {page.path}"
        caller = session.key.id if session.key is not None else request.client.host if request.client else ""
        self.service.rate.take(caller)
        if page.role and not session.may(page.role):
            if not session.role():
                raise Problem("no-key", "Sign in with a key first.")
            raise Problem("not-allowed", f"This needs a key with the role '{page.role}'; yours has '{session.role()}'.")
        form: dict[str, str] = {}
        if page.method == "POST":
            form = _form(request.scope["oakum.body"])
            session.check(form.get("token", ""), request.headers.get("origin"), request.headers.get("host", ""))
        served, table = self.service.now
        visit = Visit(
            self.service, session, served, table, request.query_params.multi_items(), form, request.path_params
        )
        found = await page.does(visit)
        if isinstance(found, Response):
            return found
        return self._page(page.template, session, found)

    def _page(self, template: str, session: Session, context: Mapping[str, Any], status: int = 200) -> Response:
        served = self.service.now[0]
        common = {
            "style": named("style.css"),
            "script": named("live.js"),
            "session": session,
            "keys": self.service.keys.needed,
            "answers": served.id,
            "has_audit": self.service.settings.audit is not None,
        }
        text = templates().get_template(template).render({**common, **context})
        return Response(text.encode("utf-8", "replace"), status, media_type="text/html; charset=utf-8")


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=50))
    except ValueError:
        raise Problem("bad-request", "The form has more fields than any of ours.") from None


class Asset:
    """A style sheet or script under the digest of its content, so that it may be kept for good."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["oakum.route"] = "GET /web"
        kind = "text/css" if self.name.endswith(".css") else "text/javascript"
        keep = {"Cache-Control": "public, max-age=31536000, immutable"}
        await Response(assets()[self.name], 200, keep, media_type=kind)(scope, receive, send)


@cache
def assets() -> Mapping[str, bytes]:
    """Content by name."""
    from oakum.report.page import sheet

    folder = resources.files("oakum.serve.web").joinpath("templates")
    read = lambda name: folder.joinpath(name).read_text(encoding="utf-8")
    texts = {"style.css": sheet() + read("web.css"), "live.js": read("live.js")}
    out = {}
    for name, text in texts.items():
        stem, _, end = name.partition(".")
        out[f"{stem}-{sha256(text.encode()).hexdigest()[:12]}.{end}"] = text.encode()
    return out


def named(name: str) -> str:
    """The address of an asset."""
    stem, _, end = name.partition(".")
    return next(f"/web/{n}" for n in assets() if n.startswith(stem) and n.endswith(end))


@cache
def templates() -> Any:
    """The templates of the pages, over those of the report."""
    from oakum.report.page import environment

    found = environment(str(resources.files("oakum.serve.web").joinpath("templates")))
    found.filters["score"] = score
    return found


def score(value: float | None, *, sign: bool = False) -> str:
    """A score with three digits that count, whatever its size."""
    from oakum.report.words import number

    if value is None or not math.isfinite(value):
        return number(None)
    if value == round(value) and abs(value) >= 10:
        return number(value, 0, sign=sign)  # a count
    size = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return number(value, min(6, max(0, 2 - size)), sign=sign)
