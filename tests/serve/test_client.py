"""The client against a service that misbehaves on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from oakum.client import Client, Posted, ServiceError
from oakum.errors import ParameterError

SAID = {"model": "m", "data_version": "d", "request_id": "r"}


class Fake:
    """Answers from a list of (status, headers, body); None hangs up."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                fake.seen.append((self.command, self.path, dict(self.headers), body))
                step = fake.script.pop(0)
                if step is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                status, headers, value = step
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, content in headers.items():
                    self.send_header(name, content)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = _do

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.waits: list[float] = []
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def client(self, **options: Any) -> Client:
        return Client(self.url, sleep=self.waits.append, **options)


@pytest.fixture
def fake() -> Iterator[Fake]:
    found = Fake()
    yield found
    found.server.shutdown()
    found.server.server_close()


def problem(status: int, kind: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    return status, {}, {"type": f"https://x/#{kind}", "detail": "A sentence.", "status": status, "request_id": "q"}


def test_lost_connections_and_later_are_tried_again_with_the_same_ids(fake: Fake) -> None:
    done = (200, {}, {**SAID, "stored": 1, "duplicates": 0, "event_ids": ["e"]})
    fake.script = [None, problem(503, "busy"), (429, {"Retry-After": "7"}, {}), done]
    found = fake.client().add_events([Posted("u", "i")])
    assert (found.stored, found.model) == (1, "m")
    assert len({json.dumps(body) for *_, body in fake.seen}) == 1  # the very same event each time
    assert len({headers["X-Request-ID"] for _, _, headers, _ in fake.seen}) == 1
    assert len(fake.waits) == 3
    assert fake.waits[2] == 7.0
    assert 0.05 <= fake.waits[0] <= 0.15
    assert 0.1 <= fake.waits[1] <= 0.3


def test_refusals_are_raised_at_once_and_failures_in_the_end(fake: Fake) -> None:
    fake.script = [problem(422, "bad-request")]
    with pytest.raises(ServiceError, match="A sentence") as caught:
        fake.client().recommend("u")
    assert (caught.value.status, caught.value.kind, caught.value.request_id) == (422, "bad-request", "q")
    assert fake.waits == []
    fake.script = [problem(503, "state-down")] * 3
    with pytest.raises(ServiceError):
        fake.client(retries=2).recommend("u")
    assert len(fake.waits) == 2
    fake.script = [None] * 2
    with pytest.raises(ServiceError, match="did not answer") as caught:
        fake.client(retries=1).recommend("u")
    assert caught.value.status == 0
    fake.script = [(200, {}, b"<html>")]
    with pytest.raises(ServiceError, match="not JSON"):
        fake.client().model()


def test_keys_paths_and_portions(fake: Fake) -> None:
    fake.script = [
        (200, {}, {**SAID, "stored": 1000, "duplicates": 0}),
        (200, {}, {**SAID, "stored": 1, "duplicates": 4}),
    ]
    found = fake.client(key="secret").add_events([Posted("u", "i", timestamp=float(n)) for n in range(1005)])
    assert (found.stored, found.duplicates) == (1001, 4)
    assert [len(body["events"]) for *_, body in fake.seen] == [1000, 5]
    assert fake.seen[0][2]["Authorization"] == "Bearer secret"
    fake.script = [
        (200, {}, {**SAID, "events": [{"a": 1}], "trained": [], "next": 9}),
        (200, {}, {**SAID, "events": [{"a": 2}], "trained": []}),
    ]
    assert [e["a"] for e in fake.client().user("a/b c").events] == [1, 2]
    assert [path for _, path, _, _ in fake.seen[-2:]] == ["/v1/users/a%2Fb%20c", "/v1/users/a%2Fb%20c?after=9"]


def test_a_wrong_address_is_a_sentence() -> None:
    for url in ("ftp://x", "localhost:8080", ""):
        with pytest.raises(ParameterError, match="no address"):
            Client(url)
    assert not Client("http://127.0.0.1:9", retries=0).ready()
    with pytest.raises(ServiceError, match="not ready within"):
        Client("http://127.0.0.1:9").wait_until_ready(0.1)


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    import subprocess
    import sys

    heavy = ["numpy", "polars", "starlette", "msgspec", "torch", "numba"]
    code = f"import sys, oakum.client; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
