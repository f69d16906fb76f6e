"""The page of speed says where Oakum loses, and its picture is a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import speed

    return speed


def row(title: str, ours: float, theirs: float | None, best: bool = True) -> dict[str, Any]:
    return {
        "task": title, "title": title, "unit": "CPU s", "data": "synthetic", "ours_s": ours, "peer": "x 1", "form": "flat scan",
        "peer_s": theirs, "ratio": None if theirs is None else ours / theirs, "quality": "NDCG@10", "ours_quality": 0.5,
        "peer_quality": 0.4, "of_limit": 0.25, "ours_rss_mb": 1234, "peer_rss_mb": 99, "best": best, "load": 0.5, "note": "why",
        "date": "2026-01-01",
        "machine": {"flop": 80.0, "bytes": 15.0, "rows": 0.011, "rows_cached": 0.05, "rows_near": 0.09, "sums": 0.9},
    }  # fmt: skip


def test_losses_and_what_was_not_measured_are_named(speed: Any) -> None:
    table = lambda head, rows: "\n".join("|".join(map(str, r)) for r in [head, *rows])
    rows = [row("quick one", 1.0, 4.0), row("slow one", 3.0, 2.0), row("quick one", 1.0, None, best=False)]
    text = speed.page(rows, table)
    assert "Of 2 tasks Oakum is the quickest in 1. It is not in: slow one." in text
    assert "quick one (synthetic data)|1 s|x 1 flat scan|4 s|0.25|NDCG@10 0.5000, 0.4000|1,234, 99|25 %" in text
    assert "**1.50**" in text
    assert "not measured" in text


def test_the_picture_has_a_bar_a_task_on_its_side_of_one(speed: Any) -> None:
    names = ["a < b & c", "slow one", "very quick one"]
    ratios = [0.5, 2.0, 0.001]
    drawn = ElementTree.fromstring(speed.picture([row(n, r, 1.0) for n, r in zip(names, ratios, strict=True)]))
    bars = [e for e in drawn.iter("{http://www.w3.org/2000/svg}rect") if e.get("fill") in (speed.FASTER, speed.SLOWER)]
    assert [b.get("fill") for b in bars] == [speed.FASTER, speed.SLOWER, speed.FASTER]
    start = [float(b.attrib["x"]) for b in bars]
    end = [s + float(b.attrib["width"]) for s, b in zip(start, bars, strict=True)]
    assert end[0] == pytest.approx(start[1], abs=0.2)
    assert end[2] == pytest.approx(start[1], abs=0.2)
    assert start[2] < start[0] < end[1] <= float(drawn.attrib["viewBox"].split()[2])
    assert any("a < b & c" in (t.text or "") for t in drawn.iter())
