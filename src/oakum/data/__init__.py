"""Logs as immutable columns: reading, checking, describing, simulating."""

from __future__ import annotations

from typing import Any

from oakum.data.dataset import Dataset, Relation, Schema
from oakum.data.interactions import Interactions
from oakum.data.queries import Filter, Queries, Ranking
from oakum.data.ragged import Ids, Ragged
from oakum.data.vocabulary import Vocabulary

_LATER = {
    "check": "validate",
    "convert": "convert",
    "describe": "describe",
    "fetch": "fetch",
    "read": "read",
    "read_parts": "read",
    "read_split": "read",
    "read_sql": "read",
}

__all__ = [
    "Dataset",
    "Filter",
    "Ids",
    "Interactions",
    "Queries",
    "Ragged",
    "Ranking",
    "Relation",
    "Schema",
    "Vocabulary",
]


def __getattr__(name: str) -> Any:
    """The functions of the door, imported when they are first asked for."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"oakum.data.{_LATER[name]}"), name)
    raise AttributeError(f"module 'oakum.data' has no attribute '{name}'")
