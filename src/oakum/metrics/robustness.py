"""What an attack wins, counted on genuine users only, by one masking rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Ids
from oakum.metrics.estimate import Estimate

Values = NDArray[np.float64]


def target_hits(lists: Ids, targets: Ids, owned: sparse.csr_matrix, k: int) -> Values:
    """T-HR@k by user and target, float64 [users, targets]: 1 where the top k holds the target, 0 where not, NaN for
    a user who has the target already in train, validation or test (`owned`, CSR [users, items])."""
    found = (lists[:, :k, None] == targets[None, None, :]).any(1).astype(np.float64)
    has = np.asarray(owned[:, targets].todense()) > 0
    found[has] = np.nan
    return found


def target_ndcg(lists: Ids, targets: Ids, owned: sparse.csr_matrix, k: int) -> Values:
    """T-NDCG@k by user and target: 1 / log2(place + 1) of the target, 0 outside the top k, NaN where owned."""
    match = lists[:, :k, None] == targets[None, None, :]
    out: Values = (match / np.log2(np.arange(2, k + 2))[None, :, None]).sum(1)
    out[np.asarray(owned[:, targets].todense()) > 0] = np.nan
    return out


def exposure(values: Values, *, seed: int = 0) -> Estimate:
    """Mean over targets of the mean over users who lack the target, bootstrapped over users."""
    from oakum.metrics.statistics import estimate

    means = np.nanmean(values, 0) if len(values) else np.array([np.nan])
    with np.errstate(invalid="ignore"):
        rows = np.where(np.isfinite(values), values, np.nan)
        valid = np.isfinite(rows).any(1)
        per_user = np.full(len(values), np.nan)
        per_user[valid] = np.nanmean(rows[valid], 1)
    found = estimate(per_user, seed=seed)
    shift = float(np.nanmean(means)) - found.value
    return Estimate(found.value + shift, max(0.0, found.low + shift), found.high + shift, found.n, found.how)


def reach(before: Values, after: Values) -> Values:
    """1 for users with any target in the list under attack and none before, a user; NaN where all are owned."""
    usable = np.isfinite(after).any(1)
    won = (np.nan_to_num(after) > 0).any(1) & ~(np.nan_to_num(before) > 0).any(1)
    return np.where(usable, won.astype(float), np.nan)


def lift(before: Values, after: Values) -> float:
    """logit(T-HR after) − logit(T-HR before) with add-half smoothing."""

    def logit(values: Values) -> float:
        hits, n = np.nansum(values), np.isfinite(values).sum()
        return float(np.log((hits + 0.5) / (n - hits + 0.5)))

    return logit(after) - logit(before)


def success_reduction(clean: Estimate, attacked: Estimate, defended: Estimate) -> float:
    """(attacked − defended) / (attacked − clean), clipped to [−1, 1]; NaN where the attack won less than two
    standard errors, for then there is nothing to mend."""
    gain = attacked.value - clean.value
    error = max((attacked.high - attacked.low) / 3.92, 1e-12)
    if not gain > 2 * error:
        return float("nan")
    return float(np.clip((attacked.value - defended.value) / gain, -1, 1))


def budget_to_harm(shares: Values, exposures: Values, harm: float = 0.05) -> float:
    """The smallest share of fake accounts that reaches the exposure, interpolated in the logarithm of the share;
    infinity where the largest tried does not."""
    order = np.argsort(shares)
    shares, exposures = np.asarray(shares)[order], np.asarray(exposures)[order]
    above = np.flatnonzero(exposures >= harm)
    if not len(above):
        return float("inf")
    i = int(above[0])
    if i == 0 or exposures[i] == exposures[i - 1]:
        return float(shares[i])
    share = (harm - exposures[i - 1]) / (exposures[i] - exposures[i - 1])
    return float(np.exp(np.log(shares[i - 1]) + share * (np.log(shares[i]) - np.log(shares[i - 1]))))
