"""What ran: on which data, with which seed and version, how it went. Reports read records, never runs."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any


@dataclass(kw_only=True)
class Record:
    """One fit. data: the digest of its log (`Fitted` puts it there). history: a dictionary an epoch (phase, epoch, losses,
    validation). seconds: wall time."""

    system: dict[str, Any]
    plan: dict[str, Any] = field(default_factory=dict)
    plugins: list[dict[str, Any]] = field(default_factory=list)
    data: str = ""
    data_name: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=lambda: versions())
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = "done"
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Record:
        """The inverse of `to_json`."""
        return cls(**value)


def versions() -> dict[str, str]:
    """Oakum, Python and the libraries that numbers depend on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    out = {"python": platform.python_version()}
    for name in ("oakum", "numpy", "scipy", "numba", "polars", "torch"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out
