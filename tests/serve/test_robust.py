"""What goes wrong outside must not go wrong inside: each is refused in words, and the service goes on."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from oakum.client import Client, Posted, ServiceError
from oakum.errors import ModelFileError, ParameterError
from oakum.serve import serve
from oakum.serve.service import Service
from oakum.serve.settings import Settings
from tests.serve.live import Process, living, raw, wait_for
from tests.serve.test_http import ask
from tests.state.servers import Postgres

HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def alive(url: str) -> bool:
    return bool(Client(url).recommend("somebody", k=3).items)


def test_a_body_of_a_hundred_megabytes_is_refused_and_not_kept(live: tuple[str, Service]) -> None:
    url, _ = live
    where = urlsplit(url)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = b"x" * (1 << 20)
    for chunked in (False, True):
        with socket.create_connection((str(where.hostname), where.port or 0), timeout=20) as line:
            size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (100 << 20)
            line.sendall(HEAD + size + b"\r\n\r\n")
            for _ in range(100):
                line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                line.sendall(b"0\r\n\r\n")
            answer = line.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"#too-large" in answer
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10  # KiB
    assert alive(url)


def test_slow_clients_are_left(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s", seconds=0.5) as (url, _):
        began = time.monotonic()
        assert raw(url, *[b"GET /healthz HTTP/1.1\r\n", b"Host: localhost\r\n"] * 3, pause=0.2) == b""  # slow headers
        answer = raw(url, HEAD + b"Content-Length: 100\r\n\r\n", b"{", b'"', pause=0.2)  # slow body
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"#too-slow" in answer
        assert raw(url, wait=3) == b""  # nothing at all
        assert raw(url, b"GET /healthz HTTP/1.1\r\n" + b"X: " + b"a" * (1 << 18)) == b""  # headers without an end
        assert time.monotonic() - began < 10
        assert alive(url)


def test_half_requests_and_nonsense_on_the_wire(live: tuple[str, Service]) -> None:
    url, _ = live
    for sent in (
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"POST /v1/recommend HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ):
        found = raw(url, sent, wait=1)
        assert found == b"" or found.startswith(b"HTTP/1.1 400")
    raw(url, HEAD + b"Content-Length: 100\r\n\r\n{", wait=0.1)  # hangs up in the middle
    assert alive(url)


def test_more_connections_than_may_are_dropped(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s", connections=5, seconds=1.0) as (url, _):
        where = urlsplit(url)
        lines = [socket.create_connection((str(where.hostname), where.port or 0)) for _ in range(20)]
        time.sleep(0.2)
        dropped = 0
        for line in lines:
            line.settimeout(0.05)
            try:
                dropped += line.recv(1) == b""
            except ConnectionError:
                dropped += 1
            except TimeoutError:
                pass
            line.close()
        assert dropped >= 15
        wait_for(lambda: alive(url))


def test_more_work_than_can_wait_is_refused_at_once(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s", workers=1, waiting=2, seconds=5.0) as (url, service):
        gate = threading.Event()
        find = service.now[0].finder.find
        service.now[0].finder.find = lambda *a, **b: gate.wait(3) and find(*a, **b)  # type: ignore[method-assign]
        found: list[int] = []
        ask_one = lambda: found.append(ask(url, "POST", "/v1/recommend", {"user_id": "u"})[0])
        threads = [threading.Thread(target=ask_one) for _ in range(10)]
        for thread in threads:
            thread.start()
        wait_for(lambda: found.count(503) == 7)
        assert ask(url, "GET", "/healthz")[0] == 200
        gate.set()
        for thread in threads:
            thread.join()
        assert found.count(200) == 3
        assert service.running == 0


def test_an_answer_that_takes_too_long_is_given_up(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s", workers=1, seconds=0.3) as (url, service):
        find = service.now[0].finder.find
        service.now[0].finder.find = lambda *a, **b: time.sleep(1) or find(*a, **b)  # type: ignore[func-returns-value,method-assign]
        status, headers, found = ask(url, "POST", "/v1/recommend", {"user_id": "u"})
        assert (status, found["type"].rpartition("#")[2], headers["retry-after"]) == (504, "late", "1")
        wait_for(lambda: service.running == 0)
        service.now[0].finder.find = find  # type: ignore[method-assign]
        assert alive(url)


def test_what_nobody_foresaw_is_a_problem_without_a_trace(saved: Path, tmp_path: Path, capsys: Any) -> None:
    with living(saved, tmp_path / "s") as (url, service):
        service.now[0].finder.find = lambda *a, **b: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        status, headers, found = ask(url, "POST", "/v1/recommend", {"user_id": "u"})
        assert (status, found["title"]) == (500, "Something went wrong here")
        assert "ZeroDivision" not in json.dumps(found)
        told = capsys.readouterr().err
        assert "ZeroDivisionError" in told
        assert headers["x-request-id"] in told
        assert ask(url, "GET", "/healthz")[0] == 200


def tamper(folder: Path, name: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["weights.safetensors", "history.parquet", "spec.json"])
def test_a_tampered_model_is_not_served(model: Path, tmp_path: Path, name: str) -> None:
    tamper(model, name)
    with pytest.raises(ModelFileError, match="was changed after it was saved"):
        serve(model, tmp_path / "s", Settings(port=0))


def test_a_pointer_cannot_lead_out_of_the_folder(model: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(model, outside)
    for name in ("../../outside", str(outside), "..", "0001/../../../outside", 7, None, "0001\n"):
        (model / "current.json").write_text(json.dumps({"model": name}))
        with pytest.raises(ModelFileError, match="no model of this folder"):
            serve(model, tmp_path / "s", Settings(port=0))
    (model / "current.json").write_text("[" * 100_000)
    with pytest.raises(ModelFileError, match="cannot be read"):
        serve(model, tmp_path / "s", Settings(port=0))
    (model / "current.json").write_text('{"model": "0042"}')
    with pytest.raises(ModelFileError, match="no model folder"):
        serve(model, tmp_path / "s", Settings(port=0))


def test_a_port_in_use_is_a_sentence(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s") as (url, _):
        with pytest.raises(ParameterError, match="cannot be listened at"):
            serve(saved, tmp_path / "s2", Settings(port=urlsplit(url).port or 0))
        with pytest.raises(ParameterError, match="cannot be listened at"):
            serve(saved, tmp_path / "s2", Settings(host="no.such.host.invalid"))


def small_disk() -> None:
    """Every file of the process ends at this size, as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_a_full_disk_is_refused_in_words_and_nothing_acknowledged_is_lost(saved: Path, tmp_path: Path) -> None:
    process = Process(saved, tmp_path / "s", before=small_disk).start()
    stored: list[str] = []
    refused: ServiceError | None = None
    with process.client(retries=0) as client:
        for _ in range(400):
            batch = [Posted("hoarder", f"item-{n}") for n in range(100)]
            try:
                client.add_events(batch)
            except ServiceError as error:
                refused = error
                break
            stored += [e.event_id for e in batch]
        assert refused is not None
        assert (refused.status, refused.kind) == (503, "state-down")
        assert "free some space" in str(refused)
        assert client.recommend("hoarder").items  # reading goes on
        assert client.ready()
    process.kill()
    process.before = None  # room again
    process.start()
    with process.client() as client:
        assert [e["event_id"] for e in client.user("hoarder").events] == stored
        assert client.add_events([Posted("hoarder", "one more")]).stored == 1
    assert process.stop() == 0


