"""Windows of histories by hand: one list a target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """What is read before a target: (item, time, value) oldest first; then the target's user, item, row and time."""

    read: tuple[tuple[int, int, float], ...]
    user: int
    item: int
    row: int
    time: int


def windows(histories: list[list[tuple[int, int, int, float]]], max_length: int, targets: str) -> list[Window]:
    """histories: (item, row, time, value) of each user, oldest first."""
    out = []
    for user, events in enumerate(histories):
        kept = events[-(max_length + 1) :]
        for t in range(1, len(kept)):
            if targets == "last" and t != len(kept) - 1:
                continue
            read = tuple((item, time, value) for item, _, time, value in kept[:t])
            item, row, time, _ = kept[t]
            out.append(Window(read, user, item, row, time))
    return out
