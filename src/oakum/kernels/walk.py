"""Searching a layered graph of neighbours and lists of neighbours under a filter; no Python between two distances.

Scores are dot products, larger is better; a caller that wants another measure puts it into the vectors. `stamp` int32 [n]
and `turn` mark the visited nodes of a request without clearing between requests.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLIND, INSIDE = 0, 1  # how a walk treats nodes that do not pass: crosses them, or reads through them


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@njit(cache=True, nogil=True)
def _push(scores, nodes, size, score, node, sign):  # type: ignore[no-untyped-def]
    """Onto a binary heap whose top is the largest `sign * score`."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if sign * scores[parent] >= sign * score:
            break
        scores[at], nodes[at] = scores[parent], nodes[parent]
        at = parent
    scores[at], nodes[at] = score, node


@njit(cache=True, nogil=True)
def _drop(scores, nodes, size, sign):  # type: ignore[no-untyped-def]
    """Remove the top of a heap of `size`: the last element sinks from there."""
    score, node = scores[size - 1], nodes[size - 1]
    size -= 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and sign * scores[child + 1] > sign * scores[child]:
            child += 1
        if sign * score >= sign * scores[child]:
            break
        scores[at], nodes[at] = scores[child], nodes[child]
        at = child
    if size > 0:
        scores[at], nodes[at] = score, node


@njit(cache=True, nogil=True)
def _keep(scores, nodes, size, limit, score, node):  # type: ignore[no-untyped-def]
    """Into the `limit` best, whose worst is on top; the new size."""
    if size < limit:
        _push(scores, nodes, size, score, node, -1.0)
        return size + 1
    if score > scores[0]:
        _drop(scores, nodes, size, -1.0)
        _push(scores, nodes, size - 1, score, node, -1.0)
    return size


@njit(cache=True, nogil=True)
def walk(queries, efs, table, base, upper, upper_at, levels, entry, passing, some, seeds, mode, stamp, turn):  # type: ignore[no-untyped-def]
    """Beam search of a layered graph for queries [q, d] over table [n, d].

    base int32 [n, m0] and upper int32 [rows, m] hold neighbours, -1 ends a list; node i has upper lists at rows
    `upper_at[i]` … for levels 1 … `levels[i]`. efs int64 [q]: width of each beam. passing bool [n] (read where `some`).
    BLIND crosses all nodes and keeps those that pass; INSIDE keeps to passing nodes, reads through the others to their
    neighbours, and starts from `seeds` (passing nodes). Returns nodes int32 [q, max ef] (-1 pads), their scores in no order,
    how many were found int64 [q] and how many products were computed int64 [q].
    """
    q = len(queries)
    widest = 1
    for r in range(q):
        widest = max(widest, efs[r])
    out = np.full((q, widest), -1, np.int32)
    out_scores = np.full((q, widest), -np.inf, np.float32)
    counts = np.zeros(q, np.int64)
    products = np.zeros(q, np.int64)
    front_scores, front = np.empty(4096, np.float32), np.empty(4096, np.int32)
    beam_scores, beam = np.empty(widest, np.float32), np.empty(widest, np.int32)
    found_scores, found = np.empty(widest, np.float32), np.empty(widest, np.int32)
    ahead = np.empty(base.shape[1], np.int32)
    filtered = some and mode == BLIND
    inside = some and mode == INSIDE
    for r in range(q):
        query = queries[r]
        ef = efs[r]
        turn += 1
        waiting = held = kept = 0
        computed = 0
        # Where to begin: down the layers, or at the best of a sample of what passes.
        if inside:
            starts = min(len(seeds), 8)
            first_scores, first = np.empty(starts, np.float32), np.empty(starts, np.int32)
            got = 0
            for a in range(len(seeds)):
                got = _keep(first_scores, first, got, starts, _dot(query, table[seeds[a]]), seeds[a])
            computed += len(seeds)
        else:
            node = entry
            score = _dot(query, table[node])
            computed += 1
            for level in range(levels[entry], 0, -1):
                moved = True
                while moved:
                    moved = False
                    row = upper_at[node] + level - 1
                    for a in range(upper.shape[1]):
                        other = upper[row, a]
                        if other < 0:
                            break
                        value = _dot(query, table[other])
                        computed += 1
                        if value > score:
                            node, score, moved = other, value, True
            first_scores, first = np.array([score], np.float32), np.array([node], np.int32)
            got = 1
        for a in range(got):
            stamp[first[a]] = turn
            _push(front_scores, front, waiting, first_scores[a], first[a], 1.0)
            waiting += 1
            held = _keep(beam_scores, beam, held, ef, first_scores[a], first[a])
            if filtered and passing[first[a]]:
                kept = _keep(found_scores, found, kept, ef, first_scores[a], first[a])
        while waiting > 0:
            score, node = front_scores[0], front[0]
            if held == ef and score < beam_scores[0]:
                break
            _drop(front_scores, front, waiting, 1.0)
            waiting -= 1
            # Whom to look at from here.
            many = 0
            for a in range(base.shape[1]):
                other = base[node, a]
                if other < 0 or many == len(ahead):
                    break
                if stamp[other] == turn:
                    continue
                if not inside or passing[other]:
                    stamp[other] = turn
                    ahead[many] = other
                    many += 1
                    continue
                whole = True
                for b in range(base.shape[1]):
                    third = base[other, b]
                    if third < 0:
                        break
                    if passing[third] and stamp[third] != turn:
                        if many == len(ahead):
                            whole = False
                            break
                        stamp[third] = turn
                        ahead[many] = third
                        many += 1
                if whole:
                    stamp[other] = turn
            computed += many
            for a in range(many):
                other = ahead[a]
                value = _dot(query, table[other])
                if held == ef and value <= beam_scores[0]:
                    if filtered and passing[other]:
                        kept = _keep(found_scores, found, kept, ef, value, other)
                    continue
                held = _keep(beam_scores, beam, held, ef, value, other)
                if filtered and passing[other]:
                    kept = _keep(found_scores, found, kept, ef, value, other)
                if waiting == len(front):
                    bigger_scores, bigger = np.empty(2 * waiting, np.float32), np.empty(2 * waiting, np.int32)
                    bigger_scores[:waiting], bigger[:waiting] = front_scores, front
                    front_scores, front = bigger_scores, bigger
                _push(front_scores, front, waiting, value, other, 1.0)
                waiting += 1
        counts[r] = kept if filtered else held
        for a in range(counts[r]):
            out[r, a] = found[a] if filtered else beam[a]
            out_scores[r, a] = found_scores[a] if filtered else beam_scores[a]
        products[r] = computed
    return out, out_scores, counts, products
