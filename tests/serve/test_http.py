"""The interface as others rely on it, and every refusal as a problem object."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from oakum.client import Client, Posted, ServiceError
from oakum.serve.app import ENDPOINTS
from oakum.serve.problems import TITLES
from oakum.serve.service import Service
from oakum.state.keys import new_key, revoke
from tests.serve.live import living, raw, wait_for

JSON = {"Content-Type": "application/json"}
Live = tuple[str, Service]


def ask(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    """One request with nothing hidden: status, headers, value."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=10)
    payload = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, payload, {**(JSON if body is not None else {}), **(headers or {})})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    found = {k.lower(): v for k, v in response.headers.items()}
    kind = found.get("content-type", "")
    return response.status, found, json.loads(text) if "json" in kind and text else text.decode()


def test_the_promised_interface(live: Live) -> None:
    url, service = live
    assert ask(url, "GET", "/readyz")[0] == 200
    assert ask(url, "GET", "/healthz")[2] == {"status": "ok"}
    names = list(service.now[0].items)
    events = [
        {
            "user_id": "ann",
            "item_id": names[3],
            "timestamp": 1_700_000_000.5,
            "event_id": "x1",
            "type": "view",
            "weight": 2,
        },
        {"user_id": "ann", "item_id": names[4], "timestamp": "2024-05-01T12:00:00Z", "event_id": "x2"},
        {"user_id": "ann", "item_id": names[4], "timestamp": 1_714_564_800_000, "event_id": "x2"},
        {"user_id": 7, "item_id": names[5]},
    ]
    status, _, found = ask(url, "POST", "/v1/events", {"events": events})
    assert (status, found["stored"], found["duplicates"]) == (200, 3, 1)
    assert ask(url, "POST", "/v1/events", {"events": events[:2]})[2]["duplicates"] == 2
    known = ask(url, "GET", "/v1/users/ann")[2]
    assert [(e["event_id"], e["item_id"], e["timestamp"], e["status"]) for e in known["events"]] == [
        ("x1", names[3], 1_700_000_000.5, "pending"),
        ("x2", names[4], 1_714_564_800.0, "pending"),
    ]
    assert known["events"][0]["type"] == "view"
    assert known["events"][0]["weight"] == 2.0
    assert len(ask(url, "GET", "/v1/users/7")[2]["events"]) == 1
    body = {
        "user_id": "ann",
        "history": [names[9]],
        "k": 5,
        "allow": names[:60],
        "deny": names[:10],
        "filter": "price < 60",
    }
    status, headers, found = ask(url, "POST", "/v1/recommend", body, {"X-Request-ID": "my-own.id_1"})
    assert status == 200
    assert [set(i) for i in found["items"]] == [{"item_id", "score"}] * 5
    assert {i["item_id"] for i in found["items"]} <= set(names[10:60])
    assert (found["model"], found["data_version"]) == (service.now[0].id, service.now[0].data_version)
    assert found["request_id"] == headers["x-request-id"] == "my-own.id_1"
    assert ask(url, "POST", "/v1/recommend", body)[2]["items"] == found["items"]  # the same question, the same answer


def test_every_reply_is_what_the_description_says(live: Live) -> None:
    url, service = live
    document = ask(url, "GET", "/openapi.json")[2]
    assert document["openapi"] == "3.1.0"
    assert {(m.upper(), p) for p, found in document["paths"].items() for m in found} == {
        (e.method, e.shown) for e in ENDPOINTS
    }
    item = next(iter(service.now[0].items))
    user = next(iter(service.now[0].users))
    asked = {
        ("POST", "/v1/recommend"): {"user_id": user, "k": 3},
        ("POST", "/v1/similar"): {"item_id": item},
        ("POST", "/v1/score"): {"user_id": user, "items": [item]},
        ("POST", "/v1/explain"): {"user_id": user, "item_id": item},
        ("POST", "/v1/events"): {"events": [{"user_id": "z", "item_id": item}]},
        ("POST", "/v1/items"): {"items": [{"item_id": "fresh", "attributes": {"price": 3}}]},
        ("GET", "/v1/items"): None,
        ("GET", f"/v1/items/{item}"): None,
        ("GET", "/v1/items/fresh"): None,
        ("GET", f"/v1/users/{user}"): None,
        ("DELETE", "/v1/users/z"): None,
        ("GET", "/v1/batches"): None,
        ("GET", "/v1/model"): None,
        ("GET", "/healthz"): None,
        ("GET", "/readyz"): None,
        ("POST", "/v1/batches/b9/release"): None,
        ("POST", "/v1/batches/b9/take-back"): None,
    }
    for (method, path), body in asked.items():
        status, headers, found = ask(url, method, path, body)
        shown = next(
            p
            for p in document["paths"]
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", p), path) and method.lower() in document["paths"][p]
        )
        content = document["paths"][shown][method.lower()]["responses"][str(status)]["content"]
        schema = content[headers["content-type"]]["schema"]
        jsonschema.validate(found, {**schema, "components": document["components"]})
        assert status in (200, 422), (path, found)


