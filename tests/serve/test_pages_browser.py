"""The pages in a browser: a phone, a desk, the dark, the keyboard, a screen reader; pictures for the documentation."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oakum.client import Client
from oakum.data import Dataset
from oakum.serve.service import Service
from tests.browser import OVERFLOW, Browser, browser, painted
from tests.serve.live import ROOT, wait_for
from tests.serve.shop import shop

PAGES = ("home", "find", "person", "item", "try", "why", "live", "audit", "feedback", "statements")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def full(market: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Service]]:
    with shop(market, tmp_path_factory.mktemp("shop"), look=0.2) as (url, service):
        with Client(url) as client:
            client.forget_user(list(service.now[0].users)[2])
            for user in list(service.now[0].users)[:60]:
                client.recommend(user)
        yield url, service


@pytest.fixture(scope="module")
def places(full: tuple[str, Service]) -> dict[str, str]:
    url, service = full
    user, items = next(iter(service.now[0].users)), service.now[0].item_ids
    paths = {
        "home": "/", "find": "/find?q=drum", "person": f"/user?id={user}", "item": f"/item?id={items[3]}",
        "try": f"/try?h={items[3]}&h={items[13]}", "why": f"/why?item={items[7]}&user={user}", "live": "/live",
        "audit": "/audit", "feedback": "/feedback", "statements": "/statements",
    }  # fmt: skip
    return {name: url + path for name, path in paths.items()}


@pytest.mark.parametrize("name", PAGES)
def test_they_fit_load_only_ours_and_do_not_complain(opened: Browser, places: dict[str, str], name: str) -> None:
    home = places["home"]
    for width in (320, 768, 1280):
        opened.open(places[name], width=width)
        opened.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert opened.run("document.documentElement.scrollWidth") <= width
        assert opened.run(OVERFLOW) == []
        assert opened.complaints() == []
        asked = [r for r in opened.requests() if not r.startswith("data:")]
        assert asked[0] == places[name]
        assert all(r.startswith(home) for r in asked)
        assert len(asked) <= (3 if name == "live" else 2)


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_as_painted(opened: Browser, places: dict[str, str], dark: bool) -> None:
    from oakum.report.palette import contrast

    for name in PAGES:
        opened.open(places[name], dark=dark)
        found = painted(opened)
        assert len(found) > 10
        for ink, ground, text in found:
            assert contrast(ink, ground) >= 4.5, (name, text)


@pytest.mark.parametrize("name", PAGES)
def test_screen_readers_meet_landmarks_and_names(opened: Browser, places: dict[str, str], name: str) -> None:
    opened.open(places[name])
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n.get("ignored")]
    names = [r for r, _ in roles]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert names.count(landmark) == 1, landmark
    for role in ("image", "region", "article", "table", "link", "heading", "button", "searchbox", "checkbox", "list"):
        if role != "list":
            assert not [n for r, n in roles if r == role and not n], f"{role} without a name"
    links = [n for r, n in roles if r == "link"]
    assert "Why?" not in links  # each says what for
    assert len([n for r, n in roles if r == "heading"]) >= 1
    levels = opened.run("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_keyboard_goes_from_search_to_reason(opened: Browser, places: dict[str, str]) -> None:
    opened.open(places["home"])
    opened.key("Tab")
    assert opened.run("document.activeElement.className") == "skip"
    assert opened.run("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(20):
        opened.key("Tab")
        if opened.run("document.activeElement.id") == "q":
            break
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.write("u000000")
    opened.events.clear()
    opened.key("Enter")
    opened.loaded()
    assert opened.run("document.querySelector('h1').textContent") == "u000000"
    for _ in range(40):
        opened.key("Tab")
        if opened.run("document.activeElement.textContent").startswith("Why"):
            break
    opened.events.clear()
    opened.key("Enter")
    opened.loaded()
    assert "speaks for it most" in opened.run("document.querySelector('.line').textContent")


def test_a_history_grows_and_shrinks_by_clicks(opened: Browser, places: dict[str, str]) -> None:
    opened.open(places["home"] + "try")
    trail = "[...document.querySelectorAll('.trail .id')].map(e => e.textContent)"
    first = opened.run("document.querySelector('.list .id').textContent")
    opened.go("document.querySelector('.list .button').click()")
    assert opened.run(trail) == [first]
    second = opened.run("document.querySelector('.list .id').textContent")
    assert second != first
    opened.go("document.querySelector('.list .button').click()")
    assert opened.run(trail) == [first, second]
    opened.go("document.querySelector('.remove').click()")
    assert opened.run(trail) == [second]


def test_figures_stay_fresh_while_asked_to(opened: Browser, full: tuple[str, Service], places: dict[str, str]) -> None:
    url, service = full
    opened.open(places["live"])
    row = (
        "[...document.querySelectorAll('#speed ~ .scroll tr')].map(r => r.textContent).find(t => t.includes('similar'))"
    )
    assert opened.run(row) is None
    opened.run("document.getElementById('fresh').click()")
    Client(url).similar(service.now[0].item_ids[0])
    wait_for(lambda: opened.run(row) is not None)
    assert opened.complaints() == []


def test_a_batch_is_let_in_by_a_click(opened: Browser, full: tuple[str, Service], places: dict[str, str]) -> None:
    _, service = full
    opened.open(places["feedback"])
    opened.go("document.querySelector('.batch button').click()")
    assert "96 events of b0002 were let in" in opened.run("document.querySelector('[role=status]').textContent")
    assert service.state.counts()["held"] == 0
    assert opened.complaints() == []


def test_pictures_for_the_documentation(market: Dataset, opened: Browser, tmp_path: Path) -> None:
    """They are written into docs/images where OAKUM_PICTURES is set; fonts differ from machine to machine."""
    folder = ROOT / "docs" / "images" if os.environ.get("OAKUM_PICTURES") else tmp_path
    with shop(market, tmp_path / "s") as (url, service):
        user, items = next(iter(service.now[0].users)), service.now[0].item_ids
        with Client(url) as client:
            for one in list(service.now[0].users)[:100]:
                client.recommend(one)
        service.look()
        for name, path, width, height, dark in (
            ("serve-person", f"/user?id={user}", 1200, 900, False),
            ("serve-why", f"/why?item={items[7]}&user={user}", 1200, 800, True),
            ("serve-live", "/live", 1200, 1250, False),
            ("serve-feedback", "/feedback", 1200, 700, False),
            ("serve-phone", f"/try?h={items[3]}&h={items[13]}", 390, 844, True),
        ):
            opened.open(url + path, width=width, height=height, dark=dark)
            assert opened.picture(folder / f"{name}.png", full=False).stat().st_size > 10_000
