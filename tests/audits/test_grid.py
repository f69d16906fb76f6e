"""The grid holds every cell, says the best defence of each system, and fits nothing that the drill fits already."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
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
    assert [p.kind for p in grid.plots] == ["heat"] * 3  # the worst technique, then a map a defence
    assert all(len(s["y"]) == len(s["low"]) == 2 for p in grid.plots for s in p.series)


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


ALONE = """
import sys
from oakum.audits.scorecard import audit
from oakum.data.simulate import Market, simulate

if __name__ == "__main__":
    data = simulate(Market(users=120, items=80, events=3000), seed=0)
    audit(data, ["ials", "item-knn"], attacks=sys.argv[2:], defences=["pca"], folder=sys.argv[1], workers=2)
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_grid_that_was_stopped_at_any_cell_goes_on_there(report: Any, tmp_path: Path, how: str) -> None:
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    fits = tmp_path / "run" / ".fits"
    running = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run"), *ATTACKS],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while len(list(fits.glob("*.safetensors"))) < 5 and running.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert running.poll() is None, "it ended before it could be stopped"
    running.send_signal(getattr(signal, how))
    running.wait(60)
    end = time.monotonic() + 30  # the workers do not outlive it
    while (left := _members(running.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left
    before = {p.name: p.stat().st_mtime_ns for p in fits.glob("*.safetensors")}
    assert 5 <= len(before) < len(list((report[0] / ".fits").glob("*.safetensors")))
    data = simulate(Market(users=120, items=80, events=3000), seed=0)
    again = audit(data, ["ials", "item-knn"], attacks=ATTACKS, defences=["pca"], folder=tmp_path / "run", workers=4)
    assert {n: (fits / n).stat().st_mtime_ns for n in before} == before  # nothing is fitted twice
    strip = lambda r: [{**f.__dict__, "seconds": 0} for f in r.findings]
    assert strip(again) == strip(report[1])


def _members(session: int) -> list[int]:
    """Processes that are left of a session and still run (Linux; elsewhere none are seen)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parts[3]) == session and parts[0] != "Z":
            found.append(int(stat.parent.name))
    return found
