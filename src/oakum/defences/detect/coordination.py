"""Accounts that act together: what a batch of new events has in common that the past does not explain."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset
from oakum.defences.detect.base import Detector, Floats
from oakum.parameters import Range
from oakum.seeds import generator


def surprise(batch: sparse.csr_matrix, past: NDArray[np.int64]) -> Floats:
    """How far each item's count in a batch exceeds what its past popularity explains, float64 [items], 0 and up.

    The Poisson log-likelihood ratio o log(o / e) − (o − e) where o > e, with o = accounts of the batch that have the item,
    e = events of the batch · (past count + ½) / Σ (past counts + ½). batch: binary CSR [accounts, items].
    """
    observed = np.bincount(batch.indices, minlength=len(past)).astype(np.float64)
    share = (past + 0.5) / (past.sum() + 0.5 * len(past))
    expected = batch.nnz * share
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = observed * np.log(observed / expected) - (observed - expected)
    out: Floats = np.where(observed > expected, ratio, 0.0)
    return out


def coordination(batch: sparse.csr_matrix, past: NDArray[np.int64]) -> Floats:
    """Evidence that each account of a batch acts with others of it, float64 [accounts].

    s_u = |I_u|^(−1/2) Σ_{i ∈ I_u} surprise_i / n_i · min(n_i − 1, 20), n_i accounts of the batch that have i: an item that
    surges because many new accounts have it counts for each of them, one that an account alone has counts nothing, and
    a long profile is not suspicious for being long. O(events of the batch).
    """
    counts = np.bincount(batch.indices, minlength=len(past)).astype(np.float64)
    shared = np.minimum(counts - 1, 20).clip(0)
    worth = surprise(batch, past) / np.maximum(counts, 1) * shared
    return np.asarray(batch @ worth).ravel() / np.sqrt(np.maximum(np.diff(batch.indptr), 1))


class Coordination(Detector):
    """Hold accounts that surge together on the same items.

    Each account is scored by `coordination` against what the other accounts have. On a log as a whole the knee of the
    scores decides. On a delivery with a past, the bar is set without labels: batches of accounts drawn from the past are
    scored the same way, and their 1 − `false_share` quantile is what an honest account may reach. Memory and time
    O(events · repeats). Ours, after the burst and co-bipartite detectors of review spam.
    """

    slug = "coordination"
    share: Annotated[float | None, Range(0, 0.5), "share of accounts flagged; none takes the bar"] = None
    false_share: Annotated[float, Range(above=0, below=1), "share of honest accounts that may be held"] = 0.005
    repeats: Annotated[int, Range(1, 1000), "batches drawn from the past for the bar"] = 20
    fold: Annotated[float, Range(above=0, high=0.5), "share of a log taken as one batch when there is no past"] = 0.1

    def scores(self, data: Dataset) -> Floats:
        """Each account within a random tenth of the log, against the other nine; float64 [users], NaN without events."""
        out = np.full(data.num_users, np.nan)
        # A sum of random numbers of its items puts an account in a part: by chance, and whatever the account is called.
        draws = generator(0, "coordination").random(data.num_items)
        parts = ((data.matrix @ draws) % 1 / self.fold).astype(np.int64)
        for number in np.unique(parts):
            part = np.flatnonzero((parts == number) & (data.user_counts > 0))
            if len(part):
                out[part] = self.judge(data.matrix[part], data.item_counts - _counts(data.matrix[part]))
        return out

    def judge(self, batch: sparse.csr_matrix, past: NDArray[np.int64]) -> Floats:
        """Scores of the accounts of a batch against past counts."""
        return coordination(batch, past)

    def bar(self, history: sparse.csr_matrix, size: int, *, seed: int = 0) -> float:
        """What an honest account of a batch of `size` accounts may score: the 1 − false_share quantile over `repeats`
        batches of accounts drawn from the past, each judged against the rest of it. history: binary CSR [accounts, items].
        """
        active = np.flatnonzero(np.diff(history.indptr))
        total = _counts(history)
        size = max(1, min(size, len(active) // 2))
        seen = []
        for r in range(self.repeats):
            drawn = generator(seed, "quarantine bar", r).choice(active, size, replace=False)
            part = history[drawn]
            seen.append(self.judge(part, total - _counts(part)))
        return float(np.quantile(np.concatenate(seen), 1 - self.false_share))


def _counts(matrix: sparse.csr_matrix) -> NDArray[np.int64]:
    return np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.int64)
