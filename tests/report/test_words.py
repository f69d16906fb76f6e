"""The words of the report: what is said about numbers, cures and leaders, and when it is not said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oakum.metrics.estimate import Estimate
from oakum.report import words
from tests.report.sample import about, sample


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (-0.0204, 3, False, "−0.020"),
        (-0.0001, 2, True, "0.00"),
        (1234.5, 1, False, "1,234.5"),
        (0.5, 1, True, "+0.5"),
        (float("nan"), 2, False, "–"),
        (None, 2, False, "–"),
    ],
)
def test_number(value: float | None, digits: int, sign: bool, text: str) -> None:
    assert words.number(value, digits, sign=sign) == text


@given(st.floats(-1e3, 1e3), st.floats(1e-4, 10))
def test_an_interval_never_loses_its_bounds(value: float, half: float) -> None:
    text = words.interval(Estimate(value, value - half, value + half, 10))
    low, high = (float(t.replace("−", "-").replace(",", "")) for t in text.split("[")[1].rstrip("]").split(", "))
    assert high > low  # enough digits that the two ends differ
    assert math.isclose(high - low, 2 * half, rel_tol=0.2)


def test_a_number_without_an_interval_says_so() -> None:
    assert words.interval(Estimate(0.5, math.nan, math.nan, 1)) == "0.5000 (no interval)"


@given(st.text())
def test_clean_text_shows_everything(text: str) -> None:
    assert all(c == "\n" or c.isprintable() or c.isspace() for c in words.clean(text))
    assert not any(c in words.clean(text) for c in "\x1b\x07\u202e\u2066\u200b\ud800")


def test_the_first_sentence_ends_where_it_ends() -> None:
    text = "A: 38 fake accounts (1.3 % of 2,914) reach 5 % of people. 87 accounts more. And so on."
    assert words.first_sentence(text) == "A: 38 fake accounts (1.3 % of 2,914) reach 5 % of people."


def test_verdict_line_counts_every_finding() -> None:
    line = words.verdict_line(sample())
    assert line == "Of 10 planks, two are weak, three deserve a look, four are fine and one was not measured."
    assert words.verdict_line(sample(findings=[])) == "Nothing was judged in this run."
    assert "none are weak" in words.verdict_line(sample(findings=sample().findings[-2:]))


def test_the_best_cure_is_the_one_that_took_back_most_beyond_the_intervals() -> None:
    report = sample()
    plank = words.plank_of(report)
    assert plank is not None
    assert plank.subject == "bpr-mf"
    best = words.best_cure(plank)
    assert best is not None
    assert best.slug == "pca"
    _, price = words.cure_words(plank)
    assert price == "Accuracy on clean data changes by −2.9 % [−3.5, −2.3]."


def test_a_cure_within_the_interval_is_no_cure() -> None:
    import dataclasses

    plank = words.plank_of(sample())
    assert plank is not None
    assert plank.attacked is not None
    useless = [dataclasses.replace(c, after=plank.attacked) for c in plank.cures]
    changed = dataclasses.replace(plank, cures=useless, advice="Watch new accounts.")
    assert words.best_cure(changed) is None
    assert words.cure_words(changed)[0] == "Watch new accounts."
    assert words.cure_words(changed)[1].startswith("None of the cures")


def test_a_cure_is_read_in_the_direction_of_the_harm() -> None:
    import dataclasses

    plank = words.plank_of(sample())
    assert plank is not None
    # A measure that falls under attack: back means up.
    falls = dataclasses.replace(
        plank,
        clean=about(0.9, 0.01),
        attacked=about(0.5, 0.01),
        cures=[
            dataclasses.replace(plank.cures[0], after=about(0.3, 0.01)),
            dataclasses.replace(plank.cures[1], after=about(0.8, 0.01)),
        ],
    )
    best = words.best_cure(falls)
    assert best is not None
    assert best.slug == "apr"


def test_a_leader_must_beat_every_other_system() -> None:
    report = sample()
    assert words.leader_of(report, "ndcg@10") == "ease"
    assert words.leader_of(report, "recall@20") is None  # never compared
    assert words.leader_of(sample(comparisons=report.comparisons[1:]), "ndcg@10") is None
    doubtful = [{**report.comparisons[0], "p_corrected": 0.2}, *report.comparisons[1:]]
    assert words.leader_of(sample(comparisons=doubtful), "ndcg@10") is None
    turned = [
        {**c, "a": c["b"], "b": c["a"], "difference": about(-0.02, 0.003).to_json()} for c in report.comparisons[:3]
    ]
    assert words.leader_of(sample(comparisons=turned), "ndcg@10") == "ease"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (12345, "12,345"),
        (0.00001, "1e-05"),
        ({"a": 1}, "a: 1"),
        ([1, "b"], "1, b"),
        ("", "–"),
        (None, "–"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert words.cell(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.24, "0.2 s"), (41.3, "41 s"), (185, "3 min 5 s"), (4320, "1 h 12 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_moments() -> None:
    assert words.moment(1_718_064_000_000_000) == "2024-06-11 00:00 UTC"
    assert words.moment(10**20).endswith(" s")  # a count that is no date is not forced into one
