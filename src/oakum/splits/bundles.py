"""The rule of bundle completion: the best-sellers of a bundle are given, its other items are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oakum.data import Dataset
from oakum.data.bundles import feedback_counts
from oakum.errors import ProtocolError
from oakum.seeds import generator
from oakum.splits.protocol import Protocol, Split


def popular_items(data: Dataset, share: float = 0.2) -> NDArray[np.bool_]:
    """The best-selling `share` of the items, bool [items]: by shoppers where the data have them, else by bundles."""
    counts = feedback_counts(data)
    out = np.zeros(len(counts), bool)
    out[np.argsort(-counts, kind="stable")[: round(share * len(counts))]] = counts.max(initial=0) > 0
    return out


def split_popular_given(
    data: Dataset, *, popular: float = 0.2, test: float = 0.2, valid: float = 0.1, seed: int = 0
) -> Split:
    """Whole bundles (users) are held out; of each, the best-selling items are given and the long tail is asked for.

    popular: the share of the items that counts as best-selling (by feedback where there is any, else by the bundles that
    train). Of a held-out bundle with items on one side only nothing can be asked, which the protocol says. Raises
    `ProtocolError` where no held-out bundle has both.
    """
    luck = generator(seed, "popular given").random(data.num_users)
    log = data.interactions
    part = np.where(luck < test, 2, np.where(luck < test + valid, 1, 0))[log.users]
    train = data.with_interactions(log.take(part == 0))
    head = popular_items(train, popular)[log.items]
    sides = [np.bincount(log.users[at], minlength=data.num_users) > 0 for at in (head, ~head)]
    able = (sides[0] & sides[1])[log.users]
    late, held = (able & ~head & (part == n) for n in (2, 1))
    if not (part == 0).any() or not late.any():
        raise ProtocolError(
            f"The rule 'popular-given' finds no held-out bundle of '{data.name}' with both best-selling and other items; "
            f"choose another share popular (now {popular:g}) or another rule, such as 'users'."
        )
    lost = int((~(sides[0] & sides[1]) & (luck < test)).sum())
    left = (
        f"{lost:,} of {int((luck < test).sum()):,} test bundles have best-sellers only, or none, and are not asked.",
    )
    history = data.with_interactions(log.take((part == 0) | (able & head)))
    protocol = Protocol("popular-given", seed=seed, left_out=left if lost else ())
    return Split(train, log.take(held) if held.any() else None, log.take(late), protocol, history)
