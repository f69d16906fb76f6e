# mypy: disable-error-code="no-untyped-def"
"""Bayesian personalised ranking by stochastic gradient steps, one triple after the other."""

from __future__ import annotations

import numpy as np
from numba import njit

from oakum.kernels.tile import FAST, prefetch

AHEAD = 4  # triples whose rows are asked for before they are reached


@njit(cache=True, nogil=True, fastmath=FAST)
def descend(users, items, who, had, others, rate, l2):
    """Move the tables users [u, d] and items [i, d] in place, one step a triple, in the order given.

    who, had, others int64 [t]. For each (p, q, o) the loss softplus(p·o − p·q) + l2/2 (|p|² + |q|² + |o|²) goes down its
    gradient at `rate`, all three rows moving from where they were (Rendle et al. 2009). Returns the means of the two parts of
    the loss, each triple's taken before it moves. One thread: every step sees those before it. Neighbours that share no row
    are taken together, which changes no bit: one waits for its sums while the other is added up.
    """
    d, n = users.shape[1], len(who)
    one = users.dtype.type(1)
    rate, l2 = users.dtype.type(rate), users.dtype.type(l2)
    keep = one - rate * l2
    ranking, squares, product = 0.0, 0.0, 1.0
    at = 0
    while at < n:
        for r in range(at + AHEAD, min(n, at + AHEAD + 2)):
            for c in range(0, d, 16):
                prefetch(users, who[r] * d + c)
                prefetch(items, had[r] * d + c)
                prefetch(items, others[r] * d + c)
        i, j, k = who[at], had[at], others[at]
        p, q, o = users[i], items[j], items[k]
        margin, square = _look(p, q, o)
        wrong, right = _slope(margin, one)
        at += 1
        if at < n:
            j2, k2 = had[at], others[at]
            if who[at] != i and j2 != j and j2 != k and k2 != j and k2 != k:
                p2, q2, o2 = users[who[at]], items[j2], items[k2]
                margin2, square2 = _look(p2, q2, o2)
                wrong2, right2 = _slope(margin2, one)
                _move(p2, q2, o2, keep, rate * wrong2)
                ranking += max(0.0, -np.float64(margin2))
                product *= np.float64(right2)
                squares += np.float64(square2)
                at += 1
        _move(p, q, o, keep, rate * wrong)
        # softplus(-x) = max(0, -x) - log(1 / (1 + exp(-|x|))), and one logarithm of a product serves for many triples.
        ranking += max(0.0, -np.float64(margin))
        product *= np.float64(right)
        squares += np.float64(square)
        if product < 1e-200:
            ranking -= np.log(product)
            product = 1.0
    ranking -= np.log(product)
    return ranking / max(1, n), 0.5 * np.float64(l2) * squares / max(1, n)


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _look(p, q, o):
    """p·q − p·o, and the squares of the three rows."""
    margin, square = p.dtype.type(0), p.dtype.type(0)
    for c in range(len(p)):
        margin += p[c] * (q[c] - o[c])
        square += p[c] * p[c] + q[c] * q[c] + o[c] * o[c]
    return margin, square


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _slope(margin, one):
    """σ(−margin), and σ(|margin|)."""
    small = np.exp(-abs(margin))
    right = one / (one + small)
    return small * right if margin > 0 else right, right


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _move(p, q, o, keep, step):
    """One step of the three rows."""
    for c in range(len(p)):
        a, b, e = p[c], q[c], o[c]
        p[c] = keep * a + step * (b - e)
        q[c] = keep * b + step * a
        o[c] = keep * e - step * a
