"""The report in a browser: a phone, a desk, the dark, paper and the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oakum.report import compare, write
from tests.browser import OVERFLOW, Browser, browser, painted
from tests.report.sample import sample


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("report")
    second = sample(settings={**sample().settings, "mode": "full"})
    return {"report": write(sample(), folder)[0], "comparison": compare.write(sample(), second, folder)[0]}


@pytest.mark.parametrize("name", ["report", "comparison"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_it_fits_loads_nothing_and_does_not_complain(
    opened: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    opened.open(pages[name], width=width)
    assert opened.run("innerWidth") == width
    assert opened.run("document.documentElement.scrollWidth") <= width
    # All folded parts open: still nothing sticks out.
    opened.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.run("document.documentElement.scrollWidth") <= width
    assert opened.run(OVERFLOW) == []
    assert opened.requests() == [pages[name].resolve().as_uri()]
    assert opened.complaints() == []


def test_a_complaint_would_be_seen(opened: Browser, tmp_path: Path) -> None:
    """The checks above can fail: a page that logs, loads and overflows is caught."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><script>console.error('x')</script><img src='other.png'><div style='width:3000px'>x</div>"
    )
    opened.open(bad, width=360)
    assert opened.complaints()
    assert len(opened.requests()) == 2
    assert opened.run(OVERFLOW)


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_as_painted(opened: Browser, pages: dict[str, Path], dark: bool) -> None:
    """The contrast of each text with the ground it stands on, as the browser computes both."""
    from oakum.report.palette import contrast

    opened.open(pages["report"], dark=dark)
    found = painted(opened)
    assert len(found) > 200
    for ink, ground, text in found:
        assert contrast(ink, ground) >= 4.5, text
    assert contrast(found[0][1], "#000000" if dark else "#ffffff") < 2.5  # the scheme did change


def test_the_keyboard_reaches_the_skip_link_first(opened: Browser, pages: dict[str, Path]) -> None:
    opened.open(pages["report"])
    opened.key("Tab")
    assert opened.run("document.activeElement.className") == "skip"
    assert opened.run("document.activeElement.getBoundingClientRect().left") >= 0  # it can be seen
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.key("Enter")
    assert opened.run("location.hash") == "#main"


def test_screen_readers_meet_landmarks_pictures_and_named_regions(opened: Browser, pages: dict[str, Path]) -> None:
    opened.open(pages["report"])
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n.get("ignored")]
    names = [r for r, _ in roles]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert names.count(landmark) == 1, landmark
    for role in ("image", "region", "article", "table", "link", "heading"):
        unnamed = [n for r, n in roles if r == role and not n]
        assert not unnamed, f"{role} without a name"
    pictures = [n for r, n in roles if r == "image"]
    assert any("under attack" in n for n in pictures)


def test_it_prints(opened: Browser, pages: dict[str, Path]) -> None:
    import base64

    opened.open(pages["report"])
    pdf = base64.b64decode(opened.call("Page.printToPDF", preferCSSPageSize=False)["data"])
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") >= 3
    # On paper the folded parts are open.
    opened.call("Emulation.setEmulatedMedia", media="print")
    hidden = opened.run(
        """[...document.querySelectorAll('details:not([open]) table')]
          .filter(t => t.getBoundingClientRect().height == 0).length"""
    )
    opened.call("Emulation.setEmulatedMedia", media="screen")
    assert hidden == 0