def test_a_dead_postgres_is_refused_in_words_while_lists_go_on(saved: Path, server: Postgres) -> None:
    with living(saved, server.fresh(), seconds=8.0) as (url, service), Client(url, retries=0) as client:
        client.add_events([Posted("ann", next(iter(service.now[0].items)), event_id="one")])
        server.stop()
        try:
            with pytest.raises(ServiceError, match="does not answer") as caught:
                client.add_events([Posted("ann", "x", event_id="two")])
            assert (caught.value.status, caught.value.kind) == (503, "state-down")
            status, _, found = ask(url, "GET", "/readyz")
            assert (status, found["type"].rpartition("#")[2]) == (503, "state-down")
            assert ask(url, "GET", "/healthz")[0] == 200
            with pytest.raises(ServiceError, match="does not answer"):
                client.user("ann")
            user = next(iter(service.now[0].users))
            degraded = client.recommend(user, k=3)
            assert len(degraded.items) == 3
            assert degraded.degraded is not None
            assert "without the latest events" in degraded.degraded
            assert client.recommend(history=[next(iter(service.now[0].items))]).degraded is None
        finally:
            server.start()
        wait_for(client.ready)
        wait_for(lambda: client.recommend(user).degraded is None)
        client.add_events([Posted("ann", "x", event_id="two")])
        assert [e["event_id"] for e in client.user("ann").events] == ["one", "two"]
