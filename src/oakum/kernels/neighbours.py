"""Similarity graphs between the columns of a sparse matrix, a column at a time: never a dense items × items array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from oakum.kernels.spread import even, spread

PLAIN, NORMED, SCALED = 0, 1, 2  # how an inner product becomes a similarity
SCATTERED = 16  # multiplications that a sum at a place apart costs, with the search for the best among them


def neighbours(
    x: sparse.csr_matrix,
    k: int,
    *,
    norms: NDArray[np.float32] | None = None,
    shrink: float = 0.0,
    side: str = "candidate",
    block: int = 4096,
    progress: Callable[[float], None] | None = None,
) -> sparse.csr_matrix:
    """The k most similar columns of each column: CSR S [items, items], S[i, j] = <x_i, x_j> / (norm_i norm_j + shrink).

    side="candidate" keeps the k largest of each column j (the neighbours of the candidate), "history" of each row i
    (the neighbours of what the person had); of equal ones those of lower code. The diagonal is zero. Scores of a history
    are H @ S. Time: the sum of squared row lengths; memory: items · k.
    """
    n = x.shape[1]
    scale = np.ones(n, np.float32) if norms is None else np.asarray(norms, np.float32)
    form = PLAIN if norms is None else NORMED
    items, weights, counts = _best(x, k, form, scale, scale, float(np.float32(shrink)), False, block, progress)
    if side == "candidate":
        found = _turned(items, weights, counts)
    else:
        filled = np.arange(k) < counts[:, None]
        found = (weights[filled], items[filled], np.concatenate([[0], np.cumsum(counts)]))
    graph = sparse.csr_matrix(found, shape=(n, n))
    graph.sort_indices()
    return graph


def cooccurring(
    x: sparse.csr_matrix,
    k: int,
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    *,
    diagonal: bool = False,
    block: int = 4096,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k largest left_i G_ij right_j of each row i of G = xᵀx: items int32 [items, k], weights float32 [items, k].

    Largest first, equal ones by code; where fewer than k are above 0, item -1 of weight 0. diagonal: whether an item may be
    among its own. Time: the sum of squared row lengths; memory: items · k.
    """
    scales = (np.asarray(left, np.float64), np.asarray(right, np.float64))
    items, weights, counts = _best(x, k, SCALED, *scales, 0.0, diagonal, block, None)
    _sort(items, weights, counts)
    return items, weights.astype(np.float32)


def nearest_rows(
    x: sparse.csr_matrix,
    xt: sparse.csr_matrix,
    queries: sparse.csr_matrix,
    k: int,
    norms: NDArray[np.float32],
    shrink: float,
) -> NDArray[np.float32]:
    """Σ over the k rows v of x most like each query of cos(q, v) x_v, float32 [queries, columns], for matrices of ones.

    cos(q, v) = common / (√|q| norm_v + shrink), of equal ones the lower rows. xt: x transposed. Time a query: the events of
    all who share a column with it, and those of the k.
    """
    out = np.zeros((queries.shape[0], x.shape[1]), np.float32)
    own = np.sqrt(np.diff(queries.indptr)).astype(np.float32)
    run = lambda low, high: _score_rows(
        out, queries.indptr, queries.indices, xt.indptr, xt.indices, x.indptr, x.indices, own, norms, float(shrink), k, low, high
    )  # fmt: skip
    spread(run, even(len(out), queries.nnz * (x.nnz / max(1, x.shape[1]))))
    return out


def half_gram(x: sparse.csr_matrix) -> NDArray[np.float32]:
    """How many rows have both columns, float32 [n, n], for a matrix of ones: i ≤ j is filled, what lies below is 0.

    Time: half the sum of squared row lengths; memory 4 n² bytes.
    """
    n = x.shape[1]
    rows = x.tocsr()
    places = sparse.csr_matrix((np.arange(rows.nnz, dtype=np.int64), rows.indices, rows.indptr), shape=rows.shape)
    columns = places.T.tocsr()
    out = np.zeros((n, n), np.float32)
    unsigned = rows.indices.astype(np.uint32)
    run = lambda low, high: _half(out, rows.indptr, unsigned, columns.indptr, columns.indices, columns.data, low, high)
    spread(run, even(n, 0.5 * float((np.diff(rows.indptr).astype(np.float64) ** 2).sum())))
    return out


