"""A client of `oakum serve`: typed answers, retries that never count an event twice. Only the standard library.

client = Client("http://127.0.0.1:8080")
client.add_events([Posted("ann", "drum")])
for item in client.recommend("ann", k=5, filter="price < 10"):
    print(item.item_id, item.score)
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from oakum.errors import OakumError, ParameterError

AGAIN = {408, 429, 502, 503, 504}
LARGEST = 1 << 28
T = TypeVar("T")


class ServiceError(OakumError):
    """The service refused. status: the HTTP status, 0 where no answer came; kind: the name of the problem, as in the
    documentation; request_id: what the service's log knows it by; after: seconds it asks to wait."""

    def __init__(self, message: str, status: int = 0, kind: str = "", request_id: str = "", after: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.kind, self.request_id, self.after = status, kind, request_id, after


@dataclass(frozen=True, slots=True)
class Scored:
    """One place of a list; score is None where popularity filled it or the model cannot say."""

    item_id: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Said:
    """What every reply says."""

    model: str
    data_version: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Recommended(Said):
    """A list, best first; iterate over it."""

    items: tuple[Scored, ...]
    fallback: str | None = None
    ignored: tuple[str, ...] = ()
    matching: int | None = None
    degraded: str | None = None

    def __iter__(self) -> Iterator[Scored]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Explained(Said):
    """The score of an item, and what each event of the history adds to it."""

    item_id: str
    score: float | None
    because: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True)
