"""Slow and obvious: what was known before each event of the target, and attention one place at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from oakum.data import Dataset


def known_before(data: Dataset, sides: Any, length: int) -> dict[int, tuple[list[int], list[int], list[int]]]:
    """Row id of each event to predict -> the mix, source and target before it, oldest first, as far as the windows that
    end at the user's last event of the target reach back."""
    histories = data.histories
    out = {}
    for user in range(data.num_users):
        a, b = histories.offsets[user], histories.offsets[user + 1]
        assert histories.rows is not None
        events = [
            (int(i), int(r)) for i, r in zip(histories.items[a:b], histories.rows[a:b], strict=True) if sides[i] > 0
        ]
        wanted = [n for n, (i, _) in enumerate(events) if sides[i] == 1]
        if not wanted:
            continue
        reach = {
            which: [n for n in range(wanted[-1]) if which == 0 or sides[events[n][0]] == which][-length:]
            for which in (0, 1, 2)
        }
        for n in wanted:
            mix, target, source = ([events[k][0] for k in reach[w] if k < n] for w in (0, 1, 2))
            first = not any(sides[i] == 1 for i, _ in events[:n])
            if target or (first and mix):
                out[events[n][1]] = (mix, source, target)
    return out


def attended(layers: Any, facts: Any, asked: Any, whole: Any) -> Any:
    """Σ a_k f_k for one question over the facts [k, d] that may be seen, straight from the formula."""
    import torch

    if not len(facts):
        return torch.zeros_like(asked)
    scores = []
    for fact in facts:
        x = torch.cat([fact, asked, fact * asked, asked - fact, whole])
        x = layers.bend_first(layers.first(x))
        scores.append(layers.third(layers.bend_second(layers.second(x))))
    return (torch.softmax(torch.cat(scores), 0).unsqueeze(-1) * facts).sum(0)


def nt_xent(a: np.ndarray, b: np.ndarray, temperature: float) -> np.ndarray:
    """The mean of the two rows of each pair, by loops."""
    rows = [v / np.linalg.norm(v) for v in [*a, *b]]
    n = len(a)
    out = []
    for i, v in enumerate(rows):
        sims = [np.exp(v @ w / temperature) for k, w in enumerate(rows) if k != i]
        out.append(-np.log(np.exp(v @ rows[(i + n) % (2 * n)] / temperature) / sum(sims)))
    return (np.array(out[:n]) + np.array(out[n:])) / 2