def _best(
    x: sparse.csr_matrix,
    k: int,
    form: int,
    left: NDArray[Any],
    right: NDArray[Any],
    shrink: float,
    diagonal: bool,
    block: int,
    progress: Callable[[float], None] | None,
) -> tuple[NDArray[np.int32], NDArray[Any], NDArray[np.int64]]:
    """The k best of every column, in no order: items [n, k] (-1), similarities [n, k] (float64 where SCALED, else float32),
    how many there are [n]."""
    n = x.shape[1]
    rows = x.tocsr()
    unsigned = rows.indices.astype(np.uint32)  # no index is looked at twice to see whether it counts from the end
    ones = bool((rows.data == 1).all())
    columns = rows.T.tocsr()  # its rows, the columns of x, name the users of each in order
    by_row, by_column = (np.asarray(m.data, np.float32) for m in (rows, columns))
    kind = np.float64 if form == SCALED else np.float32
    items, weights = np.full((n, k), -1, np.int32), np.zeros((n, k), kind)
    counts = np.zeros(n, np.int64)
    work = float((np.diff(rows.indptr).astype(np.float64) ** 2).sum())
    for start in range(0, n, block):
        stop = min(n, start + block)
        run = lambda low, high, start=start: _nearest(
            items, weights, counts, rows.indptr, unsigned, by_row, columns.indptr, columns.indices, by_column, ones,
            form, left, right, shrink, diagonal, k, start + low, start + high,
        )  # fmt: skip
        spread(run, even(stop - start, SCATTERED * work))
        if progress is not None:
            progress(stop / n)
    return items, weights, counts


@njit(cache=True, nogil=True)
def _half(out, indptr, indices, users_ptr, users, places, first, last):  # type: ignore[no-untyped-def]
    """Rows [first, last): every user of a column adds one at the columns from it on."""
    for own in range(first, last):
        sums = out[own]
        for at in range(users_ptr[own], users_ptr[own + 1]):
            row = indices[places[at] : indptr[users[at] + 1]]
            for c in range(len(row)):
                sums[row[c]] += np.float32(1)


@njit(cache=True, nogil=True)
def _worse(a, i, b, j):  # type: ignore[no-untyped-def]
    """Whether (value a, code i) ranks after (value b, code j)."""
    return a < b or (a == b and i > j)


@njit(cache=True, nogil=True)
def _offer(values, codes, size, k, value, code):  # type: ignore[no-untyped-def]
    """Put a candidate into a heap of the k best whose worst is on top; the number it then holds."""
    if size < k:
        at = size
        size += 1
        while at > 0:
            parent = (at - 1) >> 1
            if not _worse(value, code, values[parent], codes[parent]):
                break
            values[at], codes[at] = values[parent], codes[parent]
            at = parent
    else:
        if not _worse(values[0], codes[0], value, code):
            return size
        at = 0
        while True:
            child = 2 * at + 1
            if child >= k:
                break
            if child + 1 < k and _worse(values[child + 1], codes[child + 1], values[child], codes[child]):
                child += 1
            if not _worse(values[child], codes[child], value, code):
                break
            values[at], codes[at] = values[child], codes[child]
            at = child
    values[at], codes[at] = value, code
    return size


@njit(cache=True, nogil=True)
def _keep(scores, codes, m, k, values, items, bins, rough):  # type: ignore[no-untyped-def]
    """The k best of m candidates into values [k] and items [k], in no order; how many there are. rough float32 [> m];
    scores and codes are written over.

    Candidates are counted by the leading bits of their scores, from the best down; only those that fall where the count
    passes k are compared one by one.
    """
    if m <= k:
        for c in range(m):
            values[c], items[c] = scores[c], codes[c]
        return m
    bits = rough.view(np.int32)  # of numbers that are not negative in the order of the numbers, and quicker to compare
    top = np.int32(0)
    for c in range(m):
        rough[c] = scores[c]
    for c in range(m):
        top = max(top, bits[c])
    last = len(bins) - 1
    base = (top >> 18) - np.int32(last)
    for c in range(m):
        bits[c] = max(np.int32(0), (bits[c] >> 18) - base)
    bins[:] = 0
    for c in range(m):
        bins[bits[c]] += 1
    edge, above = last, np.int64(0)
    while above + bins[edge] < k:
        above += bins[edge]
        edge -= 1
    size, held = np.int64(0), np.int64(0)
    for c in range(m):  # what is not wanted is written over by what comes next
        score, code = scores[c], codes[c]
        values[size], items[size] = score, code
        size += bits[c] > edge
        scores[held], codes[held] = score, code
        held += bits[c] == edge
    size, low, kept = np.int64(0), values[above:], items[above:]
    for c in range(held):
        size = _offer(low, kept, size, k - above, scores[c], codes[c])
    return k


