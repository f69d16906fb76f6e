# mypy: disable-error-code="no-untyped-def"
"""Rows as bytes, read ahead of the rows themselves: a request alone waits for memory, and this is a quarter of it.

Of each row are kept its components in steps of 1/127 of the largest, one byte each, and how far they are from the row. The
product of a request with the bytes, and by Cauchy and Schwarz what the rounding of both may hide, is a bound on the true
product: a row whose bound stays below the k-th best so far is passed over, the product of any other is computed from its
floats. So the answer is that of the exact search, to the bit.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.data import Ids, Ragged
from oakum.kernels._best import WORST, finish, offer, rising
from oakum.kernels._lanes import HEAD, ITEMS, QUERIES, first_bit, hopeful, tile
from oakum.kernels.spread import even, fixed, spread
from oakum.kernels.tile import prefetch
from oakum.kernels.topk import ALL, answers, dealt, panelled, shut_out

STEPS = 16  # components that are multiplied at once
WAITING = 2 * ITEMS  # rows that wait for their products
AHEAD, LINE = 4 * ITEMS, 64  # how many rows ahead those that lie apart are asked for; bytes that come at once
APART = 4  # requests up to here are quicker one by one over bytes than together over floats
CHEAPER = 4  # how much a product of bytes costs less than one of floats that come from memory
ROUNDING = 2.0**-23  # of float32: what a sum or a product may be wrong by, relatively
TINY = 1e-30  # the length of a row below which float32 has no digits left to say a bound with: it is always looked at


def quantised(table: NDArray[np.float32]) -> NDArray[np.int8]:
    """The rows of a table [n, d] as bytes, int8 [n, 8 + d in whole sixteens].

    The first eight bytes of a row are two float32: its step, and the bound |x − step · codes| + ε |x|, where ε covers the
    rounding of float32 in all that is computed with it. Rows must be finite. Time n · d.
    """
    n, d = table.shape
    out = np.zeros((n, HEAD + -(-d // STEPS) * STEPS), np.int8)
    rows = fixed(np.ascontiguousarray(table, np.float32))[0]
    spread(partial(_code, rows, out, out.view(np.float32)), even(n, 4 * n * d))
    return out


@njit(cache=True, nogil=True)
def _code(table, out, heads, first, last):
    d = table.shape[1]
    for r in range(first, last):
        peak = np.float32(0)
        for c in range(d):
            peak = max(peak, abs(table[r, c]))
        step = peak / np.float32(127)
        lost = whole = 0.0
        for c in range(d):
            code = np.rint(table[r, c] / step) if step > 0 else np.float32(0)
            out[r, HEAD + c] = np.int8(code)
            rest = np.float64(table[r, c]) - np.float64(step) * np.float64(code)
            lost += rest * rest
            whole += np.float64(table[r, c]) ** 2
        heads[r, 0] = step
        heads[r, 1] = (np.sqrt(lost) + (d + 16) * ROUNDING * np.sqrt(whole)) * (1 + ROUNDING)
        if 0 < whole < TINY * TINY:
            heads[r, 1] = np.inf


@njit(cache=True, nogil=True)
def shortened(queries, at, d, short, aim):
    """A request of d floats from `at` on as int16 into `short`, and its step, spare and length into `aim`; see `hopeful`."""
    wide = len(short)
    most = min(32767, (2**31 - 1) // (127 * wide))  # no sum of products leaves int32
    peak = np.float32(0)
    for c in range(d):
        peak = max(peak, abs(queries[at + c]))
    by = peak / np.float32(most)
    lost = whole = 0.0
    for c in range(d):
        code = np.rint(queries[at + c] / by) if by > 0 else np.float32(0)
        code = min(max(code, np.float32(-most)), np.float32(most))
        short[c] = np.int16(code)
        rest = np.float64(queries[at + c]) - np.float64(by) * np.float64(code)
        lost += rest * rest
        whole += np.float64(queries[at + c]) ** 2
    for c in range(d, wide):
        short[c] = 0
    aim[0] = by
    aim[1] = np.sqrt(lost * d) * 127 * (1 + ROUNDING)
    aim[2] = np.sqrt(whole) * (1 + ROUNDING)
    if whole < TINY * TINY:
        aim[2] = np.inf


@njit(cache=True, nogil=True)
def weighed(
    n, waiting, table, d, queries, at, ties, r, room, k, keys, items, sizes, bars, least, shut, low, high, panel, scores
):
    """The products of one request with n ≤ 16 rows of the table, those `waiting`, offered to what it keeps.

    They are those of a batch to the bit: components are summed in order.
    """
    places = np.empty(ITEMS, np.int64)
    ids = np.empty(ITEMS, np.int32)
    bar = np.empty(QUERIES, np.float32)
    masks = np.empty(QUERIES, np.int64)
    for i in range(QUERIES):
        bar[i] = least[r] if i == 0 else np.inf
    for j in range(ITEMS):
        ids[j] = waiting[min(j, n - 1)]
        places[j] = np.int64(ids[j]) * d
    # A tile takes several requests: all are this one, and the bars of the others cannot be reached.
    for c in range(d):
        for i in range(QUERIES):
            panel[ITEMS * d + c * QUERIES + i] = queries[at + c]
    panelled(table, places, d, panel)
    if tile(panel, 0, panel, ITEMS * d, d, bar, 0, scores, masks):
        mask = masks[0] & ((1 << n) - 1)
        offer(
            mask, scores, scores.view(np.int32), 0, ids, ties, r, room, k, keys, items, sizes, bars, least, shut, low, high
        )  # fmt: skip


@njit(cache=True, nogil=True)
def sift(
    first, n, rows, some, names, codes, wide, short, aim, table, d, queries, at, ties, r, room, k, keys, items, sizes, bars,
    least, shut, low, high, panel, scores,
):  # fmt: skip
    """Offer one request n rows of a table: those alone whose bytes say that they could reach what it keeps are multiplied.

    The rows of bytes are those from `first` on, or where `some` those that `rows` names from there on; row s of the bytes is
    row s of the table, or row `names[s]` where there are names. table, codes: flat, d floats and `wide` bytes to a row. short,
    aim: see `shortened`; the request's d floats begin at queries[at]. r, room, k, keys, items, sizes, bars, least: what requests
    keep; shut[low:high], rising: rows of the table not to be offered. panel float32 [22 d], scores [96]: room to work in.
    """
    spots = np.empty(ITEMS, np.int64)
    places = np.empty(ITEMS, np.int64)
    waiting = np.empty(WAITING, np.int32)
    wait = 0
    named = len(names) > 0
    steps = (wide - HEAD) // STEPS
    for p in range(0, n, ITEMS):
        here = min(ITEMS, n - p)
        if some:
            for j in range(ITEMS):
                spots[j] = rows[first + p + min(j, here - 1)]
            for j in range(p + AHEAD, min(p + AHEAD + ITEMS, n)):
                for c in range(0, wide, LINE):
                    prefetch(codes, np.int64(rows[first + j]) * wide + c)
        else:
            for j in range(ITEMS):
                spots[j] = first + p + min(j, here - 1)
        for j in range(ITEMS):
            places[j] = spots[j] * wide
        mask = hopeful(codes, places, short, steps, aim[0], aim[1], aim[2], least, r) & ((1 << here) - 1)
        while mask:
            spot = spots[first_bit(mask)]
            mask &= mask - 1
            waiting[wait] = names[spot] if named else spot
            wait += 1
        while wait >= ITEMS or (wait and p + ITEMS >= n):
            count = min(wait, ITEMS)
            weighed(
                count, waiting, table, d, queries, at, ties, r, room, k, keys, items, sizes, bars, least, shut, low, high, panel,
                scores,
            )  # fmt: skip
            wait -= count
            for j in range(wait):
                waiting[j] = waiting[count + j]


@njit(cache=True, nogil=True)
def _search(
    queries, table, d, codes, wide, rows, names, some, k, ties, offsets, barred, found, values, low, high, start, stop
):  # fmt: skip
    """The best k of the places low … high - 1 for the queries start … stop - 1. A place is a row of the bytes, or where `some`
    the row that `rows` names; for `names` see `sift`."""
    n = stop - start
    room = min(2 * k + 32, max(high - low, k) + 1)
    keys, items = np.empty(n * room, np.int64), np.empty(n * room, np.int32)
    sizes, bars, least = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.float32)
    short, aim = np.empty(wide - HEAD, np.int16), np.empty(3, np.float32)
    panel = np.empty((ITEMS + QUERIES) * d, np.float32)
    scores = np.empty(QUERIES * ITEMS, np.float32)
    shut = np.empty(offsets[stop] - offsets[start], np.int32)
    for r in range(n):
        q = start + r
        shortened(queries, q * d, d, short, aim)
        shut_at, shut_end = offsets[q] - offsets[start], offsets[q + 1] - offsets[start]
        rising(barred, offsets[q], offsets[q + 1], shut[shut_at:])
        sizes[r], bars[r], least[r] = 0, WORST, -np.inf
        sift(
            low, high - low, rows, some, names, codes, wide, short, aim, table, d, queries, q * d, ties, r, room, k, keys, items,
            sizes, bars, least, shut, shut_at, shut_end, panel, scores,
        )  # fmt: skip
        finish(keys, items, r * room, sizes[r], k, found[q], values[q])


def topk_quantised(
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    codes: NDArray[np.int8],
    k: int,
    *,
    exclude: Ragged | None = None,
    rows: Ids = ALL,
    beside: bool = False,
    ties: Ids,
) -> tuple[Ids, NDArray[np.float32]]:
    """`topk` for a few finite queries, one by one, over rows and their bytes (see `quantised`): the same to the bit as for
    many queries, at a quarter of the memory read.

    beside: the bytes are those of `rows` alone, in their order; items is the whole table either way.
    """
    found, values = answers(len(queries), k)
    some = rows is not ALL
    total = len(rows) if some else len(items)
    if not k or not total or not len(queries):
        return found, values
    d = items.shape[1]
    k = min(k, total)
    asked, table, bytes_, own, names, offsets, shut = fixed(
        np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(items, np.float32), codes, ties,
        rows if beside else ALL, *shut_out(exclude, len(queries)),
    )  # fmt: skip
    rows = rows if rows.flags.writeable else rows.copy()  # as the rows of lists are: the kernel is compiled once
    search = partial(
        _search, asked.reshape(-1), table.reshape(-1), d, bytes_.reshape(-1), bytes_.shape[1], rows, names,
        some and not beside, k, own, offsets, shut,
    )  # fmt: skip
    dealt(search, len(asked), total, -(-d // CHEAPER), k, own, found, values)
    return found, values
