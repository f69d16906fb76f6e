# mypy: disable-error-code="untyped-decorator"
"""The hot loop of the accuracy metrics: expected counts at every cut-off, equal scores shared out exactly.

A list is read as groups of equal score. Inside a group the order is undecided, so every sum below is its
expectation over all orders of the group. With a group of size g holding r relevant items, its j-th place is
relevant with probability r/g; given that, (j-1)(r-1)/(g-1) relevant ones stand before it inside the group;
and, if none was relevant before, the j-th is the first with probability r/(g-j+1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from oakum.data.searching import find

HITS, FOUND, RECIPROCAL, PRECISION_SUM, GAIN = range(5)
COLUMNS = 5
LOW = 511  # low bits of an item by which it is looked up


@njit(cache=True, nogil=True)
def _start(state: Any) -> None:
    state[:] = 0.0
    state[7] = 1.0  # [5] place reached, [6] relevant ones in earlier groups, [7] chance that none was yet
    # [8] the next cut-off to write


@njit(cache=True, nogil=True)
def _group(state: Any, size: int, relevant: float, gain: float, discounts: Any, cuts: Any, out: Any) -> None:
    """Walk the places of one group of equal score, writing the sums where a cut-off is passed."""
    last = len(discounts)
    place = int(state[5])
    before = state[6]
    none = state[7]
    cut = int(state[8])
    if relevant == 0.0:  # most places: nothing is added, only cut-offs are passed
        place += size
        while cut < len(cuts) and cuts[cut] <= place:
            for c in range(COLUMNS):
                out[cut, c] = state[c]
            cut += 1
        state[5] = place
        state[8] = cut
        return
    for j in range(1, size + 1):
        place += 1
        if place > last:
            break
        share = relevant / size
        state[HITS] += share
        state[GAIN] += gain / size * discounts[place - 1]
        within = (j - 1) * (relevant - 1.0) / (size - 1.0) if size > 1 else 0.0
        state[PRECISION_SUM] += share * (before + 1.0 + within) / place
        if none > 0.0:
            chance = min(1.0, relevant / (size - j + 1.0))
            state[RECIPROCAL] += none * chance / place
            state[FOUND] += none * chance
            none *= 1.0 - chance
        if cut < len(cuts) and cuts[cut] == place:
            for c in range(COLUMNS):
                out[cut, c] = state[c]
            cut += 1
    state[5] = place
    state[6] = before + relevant
    state[7] = none
    state[8] = cut


@njit(cache=True, nogil=True)
def _finish(state: Any, cuts: Any, out: Any) -> None:
    """A list that ended early: what it found by its end holds for all later cut-offs."""
    for cut in range(int(state[8]), len(cuts)):
        for c in range(COLUMNS):
            out[cut, c] = state[c]


@njit(cache=True, nogil=True)
def rising(offsets: Any, items: Any) -> bool:
    """Whether the items of every row rise, each once: whether all falls in the flat array lie where a row starts."""
    falls = 0
    for at in range(offsets[0] + 1, offsets[-1]):
        falls += items[at] <= items[at - 1]
    for q in range(1, len(offsets) - 1):
        at = offsets[q]
        if offsets[0] < at < offsets[q + 1]:  # the first item of a row that is not empty, behind another row
            falls -= items[at] <= items[at - 1]
    return falls == 0


@njit(cache=True, nogil=True)
def sorted_rows(offsets: Any, items: Any, gains: Any, graded: bool) -> Any:
    """Rows with rising items, each once with its largest gain, none of gain 0 or less: offsets, items, gains.

    gains are read where `graded`; otherwise all are 1 and an array without elements comes back for them.
    """
    n = len(offsets) - 1
    out_offsets = np.zeros(n + 1, np.int64)
    out = np.empty(offsets[n] - offsets[0], np.int32)
    out_gains = np.empty(len(out) if graded else 0, np.float64)
    end = 0
    for q in range(n):
        begin = end
        for at in range(offsets[q], offsets[q + 1]):
            if graded and not gains[at] > 0:
                continue
            j = end  # insertion: rows are short, or nearly sorted already
            while j > begin and out[j - 1] > items[at]:
                j -= 1
            if j > begin and out[j - 1] == items[at]:
                if graded:
                    out_gains[j - 1] = max(out_gains[j - 1], gains[at])
                continue
            for b in range(end, j, -1):
                out[b] = out[b - 1]
                if graded:
                    out_gains[b] = out_gains[b - 1]
            out[j] = items[at]
            if graded:
                out_gains[j] = gains[at]
            end += 1
        out_offsets[q + 1] = end
    return out_offsets, out[:end].copy(), out_gains[: end if graded else 0].copy()


@njit(cache=True, nogil=True)
def _all_differ(items: Any, scores: Any) -> bool:
    """Whether no two neighbours of a list have the same score."""
    same = 0
    for j in range(1, len(items)):
        same += (scores[j] == scores[j - 1]) & (items[j] >= 0)
    return same == 0


@njit(cache=True, inline="always")
def _position(slots: Any, row: Any, item: int) -> int:
    """`find`, by the slot of the item's low bits; only where two relevant items share one must the row be searched."""
    at = slots[item & LOW]
    return at if at < 0 or row[at] == item else find(row, 0, len(row), item)


