"""A split that asks for one domain, and leaves out what happened elsewhere after the event asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset, Interactions, domains
from oakum.errors import ProtocolError
from oakum.splits.protocol import Protocol, Split


def split_for(data: Dataset, target: str, rule: str, make: Any, **options: Any) -> Split:
    """The rule applied to the events of the target domain; events elsewhere go to the part in which they were known.

    time: by the cuts of the target's parts. leave-last: by each user's own order, so that what came after the event asked
    for is in no part, and what came between the validation event and it is history of the test part only. holdout and
    cold-items have no order: all events elsewhere train. An unknown target is refused with the list of known ones.
    """
    if rule in ("users", "none"):
        raise ProtocolError(f"The rule '{rule}' takes no target; 'time', 'leave-last', 'holdout' and 'cold-items' do.")
    log = data.interactions
    inside = domains(data).codes[log.items] == domains(data).code(target)
    if not inside.any():
        raise ProtocolError(f"'{data.name}' has no event in the domain '{target}'.")
    own = make(data.with_interactions(log.take(inside)), **options)
    part = np.zeros(len(log), np.int8)  # 0 train, 1 valid, 2 test or known too late
    for number, events in ((1, own.valid), (2, own.test)):
        if events is not None:
            part[np.isin(log.rows, events.rows)] = number
    if rule == "time":
        assert log.times is not None
        for number in (1, 2):
            if (part == number).any():
                part[~inside & (log.times >= log.times[inside & (part == number)].min())] = number
    elif rule == "leave-last":
        order = log.order()
        part[order] = _so_far(log, order, part)
    late = ~inside & (part == 2)
    held = part == 1
    notes = own.protocol.left_out
    if late.any():
        notes = (*notes, f"{int(late.sum()):,} events of other domains after the ones asked for were left out.")
    protocol: Protocol = replace(own.protocol, candidates=f"domain:{target}", left_out=notes)
    train = data.with_interactions(log.take(part == 0))
    return Split(train, log.take(held) if held.any() else None, own.test, protocol)


def _so_far(log: Interactions, order: NDArray[np.int64], part: NDArray[np.int8]) -> NDArray[np.int8]:
    """The latest part that an event of the same user has reached, in order."""
    reached = (
        3 * log.users[order].astype(np.int64) + part[order]
    )  # users ascend, so a running maximum starts anew at each
    return (np.maximum.accumulate(reached) % 3).astype(np.int8)
