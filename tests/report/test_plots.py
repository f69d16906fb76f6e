"""Plots: words stay words, no styles, no ids that clash, and the same figures as a table."""

from __future__ import annotations

import re
from typing import Any, Literal
from xml.etree import ElementTree

import pytest

from oakum.audits.record import Plot
from oakum.report.plots import PAINT, draw, intervals, table_of
from tests.report.sample import about

SERIES = [
    {
        "name": "one",
        "x": [1, 2, 4],
        "y": [0.1, 0.2, None],
        "low": [0.05, None, None],
        "high": [0.2, None, None],
    },
    {"name": "two", "x": [1, 2, 4], "y": [0.3, float("nan"), 0.5]},
]


def plot(kind: Literal["bars", "lines", "heat", "points"], **more: Any) -> Plot:
    values: dict[str, Any] = {
        "title": "T",
        "alt": "what it shows",
        "x_label": "across",
        "y_label": "up",
        "series": SERIES,
    }
    return Plot(kind=kind, **{**values, **more})


@pytest.mark.parametrize("kind", ["bars", "lines", "heat", "points"])
def test_a_plot_is_words_and_classes(kind: Literal["bars", "lines", "heat", "points"]) -> None:
    svg = draw(plot(kind), "p1")
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "what it shows"
    assert "style" not in svg
    assert not any(colour in svg for colour in PAINT.values()), "a marker colour was left"
    assert 'class="' in svg
    texts = {(e.text or "").strip() for e in root.iter("{http://www.w3.org/2000/svg}text")}
    assert "up" in texts  # letters, not outlines
    if kind != "bars":
        assert "across" in texts
    assert all(i.startswith("p1-") for i in re.findall(r' id="([^"]+)"', svg))
    assert all(i.startswith("p1-") for i in re.findall(r"url\(#([^)]+)\)", svg))
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(re.findall(r' id="([^"]+)"', svg))


def test_a_map_names_its_points() -> None:
    series = [{"name": "one", "x": [1.0, 2.0], "y": [0.5, 0.1], "names": ["T1", "T2"], "labels": ["", "T2"]}]
    found = plot("points", series=series)
    texts = {
        (e.text or "").strip()
        for e in ElementTree.fromstring(draw(found, "p")).iter("{http://www.w3.org/2000/svg}text")
    }
    assert "T2" in texts
    assert "T1" not in texts
    head, rows = table_of(found)
    assert [r[:2] for r in rows] == [["T1", "one"], ["T2", "one"]]
    assert len(head) == len(rows[0])


def test_names_are_not_formulas_nor_markup() -> None:
    odd = [{"name": "$\\frac{1}{0}$ <b>", "x": ["$x_1$", "<i>&"], "y": [1.0, 2.0]}]
    svg = draw(plot("bars", series=odd), "p")
    texts = [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert any("$x_1$" in t for t in texts)
    assert any("<i>&" in t for t in texts)


def test_scripts_of_other_people_are_drawn_without_a_warning() -> None:
    draw(plot("bars", series=[{"name": "商品", "x": ["日本語", "עברית"], "y": [1.0, 2.0]}]), "p")


@pytest.mark.parametrize("kind", ["bars", "lines", "heat"])
def test_an_empty_plot_is_still_a_plot(kind: Literal["bars", "lines", "heat"]) -> None:
    assert "<svg" in draw(plot(kind, series=[]), "p")
    assert table_of(plot(kind, series=[]))[1] == []


def test_log_axes_take_what_is_positive() -> None:
    svg = draw(plot("lines", log_x=True), "p")
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"1", "2"} <= set(words)
    assert not any("$" in word or "\\" in word for word in words)


def test_the_table_holds_the_figures_of_the_plot() -> None:
    head, rows = table_of(plot("lines"))
    assert head == ["series", "across", "up", "low", "high"]
    assert rows[0] == ["one", "1", "0.1", "0.05", "0.2"]
    assert rows[2] == ["one", "4", "–", "–", "–"]
    assert len(rows) == 6
    head, rows = table_of(plot("heat"))
    assert head == ["", "1", "2", "4"]
    assert rows[1] == ["two", "0.3", "n/a", "0.5"]


def test_intervals_are_drawn_in_their_order() -> None:
    svg = intervals(
        [("clean", about(0.1, 0.01)), ("under attack", about(0.4, 0.02)), ("with vat", about(0.15, 0.02))],
        "L",
        "p",
    )
    root = ElementTree.fromstring(svg)
    found = [(e.text or "").strip() for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [t for t in found if t in ("clean", "under attack", "with vat")] == [
        "clean",
        "under attack",
        "with vat",
    ]
