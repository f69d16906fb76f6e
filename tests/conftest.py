"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Beside other workers of one run a test gets one core; children inherit it. Spinning threads would cost many times the work.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _pool, _threads in {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}.items():
        os.environ.setdefault(_pool, _threads)

# A run in the background of a shell is started deaf to interrupts; what is tested here is how they are heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _data_dir() -> Path | None:
    named = os.environ.get("OAKUM_DATA")
    places = [Path(named)] if named else [Path(__file__).resolve().parents[2] / "shared" / "data"]
    return next((p for p in places if (p / "README.md").exists()), None)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets, or a skip that says how to name one."""
    found = _data_dir()
    if found is None:
        pytest.skip("no real data here: set OAKUM_DATA to a folder of data sets to run this test")
    return found
