"""The pages as a program sees them: who may open them, forms that only we can post, nothing that a text can break."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from oakum.data import Dataset
from oakum.serve.service import Service
from oakum.serve.web import session as sessions
from oakum.serve.web.signing import _local
from oakum.state.keys import new_key, revoke
from tests.serve.live import living, wait_for
from tests.serve.shop import shop

Live = tuple[str, Service]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Visitor:
    """A browser without a screen: keeps cookies, follows nothing."""

    def __init__(self, url: str) -> None:
        self.where, self.cookies = urlsplit(url), {}  # type: ignore[var-annotated]
        self.headers: Any = {}

    def ask(self, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str]:
        """Status and text."""
        line = http.client.HTTPConnection(str(self.where.hostname), self.where.port, timeout=10)
        given = {**headers, "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        body = None if form is None else urlencode(form)
        line.request("GET" if form is None else "POST", path, body, {**given, **(FORM if form is not None else {})})
        answer = line.getresponse()
        text = answer.read().decode()
        self.headers = answer.headers
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        line.close()
        return answer.status, text

    def token(self, path: str) -> str:
        """The token of a page's forms."""
        return re.search(r'name="token" value="([0-9a-f]{64})"', self.ask(path)[1])[1]  # type: ignore[index]

    def sign_in(self, key: str, target: str = "/") -> int:
        """Sign in as a person does."""
        return self.ask("/sign-in", {"token": self.token("/sign-in"), "key": key, "next": target})[0]


@pytest.fixture(scope="module")
def full(market: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with shop(market, tmp_path_factory.mktemp("shop")) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service, dict[str, str]]]:
    with living(saved, tmp_path_factory.mktemp("state"), keys=True) as (url, service):
        yield url, service, {role: new_key(service.state, role, role) for role in ("read", "write", "admin")}


def test_every_page_says_what_it_should(full: Live) -> None:
    url, service = full
    you, names = Visitor(url), list(service.now[0].items)
    user = next(iter(service.now[0].users))
    said = {
        "/": "What do people get",
        "/find?q=amber+drum": "",
        "/find?q=drum": "Bright drum",
        "/find?q=nothing+is+called+so": "Nothing is called so",
        f"/user?id={user}": "trained on",
        "/user?id=somebody": "Unknown user",
        f"/item?id={names[3]}": "Amber drum",
        "/try": "Empty so far",
        f"/try?h={names[3]}&h={names[9]}&q=flag": "The list for it",
        f"/why?item={names[7]}&user={user}": "speaks for it most",
        f"/why?item={names[7]}&h={names[3]}": "Why Amber harbour?",
        "/live": "The candidate is better",
        "/audit": "The whole report",
        "/audit/report.html": "The weakest plank",
        "/feedback": "12 accounts are held",
        "/statements": "Nobody was deleted",
    }
    for path, words in said.items():
        status, text = you.ask(path)
        assert status == (303 if path == "/find?q=amber+drum" else 200), path
        assert words in unescape(text), path
    assert you.ask("/find?q=amber+drum")[0] == 303
    assert you.headers["location"] == f"/item?id={names[3]}"
    for path, status in (
        ("/item?id=nope", 404),
        ("/why?item=nope&user=a", 404),
        ("/user?id=" + "a" * 300, 422),
        ("/user", 422),
    ):
        found = you.ask(path)
        assert found[0] == status, path
        assert "<h1>" in found[1]
    assert you.ask("/nowhere")[0] == 404


def test_lists_are_those_of_the_interface(full: Live) -> None:
    from oakum.client import Client

    url, service = full
    for user in list(service.now[0].users)[2:12]:
        found = Client(url).recommend(user, k=12)
        text = Visitor(url).ask(f"/user?id={user}")[1]
        assert re.findall(r'href="/item\?id=([^"]+)"', text)[:12] == [i.item_id for i in found]
        assert found.model in text


def test_policies_forbid_everything_that_is_not_ours(full: Live) -> None:
    you = Visitor(full[0])
    text = you.ask("/")[1]
    policy = you.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"):  # fmt: skip
        assert part in policy
    assert len(you.headers.get_all("content-security-policy")) == 1
    assert "<script" not in text
    assert " style=" not in text
    assert "no-store" in you.headers["cache-control"]
    asset = re.search(r'href="(/web/style-[0-9a-f]+\.css)"', text)[1]  # type: ignore[index]
    assert you.ask(asset)[0] == 200
    assert "immutable" in you.headers["cache-control"]
    assert you.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    you.ask("/audit/report.html")
    assert "script-src" not in you.headers["content-security-policy"]
    assert "sha256-" in you.headers["content-security-policy"]
    you.ask("/v1/model")
    assert you.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", '"><img src=x>', "{{ 7*7 }}", "'; DROP TABLE events; --", "‮abc"]
)
def test_texts_stay_texts(full: Live, text: str) -> None:
    for path in (
        f"/find?q={quote(text)}",
        f"/user?id={quote(text)}",
        f"/try?q={quote(text)}&h={quote(text)}",
        f"/statements?user={quote(text)}",
    ):
        status, found = Visitor(full[0]).ask(path)
        assert status in (200, 422)
        assert "<script>alert" not in found
        assert "<img" not in found
        assert ("7*7" in found) is ("7*7" in text and status == 200)


