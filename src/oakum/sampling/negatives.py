"""Drawing negatives: rejection against the training positives, in Numba, from counters instead of a generator.

Draw a of slot s uses hash(key, s, a), so the draws of one row never depend on those of another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from oakum.data import item_domain
from oakum.data.searching import find
from oakum.kernels.tile import prefetch
from oakum.sampling.batches import Batch, Negatives
from oakum.seeds import derive

TOGETHER = 256  # draws that are made side by side
TRIES = 64  # a user who has nearly everything may keep a positive after so many rejected draws


@njit(cache=True, inline="always")
def _mix(x: np.uint64) -> np.uint64:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, inline="always")
def _slot(key, place):  # type: ignore[no-untyped-def]
    return _mix(np.uint64(key) ^ _mix(np.uint64(place)))


@njit(cache=True, inline="always")
def _mark(item: np.int64, low: int, high: int) -> np.uint64:
    """The bit of an item among the eight for each of a user's events, counted from the first byte of all."""
    spread = np.uint64(item) * np.uint64(0x9E3779B1) & np.uint64(0xFFFFFFFF)
    return np.uint64(8 * low) + (spread * np.uint64(8 * (high - low)) >> np.uint64(32))


@njit(cache=True, inline="always")
def _owns(item, low, high, indices, marks):  # type: ignore[no-untyped-def]
    """Whether the user of the events [low, high) has an item."""
    bit = _mark(item, low, high)
    marked = marks[bit >> np.uint64(3)] & np.uint8(1 << (bit & np.uint64(7)))
    return marked != 0 and find(indices, low, high, item) >= 0


@njit(cache=True, nogil=True)
def marks_of(indptr, indices):  # type: ignore[no-untyped-def]
    """A byte an event, uint8 [events]: a bit is set where a user has an item that falls on it. A clear bit says at once that
    the user does not have the item; only a set one needs a search."""
    out = np.zeros(len(indices), np.uint8)
    for user in range(len(indptr) - 1):
        for at in range(indptr[user], indptr[user + 1]):
            bit = _mark(indices[at], indptr[user], indptr[user + 1])
            out[bit >> np.uint64(3)] |= np.uint8(1 << (bit & np.uint64(7)))
    return out


@njit(cache=True, nogil=True)
def guide_of(cumulative):  # type: ignore[no-untyped-def]
    """Where to begin looking a share up, int64 [items]: the place of g / items of the whole, or one before it."""
    n = len(cumulative)
    out = np.empty(n, np.int64)
    at = 0
    for g in range(n):
        value = cumulative[-1] * (g / n) * (1 - 1e-12)
        while at < n - 1 and cumulative[at] <= value:
            at += 1
        out[g] = at
    return out


@njit(cache=True, inline="always")
def _share(slot, attempt):  # type: ignore[no-untyped-def]
    """The number in [0, 1) of an attempt at a slot."""
    return np.float64(np.int64(_mix(slot + np.uint64(attempt)) >> np.uint64(11))) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def _item(share, r, num_items, cumulative, guide, pool, starts, sizes):  # type: ignore[no-untyped-def]
    """The item of a number drawn for row r; see `reject_draws`."""
    if len(pool):
        return pool[starts[r] + np.int64(share * sizes[r])]
    if not len(cumulative):
        return np.int64(share * num_items)
    item = guide[np.int64(share * num_items)]
    while item < num_items - 1 and cumulative[item] <= share * cumulative[-1]:
        item += 1
    return item


