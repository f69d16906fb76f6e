"""Killed while events are posted: every acknowledged one is there, none twice; `benchmarks/kill.py` is the long form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("kill", ROOT / "benchmarks" / "kill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(saved: Path, where: str) -> None:
    found = _script().trial(saved, where, events=600, kills=2, threads=6)
    assert found["kills"] == 2
    assert found["acknowledged"] == found["kept"] == found["events"]
    assert found["lost"] == found["twice"] == 0
