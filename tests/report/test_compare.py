"""Two audits side by side."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from oakum.audits.record import Finding
from oakum.report.compare import compare, difference, page, write
from tests.report.sample import about, sample


def changed(index: int, **changes: Any) -> list[Finding]:
    findings = list(sample().findings)
    findings[index] = dataclasses.replace(findings[index], **changes)
    return findings


def test_a_run_against_itself_shows_nothing() -> None:
    found = compare(sample(), sample())
    assert {r["says"] for r in found["accuracy"]} == {"not told apart"}
    assert {r["change"] for r in found["findings"]} == {"same"}
    assert found["settings"] == []
    assert "not paired" in found["notes"][0]
    assert found["summary"].startswith("No planks got worse, none got better, none are new and none are gone")


def test_better_worse_new_gone_and_settings() -> None:
    old = sample()
    findings = changed(0, loss=0.1, verdict="fine", attacked=about(0.02, 0.004))
    findings[2] = dataclasses.replace(findings[2], loss=0.9, verdict="weak", clean=about(0.8, 0.01))
    dropped, findings = findings[-1], [*findings[:-1], dataclasses.replace(findings[-1], subject="newcomer")]
    new = sample(
        findings=findings,
        settings={**old.settings, "mode": "full"},
        versions={**old.versions, "numpy": "2.4.0"},
    )
    found = compare(old, new)
    change = {(r["slug"], r["subject"]): r["change"] for r in found["findings"]}
    assert change[old.findings[0].slug, old.findings[0].subject] == "better"
    assert change[old.findings[2].slug, old.findings[2].subject] == "worse"
    assert change[dropped.slug, dropped.subject] == "gone"
    assert change[dropped.slug, "newcomer"] == "new"
    assert [s[0] for s in found["settings"]] == ["settings.mode", "versions.numpy"]
    assert found["findings"][0]["change"] == "worse"  # bad news first


def test_a_change_within_the_intervals_is_no_change() -> None:
    old = sample()
    near = changed(0, loss=0.66, attacked=about(0.121, 0.0061))
    assert {r["change"] for r in compare(old, sample(findings=near))["findings"]} == {"same"}


def test_another_log_is_said() -> None:
    other = sample(data={**sample().data, "digest": "other"})
    assert any("logs differ" in n for n in compare(sample(), other)["notes"])


def test_differences_of_independent_samples_cover() -> None:
    # 95 % intervals of two separate means: the made interval holds the true difference about as often.
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(1000):
        means = rng.normal([1.0, 1.3], [0.1, 0.2])
        a, b = about(means[0], 1.96 * 0.1), about(means[1], 1.96 * 0.2)
        gap = difference(a, b)
        hits += gap.low <= 0.3 <= gap.high
    assert 930 <= hits <= 970


def test_the_comparison_is_plain_json_and_a_page(tmp_path: Path) -> None:
    html, figures = write(sample(), sample(plank=""), tmp_path)
    assert json.loads(figures.read_text())["b"]["plank"] == ""
    assert "Two audits compared" in html.read_text()
    assert "<script" not in page(compare(sample(), sample()))


def test_heat_maps_are_compared_cell_by_cell() -> None:
    from oakum.audits.record import Plot

    def run(value: float, apply: bool = True) -> Any:
        series = [{"name": "ease", "x": ["random", "segment"], "y": [value, 5.0 if apply else None]}]
        series[0] |= {"low": [value - 0.5, 4.0 if apply else None], "high": [value + 0.5, 6.0 if apply else None]}
        title = "Exposure with pca in front, %" + ("" if apply else " (n/a: does not apply to x)")
        finding = dataclasses.replace(
            sample().findings[0], plots=[Plot(kind="heat", title=title, alt="", series=series)]
        )
        return sample(findings=[finding])

    found = compare(run(1.0), run(3.0))
    assert [(c["column"], c["says"]) for c in found["cells"]] == [("random", "higher"), ("segment", "not told apart")]
    assert "Of 2 cells" in found["summary"]
    assert [c["column"] for c in compare(run(1.0), run(1.0, apply=False))["cells"]] == ["random"]
    assert "Heat maps, cell by cell" in page(found)