@njit(cache=True, nogil=True)
def reject_draws(key, users, n, num_items, cumulative, guide, pool, starts, sizes, indptr, indices, marks):  # type: ignore[no-untyped-def]
    """Int64 [len(users), n]. cumulative: float64 [items] running shares with their guide, or empty for uniform; pool: int64
    items to draw from instead, or empty; row r draws from the `sizes[r]` places of the pool that begin at `starts[r]`. A draw
    that the user has (CSR indptr, indices, with their marks) is redrawn.

    Some rows at a time take each turn together, so that what one waits for is fetched beside that of the others.
    """
    out = np.empty((len(users), n), np.int64)
    uniform = len(pool) == 0 and len(cumulative) == 0
    rows = max(1, TOGETHER // max(1, n))
    low, high = np.empty(rows, np.int64), np.empty(rows, np.int64)
    bits, doubtful = np.empty(rows * n, np.uint64), np.empty(rows * n + 1, np.int64)
    for first in range(0, len(users), rows):
        count = min(rows, len(users) - first)
        for r in range(first, first + count):
            if users[r] >= 0:
                prefetch(indptr, users[r])
        for r in range(first, first + count):
            for c in range(n):
                share = _share(_slot(key, r * n + c), 0)
                if uniform:
                    out[r, c] = np.int64(share * num_items)
                else:
                    out[r, c] = _item(share, r, num_items, cumulative, guide, pool, starts, sizes)
        for b in range(count):
            user = users[first + b]
            low[b] = indptr[user] if user >= 0 else 0
            high[b] = indptr[user + 1] if user >= 0 else 0
            if high[b] > low[b]:
                for c in range(n):
                    bits[b * n + c] = _mark(out[first + b, c], low[b], high[b])
                    prefetch(marks, np.int64(bits[b * n + c] >> np.uint64(3)))
        m = np.int64(0)
        for b in range(count):
            if high[b] > low[b]:
                for c in range(n):
                    doubtful[m] = b * n + c
                    bit = bits[b * n + c]
                    m += np.int64((marks[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1))
        for place in doubtful[:m]:
            own, column = place // n, place % n
            item, attempt = out[first + own, column], 0
            owned = find(indices, low[own], high[own], item) >= 0
            while owned and attempt < TRIES - 1:
                attempt += 1
                share = _share(_slot(key, first * n + place), attempt)
                item = _item(share, first + own, num_items, cumulative, guide, pool, starts, sizes)
                owned = _owns(item, low[own], high[own], indices, marks)
            out[first + own, column] = item
    return out


def _reject(
    run: Any,
    batch: Batch,
    n: int,
    name: str,
    cumulative: Any,
    pool: Any,
    starts: Any = None,
    sizes: Any = None,
    *,
    reject: bool = True,
) -> NDArray[np.int64]:
    owned = run.positives
    if pool is not None and starts is None:
        starts, sizes = np.zeros(len(batch), np.int64), np.full(len(batch), len(pool))
    known = reject and hasattr(batch, "users")
    users = batch.users.cpu().numpy() if known else np.full(len(batch), -1, np.int64)  # type: ignore[attr-defined]
    if known and "marks" not in run.memo:
        run.memo["marks"] = marks_of(owned.indptr, owned.indices)
    key = derive(run.seed, "negatives", name, run.phase.name, run.epoch, run.step)
    none = np.empty(0, np.int64)
    return reject_draws(
        key,
        users,
        n,
        owned.shape[1],
        np.empty(0, np.float64) if cumulative is None else cumulative,
        none if cumulative is None else _guide(run, cumulative),
        none if pool is None else pool,
        none if starts is None else starts,
        none if sizes is None else sizes,
        owned.indptr,
        owned.indices,
        run.memo["marks"] if known else np.empty(0, np.uint8),
    )


def _guide(run: Any, cumulative: NDArray[np.float64]) -> NDArray[np.int64]:
    """The guide of a table, kept on the run beside it."""
    found = run.memo.get("guide")
    if found is None or found[0] is not cumulative:
        found = run.memo["guide"] = (cumulative, guide_of(cumulative))
    out: NDArray[np.int64] = found[1]
    return out


def draw_from(
    run: Any, batch: Batch, n: int, cumulative: NDArray[np.float64] | None, *, reject: bool = True
) -> Negatives:
    """Independent draws from a fixed distribution over all items (None: uniform); without `reject` a draw may be a
    positive of the user."""
    items = _reject(run, batch, n, "fixed", cumulative, None, reject=reject)
    if cumulative is None:
        log_q = np.full(items.shape, -np.log(run.positives.shape[1]), np.float32)
    else:
        share = np.diff(cumulative, prepend=0.0) / cumulative[-1]
        log_q = np.log(np.maximum(share, 1e-12))[items].astype(np.float32)
    return Negatives(torch.from_numpy(items), torch.from_numpy(log_q))


@njit(cache=True, nogil=True)
def owned_by(users, items, indptr, indices):  # type: ignore[no-untyped-def]
    """Bool [len(users), len(items)]: whether each user has each item; CSR with sorted columns."""
    out = np.zeros((len(users), len(items)), np.bool_)
    for r in range(len(users)):
        if users[r] >= 0:
            for c in range(len(items)):
                out[r, c] = find(indices, indptr[users[r]], indptr[users[r] + 1], items[c]) >= 0
    return out


def draw_shared(run: Any, batch: Any, n: int, reject: bool) -> Negatives:
    """`n` uniform items for all rows; with `reject`, those that a row's user has weigh nothing there."""
    owned = run.positives
    items = run.rng("shared negatives").integers(0, owned.shape[1], n)
    log_q = torch.full((1, n), -float(np.log(owned.shape[1])))
    weight = None
    if reject:
        users = batch.users.cpu().numpy() if hasattr(batch, "users") else np.full(len(batch), -1, np.int64)
        weight = torch.from_numpy((~owned_by(users, items, owned.indptr, owned.indices)).astype(np.float32))
    return Negatives(torch.from_numpy(items[None]), log_q, weight)


def popularity_table(run: Any, power: float) -> NDArray[np.float64]:
    """Running sum of count ** power, float64 [items]; kept on the run for the next batch."""
    name = f"popularity {power}"
    if name not in run.memo:
        counts = run.data.item_counts.astype(np.float64)
        run.memo[name] = np.cumsum(np.where(counts > 0, counts**power, 0.0))
    found: NDArray[np.float64] = run.memo[name]
    return found


def draw_in_batch(run: Any, batch: Any, n: int) -> Negatives:
    """Positives of other rows of the batch."""
    pool = batch.items.cpu().numpy().reshape(-1)
    items = _reject(run, batch, n, "batch", None, pool[pool >= 0])
    share = run.data.item_counts / max(1, run.data.item_counts.sum())
    log_q = np.log(np.maximum(share, 1e-12))[items].astype(np.float32)
    return Negatives(torch.from_numpy(items), torch.from_numpy(log_q))


def draw_in_domain(run: Any, batch: Any, n: int) -> Negatives:
    """Uniform over the items of the domain of each row's positive; items without a domain are a pool of their own."""
    if "domains" not in run.memo:
        codes = item_domain(run.data)
        counts = np.bincount(codes + 1)
        run.memo["domains"] = (codes + 1, np.argsort(codes, kind="stable"), np.cumsum(counts) - counts, counts)
    codes, pool, first, counts = run.memo["domains"]
    own = codes[batch.items.cpu().numpy()]
    items = _reject(run, batch, n, "domain", None, pool, first[own], counts[own])
    log_q = np.repeat(-np.log(counts[own])[:, None], n, 1).astype(np.float32)
    return Negatives(torch.from_numpy(items), torch.from_numpy(log_q))


def draw_on_offer(run: Any, batch: Any, n: int, *, reject: bool = True) -> Negatives:
    """Uniform over the items whose first event is no later than the moment of the row (`target_times`, where it has one)."""
    if "offered" not in run.memo:
        log = run.data.interactions
        first = np.full(run.data.num_items, np.iinfo(np.int64).max)
        np.minimum.at(first, log.items, np.zeros(len(log), np.int64) if log.times is None else log.times)
        pool = np.argsort(first, kind="stable")[: int((run.data.item_counts > 0).sum())]
        run.memo["offered"] = (pool, first[pool])
    pool, first = run.memo["offered"]
    moments = getattr(batch, "target_times", None)
    if moments is None:
        sizes = np.full(len(batch), len(pool))
    else:
        sizes = np.maximum(1, np.searchsorted(first, moments.cpu().numpy(), side="right"))
    items = _reject(run, batch, n, "offer", None, pool, np.zeros(len(batch), np.int64), sizes, reject=reject)
    log_q = np.repeat(-np.log(sizes)[:, None], n, 1).astype(np.float32)
    return Negatives(torch.from_numpy(items), torch.from_numpy(log_q))


def draw_hard(run: Any, batch: Any, n: int, pool: int) -> Negatives:
    """The best scored of `pool` uniform candidates for each negative, under the present weights."""
    drawn = draw_from(run, batch, n * pool, None)
    device = next(run.model.parameters()).device
    with torch.no_grad():
        scores = run.model.score_candidates(batch.to(device), drawn.items.to(device)).cpu()
    best = scores.reshape(-1, n, pool).argmax(-1, keepdim=True)
    take = lambda x: x.reshape(-1, n, pool).gather(-1, best).squeeze(-1)
    return Negatives(take(drawn.items), take(drawn.log_q) + float(np.log(pool)))


def side_by_side(parts: list[Negatives]) -> Negatives:
    """Columns of several draws, joined."""
    return Negatives(torch.cat([p.items for p in parts], 1), torch.cat([p.log_q for p in parts], 1))
