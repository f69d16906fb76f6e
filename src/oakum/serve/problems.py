"""Errors as RFC 9457 problem objects: a sentence that says what was found and what to do, never a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from oakum.errors import MissingExtra, OakumError, ParameterError
from oakum.state import StateBusy, StateError

PAGE = "https://oakum.readthedocs.io/en/latest/serving/#"
TITLES = {
    "bad-json": (400, "The body is not JSON"),
    "bad-host": (400, "The request names a host that is not this one"),
    "no-key": (401, "A key is needed"),
    "not-allowed": (403, "The key does not allow this"),
    "not-found": (404, "There is no such thing here"),
    "wrong-method": (405, "This address is asked in another way"),
    "too-slow": (408, "The request came too slowly"),
    "too-large": (413, "The body is too large"),
    "not-json": (415, "The body should be JSON"),
    "bad-request": (422, "The request does not fit"),
    "too-many": (429, "Too many requests"),
    "failure": (500, "Something went wrong here"),
    "busy": (503, "Too much is asked at once"),
    "state-down": (503, "The state cannot be used now"),
    "late": (504, "The answer took too long"),
}
MEDIA = "application/problem+json"


class ProblemDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RFC 9457. `detail` is for people; `type` is for programs."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Problem(Exception):
    """An answer that is an error. name: one of `TITLES`; detail: a sentence for people."""

    def __init__(self, name: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.name, self.detail, self.headers = name, detail, dict(headers or {})
        self.status, self.title = TITLES[name]

    def body(self, request_id: str) -> bytes:
        """The problem object."""
        return msgspec.json.encode(
            ProblemDetails(
                type=PAGE + self.name, title=self.title, status=self.status, detail=self.detail, request_id=request_id
            )
        )


def problem_of(error: BaseException) -> Problem | None:
    """The problem behind an exception; None for what nobody foresaw."""
    again: dict[str, Any] = {"headers": {"Retry-After": "1"}}
    if isinstance(error, Problem):
        return error
    if isinstance(error, StateBusy):
        return Problem("busy", str(error), **again)
    if isinstance(error, StateError):
        return Problem("state-down", str(error), **again)
    if isinstance(error, ParameterError):
        return Problem("bad-request", str(error))
    if isinstance(error, MissingExtra):
        return Problem("failure", str(error))
    if isinstance(error, OakumError):
        return Problem("bad-request", str(error))
    if isinstance(error, TimeoutError):
        return Problem("late", "The answer was not ready in time; ask again, or for less.", **again)
    return None
