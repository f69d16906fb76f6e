"""The grid holds every cell, says the best defence of each system, and fits nothing that the drill fits already."""

from __future__ import annotations

from typing import Any

import pytest

from oakum.audits.scorecard import audit
from oakum.data.simulate import Market, simulate
from oakum.report import read, write

ATTACKS = ("random-profiles", "bandwagon-profiles")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = simulate(Market(users=120, items=80, events=3000), seed=0)
    folder = tmp_path_factory.mktemp("grid")
    made = audit(data, ["ials", "item-knn"], attacks=ATTACKS, defences=["pca"], folder=folder, workers=1)
    write(made, folder)
    return folder, made


def test_every_cell_is_there_with_its_interval(report: Any) -> None:
    _, made = report
    (grid,) = [f for f in made.findings if f.slug == "grid"]
    cells = {(r["system"], r["technique"], r["defence"]) for r in grid.evidence}
    assert cells == {(s, a, d) for s in ("ials", "item-knn") for a in ATTACKS for d in ("no defence", "pca")}
    assert all("[" in r["exposure after"] for r in grid.evidence)
    assert [p.kind for p in grid.plots] == ["heat", "heat"]
    assert all(len(s["y"]) == 2 for p in grid.plots for s in p.series)


def test_the_grid_and_the_drill_agree_on_what_they_share(report: Any) -> None:
    _, made = report
    (grid,) = [f for f in made.findings if f.slug == "grid"]
    for drill in (f for f in made.findings if f.slug == "poisoning-drill"):
        (worst,) = {r["exposure after"] for r in grid.evidence if r["system"] == drill.subject} & {
            f"{drill.attacked.value:.4f} [{drill.attacked.low:.4f}, {drill.attacked.high:.4f}]"
        }
        assert worst


def test_an_audit_started_again_reads_every_cell_and_gives_the_same_figures(report: Any) -> None:
    folder, made = report
    before = {p.name: p.stat().st_mtime_ns for p in (folder / ".fits").iterdir()}
    data = simulate(Market(users=120, items=80, events=3000), seed=0)
    again = audit(data, ["ials", "item-knn"], attacks=ATTACKS, defences=["pca"], folder=folder, workers=1)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / ".fits").iterdir()} == before
    strip = lambda r: [{**f.__dict__, "seconds": 0} for f in r.findings]
    assert strip(again) == strip(made)
    assert read(folder).findings[0].slug == made.findings[0].slug


def test_a_wrong_technique_or_defence_is_refused_with_the_nearest_name() -> None:
    from oakum.errors import ParameterError

    data = simulate(Market(users=60, items=40, events=800), seed=0)
    with pytest.raises(ParameterError, match="bandwagon-profiles"):
        audit(data, ["ials"], attacks=["bandwagon-profile"])
    with pytest.raises(ParameterError, match="not a defence"):
        audit(data, ["ials"], defences=["ials"])