REFUSED = [
    ("POST", "/v1/recommend", b"{", 400, "bad-json", "cannot be read as JSON"),
    ("POST", "/v1/recommend", b"\xff\xfe", 400, "bad-json", "cannot be read as JSON"),
    ("POST", "/v1/recommend", b"[" * 50_000, 422, "bad-request", "Expected `object`"),
    ("POST", "/v1/recommend", b'{"user_id": "a", "history": ' + b"[" * 50_000, 422, "bad-request", r"at `\$\.history\[0\]`"),
    ("POST", "/v1/recommend", b'{"user_id": "a", "k": NaN}', 400, "bad-json", "malformed"),
    ("POST", "/v1/recommend", {"user_id": "a", "k": 0}, 422, "bad-request", r">= 1 - at `\$.k`"),
    ("POST", "/v1/recommend", {"user_id": "a", "k": 100_000}, 422, "bad-request", "<= 1000"),
    ("POST", "/v1/recommend", {"user_id": "a", "kk": 3}, 422, "bad-request", "unknown field `kk`"),
    ("POST", "/v1/recommend", {"k": 3}, 422, "bad-request", "give user_id, history or text"),
    ("POST", "/v1/recommend", {"user_id": "a\u0000b"}, 422, "bad-request", "user_id"),
    ("POST", "/v1/recommend", {"user_id": "a\n"}, 422, "bad-request", "user_id"),
    ("POST", "/v1/recommend", {"user_id": ""}, 422, "bad-request", "length >= 1"),
    ("POST", "/v1/recommend", {"user_id": "a" * 257}, 422, "bad-request", "length <= 256"),
    ("POST", "/v1/recommend", {"history": ["a"] * 1001}, 422, "bad-request", "length <= 1000"),
    ("POST", "/v1/recommend", {"user_id": "a", "filter": "price <"}, 422, "bad-request", "found the end"),
    ("POST", "/v1/recommend", {"user_id": "a", "filter": "open('/etc/passwd')"}, 422, "bad-request", "cannot be read"),
    ("POST", "/v1/recommend", {"text": "drum"}, 422, "bad-request", "does not read typed words"),
    ("POST", "/v1/similar", {"item_id": "nothing"}, 404, "not-found", "'nothing' is not known"),
    ("POST", "/v1/explain", {"user_id": "a", "item_id": "nothing"}, 404, "not-found", "not known"),
    ("POST", "/v1/events", {"events": []}, 422, "bad-request", "length >= 1"),
    ("POST", "/v1/events", {"events": [{"user_id": "a", "item_id": "b", "timestamp": 1e18 * 9}]}, 422, "bad-request", "1900"),
    ("POST", "/v1/events", {"events": [{"user_id": "a", "item_id": "b", "timestamp": "soon"}]}, 422, "bad-request", "timestamp"),
    ("POST", "/v1/events", {"events": [{"user_id": "a"}]}, 422, "bad-request", "item_id"),
    ("POST", "/v1/items", {"items": [{"item_id": "a", "attributes": {"x": {"y": 1}}}]}, 422, "bad-request", "attributes"),
    ("POST", "/v1/items", {"items": [{"item_id": "a", "attributes": {"price": "x"}}]}, 422, "bad-request", "holds numbers"),
    ("GET", "/v1/users/nobody", None, 404, "not-found", "Nothing is known"),
    ("GET", "/v1/users/" + "a" * 300, None, 422, "bad-request", "1 to 256"),
    ("GET", "/v1/users/%00", None, 422, "bad-request", "printable"),
    ("GET", "/v1/users/..%2f..%2fetc%2fpasswd", None, 404, "not-found", "Nothing is known of the user '../../etc/passwd'"),
    ("GET", "/v1/../../../etc/passwd", None, 404, "not-found", "nothing at"),
    ("GET", "/v1/items?limit=x", None, 422, "bad-request", "limit"),
    ("GET", "/v1/items?after=-1", None, 422, "bad-request", "after"),
    ("GET", "/nowhere", None, 404, "not-found", "openapi.json"),
    ("PUT", "/v1/recommend", {}, 405, "wrong-method", "takes POST"),
    ("POST", "/v1/batches/b7/release", None, 422, "bad-request", "no batch 'b7'"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "kind", "said"), REFUSED)