@njit(cache=True, nogil=True)
def _nearest(  # type: ignore[no-untyped-def]
    items, weights, counts, indptr, indices, data, users_ptr, users, values, ones, form, left, right, shrink, diagonal, k,
    first, last,
):  # fmt: skip
    """The k best of the columns [first, last), each by adding up the rows that have it."""
    n = len(users_ptr) - 1
    times = np.zeros(n, np.int32)
    sums = np.zeros(n, np.float32)
    touched = np.empty(n + 1, np.uint32)
    scores, codes, rough = np.empty(n + 1, weights.dtype), np.empty(n + 1, np.uint32), np.empty(n + 1, np.float32)
    scale, bins = np.empty(n + 1, right.dtype), np.zeros(1024, np.int32)
    for own in range(first, last):
        work = 0
        for at in range(users_ptr[own], users_ptr[own + 1]):
            work += indptr[users[at] + 1] - indptr[users[at]]
        count = np.uintp(0)
        everything = work > 2 * n  # so many additions that it is quicker to look at all sums than to list the touched
        for at in range(users_ptr[own], users_ptr[own + 1]):
            low, high = indptr[users[at]], indptr[users[at] + 1]
            row = indices[low:high]
            if not ones:
                factor, weight = values[at], data[low:high]
                for c in range(len(row)):
                    sums[row[c]] += factor * weight[c]
            if everything and ones:
                for c in range(len(row)):
                    times[row[c]] += np.int32(1)
            elif not everything:
                for c in range(len(row)):
                    j = row[c]
                    before = times[j]
                    times[j] = before + np.int32(1)
                    touched[count] = j
                    count += np.uintp(before == 0)
        if everything:
            count = np.uintp(n)
            for j in range(n):
                touched[j] = j
        m, mine = np.uintp(0), left[own]
        for c in range(count):  # gather, then divide in one sweep
            j = touched[c]
            value = np.float32(times[j]) if ones else sums[j]
            times[j] = 0
            sums[j] = 0
            rough[m], scale[m], codes[m] = value, right[j], j
            m += np.uintp(value != 0 and (diagonal or j != np.uint32(own)))
        if form == 0:
            for c in range(m):
                scores[c] = rough[c]
        elif form == 1:
            for c in range(m):
                scores[c] = rough[c] / (np.float32(scale[c] * mine) + np.float32(shrink) + np.float32(1e-12))
        else:
            above = np.uintp(0)
            for c in range(m):
                score = mine * rough[c] * scale[c]
                scores[above], codes[above] = score, codes[c]
                above += np.uintp(score > 0)
            m = above
        counts[own] = _keep(scores, codes, np.int64(m), k, weights[own], items[own], bins, rough)


@njit(cache=True, nogil=True)
def _sort(items, weights, counts):  # type: ignore[no-untyped-def]
    """Put every row in order, the best first."""
    values, codes = np.empty(items.shape[1]), np.empty(items.shape[1], np.int32)
    for r in range(len(items)):
        size, k = 0, counts[r]
        for c in range(k):
            size = _offer(values, codes, size, k, weights[r, c], items[r, c])
        for c in range(k - 1, -1, -1):  # the worst is on top
            weights[r, c], items[r, c] = values[0], codes[0]
            value, code = values[c], codes[c]
            if c > 0:
                _offer(values, codes, c, c, value, code)


@njit(cache=True, nogil=True)
def _turned(items, weights, counts):  # type: ignore[no-untyped-def]
    """The graph whose rows the kept ones of a column become: values, indices, starts of a CSR with sorted indices."""
    n = len(counts)
    starts = np.zeros(n + 1, np.int64)
    for own in range(n):
        for c in range(counts[own]):
            starts[items[own, c] + 1] += 1
    for j in range(n):
        starts[j + 1] += starts[j]
    place = starts[:-1].copy()
    values, indices = np.empty(starts[n], np.float32), np.empty(starts[n], np.int32)
    for own in range(n):
        for c in range(counts[own]):
            at = place[items[own, c]]
            values[at], indices[at] = weights[own, c], own
            place[items[own, c]] += 1
    return values, indices, starts


@njit(cache=True, nogil=True)
def _score_rows(  # type: ignore[no-untyped-def]
    out, query_ptr, queries, users_ptr, users, indptr, indices, own, norms, shrink, k, first, last
):
    """Rows [first, last) of the weighted sums of the k nearest rows."""
    n = len(indptr) - 1
    sums = np.zeros(n, np.float32)
    touched = np.empty(n + 1, np.int32)
    values, codes = np.empty(k), np.empty(k, np.int32)
    for r in range(first, last):
        count = 0
        for at in range(query_ptr[r], query_ptr[r + 1]):
            for c in range(users_ptr[queries[at]], users_ptr[queries[at] + 1]):
                v = users[c]
                touched[count] = v
                count += sums[v] == 0
                sums[v] += np.float32(1)
        size = 0
        for c in range(count):
            v = touched[c]
            score = sums[v] / (np.float32(own[r] * norms[v]) + np.float32(shrink + 1e-12))
            sums[v] = 0
            if size < k or score >= values[0]:
                size = _offer(values, codes, size, k, np.float64(score), v)
        order = np.argsort(codes[:size])
        for c in order:
            weight, row = np.float32(values[c]), codes[c]
            for at in range(indptr[row], indptr[row + 1]):
                out[r, indices[at]] += weight
