from __future__ import annotations

import numpy as np

from oakum.data import Dataset, Interactions, Vocabulary
from oakum.metrics import Context, summarise
from oakum.metrics.fairness import by_group
from oakum.splits.protocol import truth_of

from metrics.lists import ranking  # isort: skip


def test_a_context_from_training_data_feeds_metrics_and_groups():
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(20), 6), rng.integers(0, 30, 120)
    log = Interactions(users, items, times=np.arange(120, dtype=np.int64))
    train = Dataset(log, Vocabulary.of(range(20)), Vocabulary.of(range(30)))
    wanted = truth_of(Interactions(np.arange(20), rng.integers(0, 30, 20)), train)
    context = Context.of(train, wanted, ties="order")
    lists = ranking([rng.permutation(30)[:5].tolist() for _ in range(len(wanted))])
    found = summarise(lists, wanted, ["popularity_lift@5", "novelty@5", "coverage@5"], context)
    assert all(np.isfinite(e.value) for e in found.values())
    assert context.ties == "order"
    assert set(context.groups) == {"activity", "tenure"}
    grouped = by_group(np.ones(len(wanted)), context.groups["tenure"], min_size=1, resamples=10)
    assert grouped.gap == 0
