"""`oakum doctor`."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from oakum.cli.common import show


def run(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Versions, threads, devices, extras and limits."""
    from oakum.engine.record import versions

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"versions": versions(), "cores": cores}
    found["extras"] = {
        name: find_spec(module) is not None
        for name, module in (
            ("torch", "torch"),
            ("sql", "connectorx"),
            ("frames", "pandas"),
            ("tune", "optuna"),
        )
    }
    if found["extras"]["torch"]:
        import torch

        found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gib"] = round(pages / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        found["memory_gib"] = "unknown"
    found["free_disk_gib"] = round(shutil.disk_usage(".").free / 2**30, 1)
    advice = [f"'{n}' is not installed: pip install 'oakum[{n}]'" for n, there in found["extras"].items() if not there]
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        advice.append("On a busy machine set OMP_WAIT_POLICY=PASSIVE: spinning threads cost many times the work.")
    found["advice"] = advice
    show(found, as_json, [f"{k}: {v}" for k, v in found.items() if k != "advice"] + advice)
