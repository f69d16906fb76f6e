"""What the claims on the stability of lists are measured with: small logs, rolling requests, one fit after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

METRICS = ("recall@10", "ndcg@10", "mrr@10")


@dataclass(frozen=True)
class Bench:
    """A log cut by its last tenth, and requests for every (or a sample of) its test events."""

    split: Any
    truth: Any

    @property
    def train(self) -> Any:
        """The training part."""
        return self.split.train


def bench(data_dir: Any, name: str, *, people: int = 300, requests: int = 2500, seed: int = 0) -> Bench:
    """People of middling activity (the `people` nearest to the median; 0: all with ten events), items that at least five of
    their events name, last tenth asked."""
    import polars as pl

    from oakum.data.read import read
    from oakum.seeds import generator
    from oakum.splits import rolling_truth, split

    frame = pl.read_parquet(data_dir / "interactions.parquet").select("user_id", "item_id", "timestamp")
    counts = frame.group_by("user_id").len().filter(pl.col("len") >= 10).sort("len", "user_id")
    if people:
        start = max(0, (len(counts) - people) // 2)
        counts = counts.slice(start, people)
    frame = frame.join(counts.select("user_id"), on="user_id", how="semi", maintain_order="left")
    frame = frame.filter(pl.len().over("item_id") >= 5)
    parts = split(read(frame, name=name), "last-share")
    truth = rolling_truth(parts, tail=50)
    if len(truth) > requests:
        truth = truth.take(np.sort(generator(seed, "requests").choice(len(truth), requests, replace=False)))
    return Bench(parts, truth)


def in_time_order(data: Any, order: Any, length: int) -> Any:
    """The reference's batches: every event that another precedes, in order of time, each with a window of its own; a batch is
    full when it is full, so one event less moves all that come later by one place."""
    import torch

    from oakum.sampling.sequences import Sequences, pad_left

    flat = data.histories
    owners = flat.owners()
    starts = flat.offsets[owners]
    later = np.flatnonzero(np.arange(len(owners)) > starts)
    later = later[np.lexsort((flat.rows[later], flat.times[later]))]
    for at in (later[s : s + order.batch_size] for s in range(0, len(later), order.batch_size)):
        first = np.maximum(starts[at], at - length)
        inputs = torch.from_numpy(pad_left(flat.slices(first, at - first), length))
        place = torch.arange(1, len(at) + 1) * length - 1
        codes = [torch.from_numpy(c[at].astype(np.int64)) for c in (flat.rows, owners, flat.items)]
        yield Sequences(codes[0], 0, None, inputs, place, codes[1], codes[2])


@cache
def time_ordered(length: int) -> Any:
    """A GRU that reads `length` events and learns from the reference's batches."""
    from oakum.models.sequential.gru4rec import GRU4Rec, GRU4RecModel

    class Model(GRU4RecModel):
        def batches(self, data: Any, phase: Any, order: Any) -> Any:
            return in_time_order(data, order, length)

        def rows(self, data: Any, phase: Any) -> int:
            return len(data) - int((data.histories.lengths > 0).sum())

    class TimeOrdered(GRU4Rec):
        def build(self, schema: Any) -> Any:
            return Model(self, schema)

    return TimeOrdered


@dataclass(frozen=True)
class Lists:
    """What one fit answers: whole rankings of the requests, and its accuracy on them."""

    ranking: Any
    quality: dict[str, float]
    seconds: float


def ask(fitted: Any, on: Bench) -> Lists:
    """All items in order for every request, nothing removed."""
    from oakum.metrics import measure

    found = fitted.rank(on.truth.queries, on.train.num_items)
    quality = {n: float(np.mean(v)) for n, v in measure(found.top(10), on.truth, METRICS).items()}
    return Lists(found, quality, fitted.record.seconds)


def rls(a: Lists, b: Lists, k: int = 10) -> dict[str, float]:
    """Means of the four similarities of two fits' lists."""
    from oakum.metrics.stability import rank_list_sensitivity

    return {n: float(np.nanmean(v)) for n, v in rank_list_sensitivity(a.ranking, b.ranking, k).items()}


def pair(found: dict[str, float]) -> str:
    """'FRBO@10 / Jaccard@10' in figures."""
    return f"{found['frbo@10']:.3f}/{found['jaccard@10']:.3f}"


def mean_of(many: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of several, by name."""
    return {n: float(np.mean([m[n] for m in many])) for n in many[0]}
