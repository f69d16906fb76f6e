"""Row solves of weighted least squares: the inner loop of alternating least squares, and the fold-in of a new row.

All rows share one Gram matrix, so it is taken apart once: in the basis of its eigenvectors, scaled by its eigenvalues and
the row's ridge, a row's system is 1 + extra Σ q qᵀ. Rows of few events are then solved by a matrix of their events
(|row| × |row|) in place of one of the factors (d × d), and conjugate gradients start from the best preconditioner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from oakum.kernels.spread import parts, spread
from oakum.kernels.tile import FAST, cholesky_solve, gram_into, prefetch, product_into

HELD = 1024  # rows of the table that a solve holds at once: in cache, next to its sums
AHEAD = 6  # rows that are asked for before they are read


def weighted_rows(
    factors: NDArray[Any],
    gram: NDArray[Any],
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    ridge: NDArray[Any],
    extra: float = 1.0,
    target: float = 1.0,
    *,
    start: NDArray[Any] | None = None,
    steps: int = 0,
) -> NDArray[Any]:
    """p_r = (gram + extra Σ_{i in row r} q_i q_iᵀ + ridge_r · 1)⁻¹ target Σ_{i in row r} q_i, [rows, d].

    factors: float32 or float64 [items, d], which the result takes over; gram [d, d], symmetric and already times its
    weight, and ridge [rows] above 0. extra: weight of an observed cell beyond the gram's; target: weight times value of
    the right side. An empty row gives zeros. steps = 0 solves exactly, else so many steps of conjugate gradients from
    `start` [rows, d] (None: from 0). Rows are independent and their sums have one order, so threads change nothing.
    Cost a row: exactly min(|row| d² + d³ / 3, |row|² d + |row|³ / 3), else 2 (steps + 1) |row| d.
    """
    kind = factors.dtype.type
    n, d = len(indptr) - 1, factors.shape[1]
    width = -(-d // 16) * 16
    if n == 0 or len(indices) == 0:
        return np.zeros((n, d), kind)
    if len(indices) < len(factors):  # few of the rows are read: the others need not be turned
        factors, indices = factors[indices], np.arange(len(indices), dtype=np.int32)
    whiten = n >= 8 or steps > 0
    left, weights, basis = np.zeros((width, width), kind), np.zeros(width), np.eye(d, width, dtype=kind)
    if whiten:
        values, vectors = np.linalg.eigh(np.asarray(gram, np.float64))
        weights[:d] = np.maximum(values, 0)
        basis[:, :d] = vectors
    else:
        left[:d, :d] = gram
    table = _product(np.empty((len(factors), width), kind), factors, basis)
    out = np.zeros((n, width), kind)
    if start is not None and steps:
        _product(out, np.asarray(start, kind), basis)
    lengths = np.diff(indptr)
    longest = int(lengths.max())
    ridge = np.asarray(ridge, np.float64)
    cost = lengths * (4.0 * steps + 4.0 if steps else float(d)) + d
    spread(
        lambda low, high: _solve(
            out, table, indptr, indices, weights, ridge, left, whiten, kind(extra), kind(target), steps, longest, d, low, high
        ),
        parts(cost, float(cost.sum()) * d),
    )  # fmt: skip
    if whiten:
        back = np.zeros((width, width), kind)
        back[:d, :d] = basis[:, :d].T
        _product(out, out, back)
    return np.ascontiguousarray(out[:, :d])


def gram_of(factors: NDArray[Any]) -> NDArray[Any]:
    """factorsᵀ factors, float64 [d, d]: products of a thousand rows at a time in the factors' own precision, added up in
    float64 in one order."""
    d = factors.shape[1]
    width = -(-d // 16) * 16
    upper = np.triu(_gram(np.ascontiguousarray(factors), width)[:d, :d])
    return np.asarray(upper + np.triu(upper, 1).T)


def _product(out: NDArray[Any], left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """out = left right, on threads where it is worth it."""
    left = np.ascontiguousarray(left)
    work = float(len(out)) * left.shape[1] * right.shape[1] / 8  # a product runs much quicker than a solve
    spread(lambda low, high: product_into(out, left, right, low, high), parts(np.ones(len(out), np.int64), work))
    return out


@njit(cache=True, nogil=True)
def _gram(factors, width):  # type: ignore[no-untyped-def]
    n, d = factors.shape
    total = np.zeros((width, width), np.float64)
    block = np.zeros((HELD, width), factors.dtype)
    part = np.zeros((width, width), factors.dtype)
    for low in range(0, n, HELD):
        count = min(HELD, n - low)
        for a in range(count):
            for c in range(d):
                block[a, c] = factors[low + a, c]
        part[:] = 0
        gram_into(part, block, count, width)
        total += part
    return total


@njit(cache=True, nogil=True, fastmath=FAST)
def _gather(block, table, indices, low, high, root):  # type: ignore[no-untyped-def]
    """block[a] = root · table[indices[low + a]]."""
    width = table.shape[1]
    for at in range(low, high):
        if at + AHEAD < high:
            ahead = np.intp(indices[at + AHEAD]) * width
            for c in range(0, width, 16):
                prefetch(table, ahead + c)
        row, out = table[indices[at]], block[at - low]
        for c in range(width):
            out[c] = row[c] * root[c]


@njit(cache=True, nogil=True, fastmath=FAST)
def _pass(block, n, x, y, constant, slope):  # type: ignore[no-untyped-def]
    """y += Σ_a (constant + slope <block_a, x>) block_a over the first n rows, four at a time."""
    zero = x.dtype.type(0)
    width = len(x)
    done = n - n % 4
    for a in range(0, done, 4):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for c in range(width):
            v = x[c]
            s0 += block[a, c] * v
            s1 += block[a + 1, c] * v
            s2 += block[a + 2, c] * v
            s3 += block[a + 3, c] * v
        s0, s1, s2, s3 = constant + slope * s0, constant + slope * s1, constant + slope * s2, constant + slope * s3
        for c in range(width):
            y[c] += s0 * block[a, c] + s1 * block[a + 1, c] + s2 * block[a + 2, c] + s3 * block[a + 3, c]
    for a in range(done, n):
        s0 = zero
        for c in range(width):
            s0 += block[a, c] * x[c]
        s0 = constant + slope * s0
        for c in range(width):
            y[c] += s0 * block[a, c]


@njit(cache=True, nogil=True, fastmath=FAST)
def _solve(  # type: ignore[no-untyped-def]
    out, table, indptr, indices, weights, ridge, left, whiten, extra, target, steps, longest, d, first, last
):
    """Rows [first, last) of the solution in the basis of the table, into out [rows, width], which holds the start."""
    width = table.shape[1]
    zero, one = table.dtype.type(0), table.dtype.type(1)
    held = min(longest, HELD)
    block = np.empty((held, width), table.dtype)
    few = d * 5 // 8 if whiten else 0  # rows of no more events than this are solved by their events
    turned = np.empty((width, width), table.dtype)
    flat = np.empty(width * width, table.dtype)
    root = np.ones(width, table.dtype)
    right, residual, move, product = (
        np.empty(width, table.dtype),
        np.empty(width, table.dtype),
        np.empty(width, table.dtype),
        np.empty(width, table.dtype),
    )
    for r in range(first, last):
        low, high = indptr[r], indptr[r + 1]
        n = high - low
        found = out[r]
        if n == 0:
            for c in range(width):
                found[c] = zero
            continue
        if whiten:
            for c in range(d):
                root[c] = 1 / np.sqrt(weights[c] + ridge[r])
        whole = n <= held
        if whole:
            _gather(block, table, indices, low, high, root)
        if steps > 0:
            for c in range(width):
                found[c] /= root[c]
                residual[c] = -found[c]
            for at in range(low, high, held):
                stop = min(high, at + held)
                if not whole:
                    _gather(block, table, indices, at, stop, root)
                _pass(block, stop - at, found, residual, target, -extra)
            size = zero
            for c in range(width):
                move[c] = residual[c]
                size += residual[c] * residual[c]
            for _ in range(steps):
                if size <= 1e-30:
                    break
                for c in range(width):
                    product[c] = move[c]
                for at in range(low, high, held):
                    stop = min(high, at + held)
                    if not whole:
                        _gather(block, table, indices, at, stop, root)
                    _pass(block, stop - at, move, product, zero, extra)
                bend = zero
                for c in range(width):
                    bend += move[c] * product[c]
                alpha = size / bend
                again = zero
                for c in range(width):
                    found[c] += alpha * move[c]
                    residual[c] -= alpha * product[c]
                    again += residual[c] * residual[c]
                beta = again / size
                size = again
                for c in range(width):
                    move[c] = residual[c] + beta * move[c]
        elif n <= few:
            tall = (n + 15) // 16 * 16
            for a in range(n):
                for c in range(d):
                    turned[c, a] = block[a, c]
            for a in range(n, tall):
                for c in range(d):
                    turned[c, a] = zero
            matrix = flat[: tall * tall].reshape((tall, tall))
            matrix[:] = zero
            gram_into(matrix, turned, d, tall)
            for a in range(tall):
                for b in range(tall):
                    matrix[a, b] *= extra
                matrix[a, a] += one
                right[a] = target if a < n else zero
            cholesky_solve(matrix, right, n, tall)
            for c in range(width):
                found[c] = zero
            for a in range(n):
                for c in range(width):
                    found[c] += right[a] * block[a, c]
        else:
            for c in range(width):
                right[c] = zero
            matrix = flat.reshape((width, width))
            matrix[:] = zero
            for at in range(low, high, held):
                stop = min(high, at + held)
                if not whole:
                    _gather(block, table, indices, at, stop, root)
                gram_into(matrix, block, stop - at, width)
                for a in range(stop - at):
                    for c in range(width):
                        right[c] += block[a, c]
            for a in range(width):
                for c in range(width):
                    matrix[a, c] = left[a, c] + extra * matrix[a, c]
                right[a] *= target
                if whiten or a >= d:
                    matrix[a, a] += one
                else:
                    matrix[a, a] += table.dtype.type(ridge[r])
            cholesky_solve(matrix, right, d, width)
            for c in range(width):
                found[c] = right[c]
        if whiten:
            for c in range(width):
                found[c] *= root[c]


def loss(
    users: NDArray[np.floating],
    items: NDArray[np.floating],
    indptr: NDArray[np.integer],
    indices: NDArray[np.integer],
    unobserved: float,
    ridge_users: NDArray[np.floating],
    ridge_items: NDArray[np.floating],
    extra: float = 1.0,
    target: float = 1.0,
) -> float:
    """What `weighted_rows` descends, in float64: a₀ Σ_all s² + Σ_observed (extra s² − 2 target s + target) +
    Σ_u λ_u |p_u|² + Σ_i λ_i |q_i|² with s = p·q.

    With extra = target = 1 the observed part is (s − 1)²; with a₀ = 1, extra = α and target = 1 + α the first two
    parts are Σ_all C (P − s)² of confidences C = 1 + α P.
    """
    p, q = users.astype(np.float64), items.astype(np.float64)
    owners = np.repeat(np.arange(len(p)), np.diff(indptr))
    seen = np.einsum("ed,ed->e", p[owners], q[indices])
    everything = np.einsum("de,de->", p.T @ p, q.T @ q)
    observed = (extra * seen**2 - 2 * target * seen + target).sum()
    return float(observed + unobserved * everything + ridge_users @ (p**2).sum(1) + ridge_items @ (q**2).sum(1))