@njit(cache=True, nogil=True)
def _write(out: Any, q: int, cut: int, hits: float, first: float, precision: float, gain: float) -> None:
    out[q, cut, HITS] = hits
    out[q, cut, FOUND] = 1.0 if hits > 0 else 0.0
    out[q, cut, RECIPROCAL] = first
    out[q, cut, PRECISION_SUM] = precision
    out[q, cut, GAIN] = gain


@njit(cache=True, nogil=True)
def list_sums(
    items: Any,
    scores: Any,
    ties: bool,
    offsets: Any,
    relevant: Any,
    gains: Any,
    graded: bool,
    cuts: Any,
    discounts: Any,
) -> Any:
    """Sums [q, cuts, 5] of ranked lists. items int32 [q, k] (-1 ends a list), scores float32 [q, k]; relevant
    sorted within `offsets`, gains read where `graded`; cuts rising, discounts as long as the last cut. An item listed
    twice counts once."""
    n = len(items)
    length = items.shape[1]
    last = min(length, len(discounts))
    out = np.zeros((n, len(cuts), COLUMNS))
    state = np.zeros(9)
    longest = 0
    for q in range(n):
        longest = max(longest, offsets[q + 1] - offsets[q])
    taken = np.full(longest, -1, np.int64)  # the last query that found the relevant item of this position
    slots = np.full(LOW + 1, -1, np.int32)  # the position of the relevant item with these low bits
    maybe = np.empty(length + 1, np.int64)
    for q in range(n):
        row = relevant[offsets[q] : offsets[q + 1]]
        for at in range(len(row)):
            slots[row[at] & LOW] = at
        if not ties or _all_differ(items[q], scores[q]):  # every group is one item: no expectation to work out
            hits = gain = precision = first = 0.0
            cut = count = 0
            # First the places that may hold a relevant item, without a branch that is hard to guess.
            for j in range(last):
                if items[q, j] < 0:
                    break
                maybe[count] = j
                count += slots[items[q, j] & LOW] >= 0
            for m in range(count):
                j = maybe[m]
                at = _position(slots, row, items[q, j])
                if at < 0 or taken[at] == q:
                    continue
                taken[at] = q
                while cuts[cut] <= j:
                    _write(out, q, cut, hits, first, precision, gain)
                    cut += 1
                hits += 1.0
                gain += (gains[offsets[q] + at] if graded else 1.0) * discounts[j]
                precision += hits / (j + 1.0)
                if hits == 1.0:
                    first = 1.0 / (j + 1.0)
            for rest in range(cut, len(cuts)):
                _write(out, q, rest, hits, first, precision, gain)
        else:
            _start(state)
            start = 0
            while start < length and items[q, start] >= 0 and state[5] < len(discounts):
                end = start
                hits = 0.0
                gain = 0.0
                while end < length and items[q, end] >= 0:
                    if end > start and not (ties and scores[q, end] == scores[q, start]):
                        break
                    at = _position(slots, row, items[q, end])
                    if at >= 0 and taken[at] != q:
                        taken[at] = q
                        hits += 1.0
                        gain += gains[offsets[q] + at] if graded else 1.0
                    end += 1
                _group(state, end - start, hits, gain, discounts, cuts, out[q])
                start = end
            _finish(state, cuts, out[q])
        for item in row:
            slots[item & LOW] = -1
    return out


@njit(cache=True, nogil=True)
def row_sums(scores: Any, offsets: Any, relevant: Any, gains: Any, graded: bool, cuts: Any, discounts: Any) -> Any:
    """Sums [q, cuts, 5] of full score rows, NaN = never listed; a tie that straddles the last cut is
    whole."""
    n = len(scores)
    out = np.zeros((n, len(cuts), COLUMNS))
    state = np.zeros(9)
    for q in range(n):
        row = scores[q]
        wanted = relevant[offsets[q] : offsets[q + 1]]
        kept = row[~np.isnan(row)]
        _start(state)
        if len(kept) > 0:
            k = min(len(discounts), len(kept))
            edge = np.partition(kept, len(kept) - k)[len(kept) - k]
            above = np.nonzero(row > edge)[0]
            order = above[np.argsort(-row[above])]
            start = 0
            while start < len(order):
                end = start
                hits = 0.0
                gain = 0.0
                while end < len(order) and row[order[end]] == row[order[start]]:
                    at = find(wanted, 0, len(wanted), order[end])
                    if at >= 0:
                        hits += 1.0
                        gain += gains[offsets[q] + at] if graded else 1.0
                    end += 1
                _group(state, end - start, hits, gain, discounts, cuts, out[q])
                start = end
            size = 0
            for x in kept:
                if x == edge:
                    size += 1
            hits = 0.0
            gain = 0.0
            for w in range(len(wanted)):
                if row[wanted[w]] == edge:
                    hits += 1.0
                    gain += gains[offsets[q] + w] if graded else 1.0
            _group(state, size, hits, gain, discounts, cuts, out[q])
        _finish(state, cuts, out[q])
    return out


@njit(cache=True, nogil=True)
def ideal_gains(offsets: Any, gains: Any, cuts: Any, discounts: Any) -> Any:
    """The best possible discounted gain [q, cuts]: grades from high to low over min(cut, relevant) places."""
    n = len(offsets) - 1
    out = np.zeros((n, len(cuts)))
    for q in range(n):
        best = np.sort(gains[offsets[q] : offsets[q + 1]])[::-1]
        total = 0.0
        place = 0
        for c in range(len(cuts)):
            while place < len(best) and place < cuts[c]:
                total += best[place] * discounts[place]
                place += 1
            out[q, c] = total
    return out
