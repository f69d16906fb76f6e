"""What the tables tell of users or items, as slots that a model keeps beside its weights. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data.dataset import Dataset
from oakum.data.fields import Coder, Layout
from oakum.errors import DataError

SIDES = ("users", "items")


def coder_of(data: Dataset, side: str, names: Sequence[str]) -> Coder:
    """How these columns of the table of "users" or "items" become fields; every value has a vector of its own.

    Raises `DataError` with the columns there are where one is not there.
    """
    return Coder.learn(_columns(data, side, names), min_count=1)


def told(data: Dataset, side: str, coder: Coder) -> dict[str, NDArray[Any]]:
    """Facts named "side/...": the vocabularies, and the slots of every user (or item) with one row more at the end, of
    which nothing is known: -1 is a newcomer's."""
    size = data.num_users if side == "users" else data.num_items
    every, absent = coder.encode(_columns(data, side, coder.layout.names), size), coder.encode({}, 1)
    codes, values = (np.concatenate(pair) for pair in zip(every, absent, strict=True))
    return {f"{side}/{k}": v for k, v in {**coder.facts(), "codes": codes, "values": values}.items()}


def coder_again(layout: Layout, side: str, facts: Mapping[str, NDArray[Any]]) -> Coder:
    """The coder whose vocabularies are among the facts, so that a refresh reads newer tables with the old ones."""
    own = {k.removeprefix(f"{side}/"): v for k, v in facts.items() if k.startswith(f"{side}/")}
    return Coder.from_facts(layout, own)


def _columns(data: Dataset, side: str, names: Sequence[str]) -> dict[str, Any]:
    table = data.tables.get(side)
    for name in names:
        if table is None or name not in table.columns:
            found = f"has no table of {side}" if table is None else f"tells of its {side}: {', '.join(table.columns)}"
            raise DataError(
                f"The column '{name}' of {side} was asked for, and '{data.name}' {found}. Name another, or none."
            )
    return {} if table is None else {name: table[name] for name in names}