class Posted:
    """An event to post. timestamp: seconds since 1970 or a moment; None: now, at the service. event_id: drawn here, so that
    posting the same object twice counts once."""

    user_id: str
    item_id: str
    timestamp: float | datetime | None = None
    type: str | None = None
    weight: float | None = None
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without what is not known."""
        when = self.timestamp.isoformat() if isinstance(self.timestamp, datetime) else self.timestamp
        value = {
            "user_id": self.user_id, "item_id": self.item_id, "timestamp": when, "type": self.type,
            "weight": self.weight, "event_id": self.event_id,
        }  # fmt: skip
        return {k: v for k, v in value.items() if v is not None}


@dataclass(frozen=True, slots=True)
class Stored(Said):
    """How many posted events were new, how many were known."""

    stored: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Known(Said):
    """What is known of a user: stored events (as the service spells them) and what the model was trained on."""

    user_id: str
    events: tuple[Mapping[str, Any], ...]
    trained: tuple[Mapping[str, Any], ...]


class Client:
    """Talks to one service; threads may share it (each keeps its own connection).

    key: an API key. timeout: seconds for one try. retries: how often a request is tried again after a lost connection or
    an answer that says "later"; waits double from `pause` seconds, a little at random, and never less than the service asks.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: int = 4,
        pause: float = 0.1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(f"'{url}' is no address of a service; write for example http://127.0.0.1:8080.")
        self._parts, self._key, self._timeout = parts, key, timeout
        self._retries, self._pause, self._sleep = retries, pause, sleep
        self._own = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Hang up. A later request connects again."""
        while self._open:
            self._open.pop().close()
        self._own = threading.local()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()

    # --- asking -------------------------------------------------------------------------------------------------
    def recommend(
        self,
        user_id: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
        k: int = 10,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        filter: str | None = None,
        exclude_seen: bool = True,
        seed: int | None = None,
    ) -> Recommended:
        """The best `k` items for a user, a history (oldest first), typed words, or a mix, under any filter. seed: the draw
        of models that explore."""
        who = _given(user_id=user_id, history=history, text=text)
        body = {**who, "k": k, "exclude_seen": exclude_seen, **_given(allow=allow, deny=deny, filter=filter)}
        return _listed(self._call("POST", "/v1/recommend", body if seed is None else {**body, "seed": seed}))

    def similar(
        self,
        item_id: str,
        *,
        k: int = 10,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] | None = None,
        filter: str | None = None,
    ) -> Recommended:
        """Items for somebody whose whole history is this item."""
        body = {"item_id": item_id, "k": k, **_given(allow=allow, deny=deny, filter=filter)}
        return _listed(self._call("POST", "/v1/similar", body))

    def score(
        self,
        items: Sequence[str],
        user_id: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | None = None,
    ) -> tuple[Scored, ...]:
        """Scores of the named items, in their order."""
        body = {"items": list(items), **_given(user_id=user_id, history=history, text=text)}
        return _scores(self._call("POST", "/v1/score", body)["scores"])

    def explain(self, item_id: str, user_id: str | None = None, *, history: Sequence[str] | None = None) -> Explained:
        """What each event of the history is worth for an item."""
        found = self._call("POST", "/v1/explain", {"item_id": item_id, **_given(user_id=user_id, history=history)})
        because = tuple((b["item_id"], b["effect"]) for b in found["because"])
        return Explained(*_said(found), found["item_id"], found["score"], because)

    # --- telling ------------------------------------------------------------------------------------------------
    def add_events(self, events: Sequence[Posted]) -> Stored:
        """Post events, in portions the service takes; returns when all of them are on its disk."""
        stored = duplicates = 0
        said = ("", "", "")
        for start in range(0, len(events), 1000):
            part = [e.to_json() for e in events[start : start + 1000]]
            found = self._call("POST", "/v1/events", {"events": part})
            stored, duplicates, said = stored + found["stored"], duplicates + found["duplicates"], _said(found)
        return Stored(*said, stored, duplicates)

    def add_items(self, items: Mapping[str, Mapping[str, Any]]) -> int:
        """Tell attributes of items, which filters choose by; how many items were told of."""
        rows = [{"item_id": i, "attributes": dict(a)} for i, a in items.items()]
        parts = (rows[start : start + 1000] for start in range(0, len(rows), 1000))
        return sum(int(self._call("POST", "/v1/items", {"items": part})["stored"]) for part in parts)

    # --- people -------------------------------------------------------------------------------------------------
    def user(self, user_id: str) -> Known:
        """All that is known of a user. Raises `ServiceError` with status 404 where that is nothing."""
        path, events = f"/v1/users/{quote(user_id, safe='')}", []
        first = found = self._call("GET", path)
        events += found["events"]
        while found.get("next") is not None:
            found = self._call("GET", f"{path}?{urlencode({'after': found['next']})}")
            events += found["events"]
        return Known(*_said(first), user_id, tuple(events), tuple(first["trained"]))

    def forget_user(self, user_id: str) -> str:
        """Remove a user; the service's statement of what was removed and what is left."""
        return str(self._call("DELETE", f"/v1/users/{quote(user_id, safe='')}")["statement"])

    # --- the service --------------------------------------------------------------------------------------------
    def model(self) -> dict[str, Any]:
        """The model that answers."""
        return self._call("GET", "/v1/model")

    def ready(self) -> bool:
        """Whether the service can work now; tried once."""
        try:
            self._try("GET", "/readyz", None, {})
        except ServiceError:
            return False
        return True

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Wait for the service to start. Raises `ServiceError` where it does not."""
        end = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() > end:
                raise ServiceError(f"{self._parts.geturl()} was not ready within {seconds:g} seconds.")
            self._sleep(0.05)

    # --- the wire -----------------------------------------------------------------------------------------------
    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        payload = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {
            "X-Request-ID": uuid.uuid4().hex
        }  # the same for every try, so that the service's log shows them as one
        for attempt in range(self._retries + 1):
            try:
                return self._try(method, path, payload, headers)
            except ServiceError as error:
                if attempt == self._retries or (error.status and error.status not in AGAIN):
                    raise
                self._sleep(max(error.after, self._pause * 2**attempt * random.uniform(0.5, 1.5)))
        raise AssertionError("unreachable")

    def _try(self, method: str, path: str, payload: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        sent = {"Accept": "application/json", **headers}
        if payload is not None:
            sent["Content-Type"] = "application/json"
        if self._key is not None:
            sent["Authorization"] = f"Bearer {self._key}"
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            secure = self._parts.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            connection = kind(str(self._parts.hostname), self._parts.port, timeout=self._timeout)
            self._own.connection = connection
            self._open.append(connection)
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, payload, sent)
            response = connection.getresponse()
            raw = response.read(LARGEST)
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it opens itself anew at the next request
            why = str(error) or type(error).__name__
            raise ServiceError(f"{self._parts.scheme}://{self._parts.netloc} did not answer ({why}).") from None
        try:
            found = json.loads(raw)
            assert isinstance(found, dict)
        except (ValueError, AssertionError):
            found = {"detail": f"The answer is not JSON: {raw[:100]!r}", "type": "#foreign"}
            if response.status < 400:
                raise ServiceError(found["detail"], response.status, "foreign") from None
        if response.status < 400:
            return found
        after = response.headers.get("Retry-After", "")
        raise ServiceError(
            str(found.get("detail", found)),
            response.status,
            str(found.get("type", "")).rpartition("#")[2],
            str(found.get("request_id", "")),
            float(after) if after.isdigit() else 0.0,
        )


def _given(**values: Any) -> dict[str, Any]:
    return {k: v if isinstance(v, str) else list(v) for k, v in values.items() if v is not None}


def _said(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["model"], found["data_version"], found["request_id"]


def _scores(rows: Sequence[Mapping[str, Any]]) -> tuple[Scored, ...]:
    return tuple(Scored(r["item_id"], r["score"]) for r in rows)


def _listed(found: Mapping[str, Any]) -> Recommended:
    return Recommended(
        *_said(found),
        _scores(found["items"]),
        found.get("fallback"),
        tuple(found.get("ignored") or ()),
        found.get("matching"),
        found.get("degraded"),
    )