def test_refusals_are_problem_objects(live: Live, method: str, path: str, body: Any, status: int, kind: str, said: str) -> None:  # fmt: skip
    code, headers, found = ask(live[0], method, path, body)
    assert (code, headers["content-type"]) == (status, "application/problem+json")
    assert set(found) == {"type", "title", "status", "detail", "request_id"}
    assert found["status"] == status
    assert found["type"].endswith(f"#{kind}")
    assert re.search(said, found["detail"]), found["detail"]
    assert found["request_id"] == headers["x-request-id"]
    assert found["title"] == TITLES[kind][1]


def test_a_body_is_json_and_plain(live: Live) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}, {"Content-Type": ""}):
        status, _, found = ask(live[0], "POST", "/v1/recommend", {"user_id": "a"}, headers)
        assert (status, found["type"].rpartition("#")[2]) == (415, "not-json")


def test_ids_may_hold_anything_that_prints(live: Live) -> None:
    client = Client(live[0])
    for user in ("a/b", "ünï ☃", "..", "%2f", "a?b#c", "' OR 1=1 --", "1e5"):
        client.add_events([Posted(user, "i/1", 1_700_000_000)])
        assert [e["item_id"] for e in client.user(user).events] == ["i/1"]
        assert "are removed" in client.forget_user(user)
        with pytest.raises(ServiceError, match="Nothing is known"):
            client.user(user)


def test_without_keys_only_local_names_are_answered(live: Live) -> None:
    url, _ = live
    for host in ("localhost", "127.0.0.1:8080", "[::1]:80"):
        assert ask(url, "GET", "/healthz", None, {"Host": host})[0] == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        assert ask(url, "GET", "/healthz", None, {"Host": host})[2]["type"].endswith("#bad-host")


def test_a_posted_request_id_is_only_taken_where_it_is_plain(live: Live) -> None:
    for given in ("a b", "x" * 65, 'a"b', "ü"):
        headers = ask(
            live[0], "GET", "/healthz", None, {"X-Request-ID": given.encode("latin-1", "ignore").decode("latin-1")}
        )[1]
        assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])


