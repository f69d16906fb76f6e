"""The audit of scores as chances: one curve, a curve for each group of places, and what the cure costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from oakum.audits.calibration import CalibrationAudit
from oakum.audits.scorecard import audit
from oakum.catalogue import entry
from oakum.data.simulate import Market, simulate
from oakum.splits import split


def test_it_names_its_cure_and_measures_the_price(tmp_path: Path) -> None:
    parts = split(simulate(Market(users=300, items=120, events=9000), seed=2), "holdout", seed=0)
    report = audit(parts, ["ease"], folder=tmp_path, workers=1, audits=[CalibrationAudit(k=10)], seed=4)
    found = next(f for f in report.findings if f.slug == "score-calibration")
    (cure,) = found.cures
    assert entry(cure.slug).kind == "defence"
    assert found.clean is not None
    assert cure.after is not None
    assert cure.price is not None
    assert cure.price.value == pytest.approx(0, abs=1e-12)  # the order stays
    assert 0 <= cure.after.value < 0.2
    assert f"{found.clean.value:.4f}" in found.sentence
    raw, one, many = (float(str(row["error"]).split()[0]) for row in found.evidence)
    assert many <= raw + 1e-9
    assert one <= raw + 0.02
    assert many == pytest.approx(cure.after.value, abs=1e-4)
