"""Oakum: train recommenders on your own log, measure them honestly, attack them, mend them.

    import oakum
    data = oakum.read("log.csv")
    parts = oakum.split(data)
    model = oakum.fit("lightgcn", parts)
    print(oakum.evaluate(model, parts).metrics["ndcg@10"])
    report = oakum.audit(parts)

Names are imported when they are first used, so that importing Oakum costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "attack",
    "audit",
    "defend",
    "evaluate",
    "fit",
    "load",
    "read",
    "save",
    "split",
    "systems",
]

_HOME = {
    "attack": "oakum.attacks.drill",
    "audit": "oakum.audits.scorecard",
    "defend": "oakum.attacks.drill",
    "evaluate": "oakum.evaluation",
    "fit": "oakum.api",
    "load": "oakum.store",
    "read": "oakum.data.read",
    "save": "oakum.store",
    "split": "oakum.splits",
    "systems": "oakum.api",
}

if TYPE_CHECKING:
    from oakum.api import fit, systems
    from oakum.attacks.drill import attack, defend
    from oakum.audits.scorecard import audit
    from oakum.data.read import read
    from oakum.evaluation import evaluate
    from oakum.splits import split
    from oakum.store import load, save


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'oakum' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