def test_feedback_is_moved_by_our_own_forms_alone(market: Dataset, tmp_path: Path) -> None:
    with shop(market, tmp_path) as (url, service):
        you = Visitor(url)
        token = you.token("/feedback")
        for form, origin in (({}, None), ({"token": "0" * 64}, None), ({"token": token}, "http://evil.example"), ({"token": token}, "null")):  # fmt: skip
            headers = {} if origin is None else {"Origin": origin}
            assert you.ask("/feedback/b0002/release", form, **headers)[0] in (400, 403)
        assert Visitor(url).ask("/feedback/b0002/release", {"token": token})[0] == 403  # of another browser
        assert Visitor(url).ask("/v1/batches/b0002/release", {}, Origin="http://evil.example")[0] == 400
        assert service.state.counts()["held"] == 96
        assert you.ask("/feedback/b0002/release", {"token": token}, Origin=url)[0] == 303
        assert "96 events of b0002 were let in" in you.ask(you.headers["location"])[1]
        assert service.state.counts()["held"] == 0
        assert you.ask("/feedback/b0002/take-back", {"token": token})[0] == 303
        assert service.state.counts()["taken back"] == 96
        assert you.ask("/feedback/b0002/release", {"token": token})[0] == 422  # in words, as a page
        assert you.ask("/feedback/b0009/release", {"token": token})[0] == 422
        assert you.ask("/feedback/b0002/release", {f"f{n}": "" for n in range(60)})[0] == 422
        assert you.ask("/feedback", {"token": token})[0] == 405


def test_keys_and_roles_hold_for_pages(guarded: tuple[str, Service, dict[str, str]]) -> None:
    url, service, keys = guarded
    nobody = Visitor(url)
    for path in ("/", "/user?id=a", "/live", "/feedback", "/statements", "/audit"):
        assert nobody.ask(path)[0] == 303, path
        assert nobody.headers["location"] == f"/sign-in?next={quote(path, safe='')}"
    assert nobody.ask("/sign-in")[0] == 200
    assert "Feedback" not in nobody.ask("/sign-in")[1]
    assert nobody.sign_in("oakum_00000000_" + "0" * 64) == 401
    assert nobody.ask("/")[0] == 303
    user = next(iter(service.now[0].users))
    for role, sees in (("read", (200, 403, False)), ("write", (200, 403, True)), ("admin", (200, 200, True))):
        you = Visitor(url)
        assert you.sign_in(keys[role], "/live") == 303
        assert you.headers["location"] == "/live"
        cookie = next(c for c in you.headers.get_all("set-cookie") if c.startswith("oakum_session"))
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert keys[role][15:] not in cookie
        assert (you.ask("/live")[0], you.ask("/feedback")[0]) == sees[:2]
        assert ("The past" in you.ask(f"/user?id={user}")[1]) is sees[2]
        # People are listed for those who may read them; a whole id finds its person for anybody.
        assert ("People" in you.ask(f"/find?q={user[:4]}")[1]) is sees[2]
        assert you.ask(f"/find?q={user}")[0] == 303
        assert you.ask("/sign-out", {"token": you.token("/")})[0] == 303
        assert you.ask("/live")[0] == 303


def test_a_session_ends_with_its_time_its_key_and_any_change(
    guarded: tuple[str, Service, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, service, keys = guarded
    you = Visitor(url)
    you.sign_in(keys["read"])
    good = you.cookies["oakum_session"]
    id, ends, signature = good.split(".")
    other = keys["admin"].split("_")[1]
    for bad in (f"{other}.{ends}.{signature}", f"{id}.{int(ends) + 1}.{signature}", f"{id}.{ends}.{'0' * 64}", "", ".", "é.x.y", good[:-1]):  # fmt: skip
        you.cookies["oakum_session"] = bad.encode().decode("latin-1")
        assert you.ask("/")[0] == 303, bad
    you.cookies["oakum_session"] = good
    assert you.ask("/")[0] == 200
    with monkeypatch.context() as later:
        clock = sessions.time.time
        later.setattr(sessions.time, "time", lambda: clock() + sessions.LASTS + 5)
        assert you.ask("/")[0] == 303
    spare = new_key(service.state, "spare", "admin")
    you.sign_in(spare)
    assert you.ask("/feedback")[0] == 200
    revoke(service.state, "spare")
    wait_for(lambda: you.ask("/feedback")[0] == 303)


def test_signing_in_leads_to_our_own_addresses_only() -> None:
    assert _local("/user?id=a%2Fb") == "/user?id=a%2Fb"
    for bad in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/a\nb", ""):
        assert _local(bad) == "/"


def test_forgetting_can_be_read_afterwards(market: Dataset, tmp_path: Path) -> None:
    from oakum.client import Client
    from oakum.serve.forgetting import leave
    from oakum.state import open_state

    with shop(market, tmp_path) as (url, service):
        user, gone = list(service.now[0].users)[4], list(service.now[0].users)[5]
        with Client(url) as client:
            client.forget_user(gone)
            old = service.now[0].id
            state = open_state(tmp_path / "state")
            said = leave(tmp_path / "shop", [user, "guest1"], state, test=False)
            state.close()
            wait_for(lambda: service.now[0].id != old)
            assert user not in service.now[0].users
            found = client._call("GET", f"/v1/statements?user_id={user}")["statements"]
            assert [s["statement"] for s in found] == [said.statement]
            assert found[0]["record"]["stored"] == said.stored
            assert len(client._call("GET", "/v1/statements")["statements"]) == 2
            assert client._call("GET", "/v1/statements?user_id=somebody")["statements"] == []
            assert "removed" in client._call("GET", f"/v1/statements?user_id={gone}")["statements"][0]["record"]
        text = Visitor(url).ask(f"/statements?user={user}")[1]
        assert "Statement of deletion" in text
        assert user not in text.replace(f'value="{user}"', "")
        wait_for(lambda: "This person was deleted" in Visitor(url).ask(f"/user?id={user}")[1])