def test_keys_roles_and_revocation(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s", keys=True) as (url, service):
        state = service.state
        keys = {role: new_key(state, role, role) for role in ("read", "write", "admin")}
        wait_for(lambda: len(service.keys.known) == 3)
        event = {"events": [{"user_id": "u", "item_id": "i"}]}
        table = [
            ("POST", "/v1/recommend", {"user_id": "u"}, "read"),
            ("GET", "/metrics", None, "read"),
            ("POST", "/v1/events", event, "write"),
            ("GET", "/v1/users/u", None, "write"),
            ("GET", "/v1/batches", None, "admin"),
            ("DELETE", "/v1/users/u", None, "admin"),
        ]
        ranks = ["read", "write", "admin"]
        for method, path, body, needed in table:
            status, headers, found = ask(url, method, path, body)
            assert status == 401
            assert headers["www-authenticate"].startswith("Bearer")
            assert "oakum keys --add" in found["detail"]
            for role, key in keys.items():
                status = ask(url, method, path, body, {"Authorization": f"Bearer {key}"})[0]
                assert status == (200 if ranks.index(role) >= ranks.index(needed) else 403), (path, role)
        for wrong in ("Basic abc", f"Bearer {keys['admin'][:-1]}", "Bearer", f"bearer  {keys['read']}x"):
            assert ask(url, "GET", "/metrics", None, {"Authorization": wrong})[0] == 401
        assert ask(url, "GET", "/healthz")[0] == ask(url, "GET", "/readyz")[0] == 200
        assert ask(url, "GET", "/healthz", None, {"Host": "shop.example"})[0] == 200
        assert ask(url, "GET", "/openapi.json")[2]["components"]["securitySchemes"]
        client = Client(url, key=keys["read"])
        assert client.recommend("u").items
        revoke(state, "read")
        wait_for(lambda: ask(url, "GET", "/metrics", None, {"Authorization": f"Bearer {keys['read']}"})[0] == 401)


def test_keys_are_on_wherever_others_could_reach() -> None:
    from oakum.serve.settings import Settings

    for host, needed in (("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True), ("10.0.0.1", True), ("shop", True)):  # fmt: skip
        assert Settings(host=host).needs_keys is needed
        assert (Settings(host=host).most is not None) is needed
    assert Settings(keys=True).needs_keys
    assert not Settings(host="0.0.0.0", keys=False).needs_keys
    assert Settings(rate=0).most is None


def test_rates_are_limited_by_caller(saved: Path, tmp_path: Path) -> None:
    with living(saved, tmp_path / "s", rate=3.0) as (url, _):
        found = [ask(url, "POST", "/v1/recommend", {"user_id": "u"}) for _ in range(12)]
        refused = [f for f in found if f[0] == 429]
        assert 3 <= len(refused) <= 6
        assert refused[0][2]["type"].endswith("#too-many")
        assert int(refused[0][1]["retry-after"]) >= 1
        assert ask(url, "GET", "/healthz")[0] == 200


def test_buckets_fill_with_time_and_forget_old_callers() -> None:
    from oakum.serve.access import CALLERS, Rate
    from oakum.serve.problems import Problem

    now = [0.0]
    rate = Rate(2.0, clock=lambda: now[0])
    for _ in range(4):
        rate.take("a")
    with pytest.raises(Problem):
        rate.take("a")
    rate.take("b")
    now[0] += 0.5
    rate.take("a")
    with pytest.raises(Problem):
        rate.take("a")
    for n in range(CALLERS):
        now[0] += 0.01
        rate.take(f"c{n}")
    assert len(rate._buckets) < 1000


def test_numbers_are_in_the_text_format(live: Live) -> None:
    url, service = live
    ask(url, "POST", "/v1/recommend", {"user_id": "stranger"})
    status, headers, text = ask(url, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    line = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+.e0-9]+(inf)?')
    for row in text.strip().splitlines():
        assert row.startswith(("# HELP ", "# TYPE ")) or line.fullmatch(row), row
    assert re.search(r'oakum_requests_total\{route="POST /v1/recommend",status="200"\} [1-9]', text)
    assert f'oakum_model_info{{model="{service.now[0].id}"' in text
    assert "stranger" not in text
    buckets = [float(v) for v in re.findall(r'seconds_bucket\{route="POST /v1/recommend",le="[^"]+"\} (\S+)', text)]
    assert buckets == sorted(buckets)
    assert buckets[-1] == float(re.findall(r'seconds_count\{route="POST /v1/recommend"\} (\S+)', text)[0])


def test_head_and_pipelined_requests(live: Live) -> None:
    two = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2
    assert raw(live[0], two).count(b"200 OK") >= 1
    assert ask(live[0], "HEAD", "/healthz")[0] == 200


def test_items_are_told_and_listed(live: Live) -> None:
    url, service = live
    client = Client(url)
    names = list(service.now[0].items)
    assert client.add_items({names[0]: {"colour": "red", "sizes": ["s", "m"]}, "not yet": {"colour": "blue"}}) == 2
    found = client.recommend(history=[names[5]], k=3, filter='colour == "red" and "m" in sizes')
    assert [i.item_id for i in found] == [names[0]]
    assert found.matching == 1
    page = ask(url, "GET", "/v1/items?limit=7&after=3")[2]
    assert [i["item_id"] for i in page["items"]] == names[3:10]
    assert (page["total"], page["next"]) == (len(names), 10)
    one = ask(url, "GET", "/v1/items/not%20yet")[2]["item"]
    assert one == {"item_id": "not yet", "trained_users": None, "attributes": {"colour": "blue"}}
    assert ask(url, "GET", "/v1/model")[2]["columns"]["sizes"] == "List(String)"
