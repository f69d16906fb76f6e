"""Examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_it_runs_and_says_something(path: Path) -> None:
    found = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "NDCG@10" in found.stdout
