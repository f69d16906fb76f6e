"""Bayesian personalised ranking by stochastic gradient steps, one triple after the other."""

from __future__ import annotations

import numpy as np
from numba import njit

from oakum.kernels.tile import FAST, prefetch

AHEAD = 4  # triples whose rows are asked for before they are reached


@njit(cache=True, nogil=True, fastmath=FAST)
def descend(users, items, who, had, others, rate, l2):  # type: ignore[no-untyped-def]
    """Move the tables users [u, d] and items [i, d] in place, one step a triple, in the order given.

    who, had int64 [b], others int64 [b, n]. For each (p, q, o) the loss softplus(p·o − p·q) + l2/2 (|p|² + |q|² + |o|²) goes
    down its gradient at `rate`, all three rows moving from where they were (Rendle et al. 2009). Returns the means of the
    two parts of the loss, each triple's taken before it moves. One thread: every step sees those before it.
    """
    d, n = users.shape[1], others.shape[1]
    one = users.dtype.type(1)
    rate, l2 = users.dtype.type(rate), users.dtype.type(l2)
    keep = one - rate * l2
    ranking, squares, product = 0.0, 0.0, 1.0
    for r in range(len(who)):
        if r + AHEAD < len(who):
            p, q = who[r + AHEAD] * d, had[r + AHEAD] * d
            for c in range(0, d, 16):
                prefetch(users, p + c)
                prefetch(items, q + c)
            for k in range(n):
                o = others[r + AHEAD, k] * d
                for c in range(0, d, 16):
                    prefetch(items, o + c)
        p, q = users[who[r]], items[had[r]]
        for k in range(n):
            o = items[others[r, k]]
            margin, square = one - one, one - one
            for c in range(d):
                margin += p[c] * (q[c] - o[c])
                square += p[c] * p[c] + q[c] * q[c] + o[c] * o[c]
            # softplus(-x) = max(0, -x) - log(1 / (1 + exp(-|x|))), and one logarithm of a product serves for many triples.
            small = np.exp(-abs(margin))
            right = one / (one + small)
            wrong = small * right if margin > 0 else right
            ranking += max(0.0, -np.float64(margin))
            product *= np.float64(right)
            if product < 1e-200:
                ranking -= np.log(product)
                product = 1.0
            squares += np.float64(square)
            step = rate * wrong
            for c in range(d):
                a, b, e = p[c], q[c], o[c]
                p[c] = keep * a + step * (b - e)
                q[c] = keep * b + step * a
                o[c] = keep * e - step * a
    ranking -= np.log(product)
    total = max(1, len(who) * n)
    return ranking / total, 0.5 * np.float64(l2) * squares / total
