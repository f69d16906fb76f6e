"""The page and its figures: complete, self-contained, accessible, and the same each time."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

from oakum.errors import DataError
from oakum.report import palette, read, schema, write
from oakum.report.page import anchors, render
from tests.report.sample import sample

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and words of a page; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, single spaces."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every tag of a name."""
        return [a for t, a in self.tags if t == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return render(sample())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_write_gives_both_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    html, figures = write(sample(), tmp_path / "new" / "folder")
    assert sorted(p.name for p in html.parent.iterdir()) == ["report.html", "report.json"]
    assert json.loads(figures.read_text())["plank"] == "poisoning-drill bpr-mf"
    assert read(figures) == read(html.parent)
    assert read(figures).to_json() == sample().to_json()


def test_a_failed_write_leaves_the_old_report(tmp_path: Path) -> None:
    html, figures = write(sample(), tmp_path)
    before = html.read_bytes(), figures.read_bytes()
    with pytest.raises(TypeError):
        write(sample(settings={"mode": "quick", "odd": {1, 2}}), tmp_path)
    assert (html.read_bytes(), figures.read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 2


def test_the_page_is_the_same_each_time(html: str) -> None:
    assert render(sample()) == html


def test_reading_what_is_no_report_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such report"):
        read(tmp_path)
    (tmp_path / "report.json").write_text('{"schema_version": 1, "systems": 3}')
    with pytest.raises(DataError, match=r"not a report\.json"):
        read(tmp_path)
    (tmp_path / "report.json").write_text('{"schema_version": 99}')
    with pytest.raises(DataError, match="schema version 99"):
        read(tmp_path)


# --- what the page says ----------------------------------------------------------------------------------------------


def test_the_first_screen_says_what_matters(page: Page) -> None:
    first = page.text[: page.text.index("Accuracy of the systems")]
    for said in (
        "98,114 events of 2,914 people on 1,682 items",
        "2,914 people, on 9,812 events that no model had seen",
        "2024-06-11 00:00 UTC",
        "412 people have no event after the cut",
        "The weakest plank",
        "pca: It takes back 92\xa0% of what the attack won",
        "Accuracy on clean data changes by −2.9\xa0% [−3.5, −2.3].",
        "Of 10 planks, two are weak",
    ):
        assert re.sub(r"\s+", " ", said) in first, said
    for f in sample().findings:
        assert f.title in first


def test_every_accuracy_carries_an_interval(html: str) -> None:
    table = html[html.index('class="accuracy"') : html.index("</table>", html.index('class="accuracy"'))]
    values = re.findall(r'class="value">([^<]*)<', table)
    assert len(values) == 12
    assert len(re.findall(r"<small>\[[\d.]+, [\d.]+\]</small>", table)) == len(values)


def test_best_is_marked_only_where_it_holds(html: str) -> None:
    assert html.count(">best</span>") == 1
    without = render(sample(comparisons=sample().comparisons[1:]))
    assert ">best</span>" not in without
    assert "No system is marked as the best" in without


def test_an_empty_audit_is_a_page_too(tmp_path: Path) -> None:
    bare = sample(
        findings=[], plank="", lint=[], comparisons=[], systems=[], runs=[], data={}, protocol={}, versions={}
    )
    html, _ = write(bare, tmp_path)
    text = Page(html.read_text()).text
    assert "No weak plank" in text
    assert "Nothing was judged in this run." in text


def test_missing_numbers_are_dashes_not_nan(tmp_path: Path) -> None:
    from oakum.metrics.estimate import Estimate

    nan = float("nan")
    hole = dataclasses.replace(sample().findings[0], loss=nan, clean=Estimate(nan, nan, nan, 0), verdict="not measured")
    html, figures = write(sample(findings=[hole], plank=""), tmp_path)
    assert not re.search(r"\bnan\b", Page(html.read_text()).text, re.IGNORECASE)
    assert "NaN" not in figures.read_text()
    jsonschema.Draft202012Validator(schema()).validate(json.loads(figures.read_text()))


def test_every_metric_and_measure_is_in_the_glossary(page: Page) -> None:
    terms = page.text[page.text.rindex("Glossary") :]
    for term in (
        "NDCG@k",
        "Recall@k",
        "Hit rate@k",
        "T-HR@k",
        "Rank-biased overlap",
        "Churn@k",
        "Gini",
        "calibration error",
    ):
        assert term in terms


# --- self-contained and accessible -----------------------------------------------------------------------------------


def test_nothing_is_loaded_and_nothing_runs(page: Page, html: str) -> None:
    names = {t for t, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "img", "form", "base", "video", "audio"}
    for tag, attributes in page.tags:
        assert not [k for k in attributes if k.startswith("on")], tag
        assert "style" not in attributes, f"{tag} carries a style that the policy refuses"
        for key in ("href", "src", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/", "report.json")), attributes
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for a in page.all("a"):
        if a["href"].startswith("#"):
            assert a["href"][1:] in ids, a
    for _, a in page.tags:
        if "aria-labelledby" in a:
            assert a["aria-labelledby"] in ids


def test_headings_are_in_order(page: Page) -> None:
    levels = [int(t[1]) for t, _ in page.tags if re.fullmatch("h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_landmarks_and_skip_link(page: Page) -> None:
    names = [t for t, _ in page.tags]
    assert [names.count(t) for t in ("main", "header", "footer", "nav")] == [1, 1, 1, 1]
    first = page.all("a")[0]
    assert (first["class"], first["href"]) == ("skip", "#main")
    assert page.all("html")[0]["lang"] == "en"


def test_plots_have_words_and_a_table(page: Page) -> None:
    plots = [a for a in page.all("svg") if a.get("class") == "plot"]
    drawn = [p for f in sample().findings for p in f.plots]
    assert len(plots) >= len(drawn)
    for p in plots:
        assert p["role"] == "img"
        assert len(p["aria-label"]) > 10
    assert {p.alt for p in drawn} <= {p["aria-label"] for p in plots}
    assert page.text.count("The same as a table") == len(plots)
    # Drawings that are not spoken are hidden from screen readers.
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in page.all("svg"))


def test_tables_have_captions_and_scopes(page: Page, html: str) -> None:
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert "<caption" in table
    assert all("scope" in a for a in page.all("th"))
    for region in [a for a in page.all("div") if a.get("role") == "region"]:
        assert region["tabindex"] == "0"  # a table that scrolls can be scrolled with the keyboard
        assert region["aria-label"]


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card", "wash"])
def test_contrast_suffices(colours: dict[str, str], ground: str) -> None:
    for role in palette.TEXT:
        assert palette.contrast(colours[role], colours[ground]) >= 4.5, role
    for role in (*palette.SERIES, "edge"):
        assert palette.contrast(colours[role], colours[ground]) >= 3.0, role


def test_contrast_of_known_colours() -> None:
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert palette.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_anchors_hold_only_harmless_characters() -> None:
    f = sample().findings[0]
    odd = [dataclasses.replace(f, slug=s) for s in ('"><script>', "a b", "a b", "Ünïcode", "")]
    names = anchors(odd)
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", n) for n in names)
