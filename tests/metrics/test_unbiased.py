"""The self-normalised DCG against loops, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.lists import random_lists, ranking, truth
from oakum.data import Ragged
from oakum.errors import ProtocolError
from oakum.metrics import Context, measure
from oakum.metrics.unbiased import self_normalised_dcg
from oakum.recommending import rank_among
from oakum.splits.candidates import sampled_candidates
from tests.oracles.propensities import sndcg


def test_equals_the_loops() -> None:
    rng = np.random.default_rng(0)
    theta = rng.random(40) ** 3
    theta[3] = 1e-6
    lists = [rng.permutation(40)[:10].tolist() for _ in range(50)]
    wanted = [x[:6] for x in random_lists(rng, 50, 12, 40)]
    for k in (1, 3, 10):
        found = self_normalised_dcg(ranking(lists), truth(wanted), theta, k)
        np.testing.assert_allclose(found, sndcg(lists, wanted, theta, k), rtol=1e-6)


def test_by_name_it_takes_the_given_chances_or_the_root_of_popularity() -> None:
    counts = np.array([100, 25, 1, 0])
    found, wanted = ranking([[0, 2, 1, 3]]), truth([[1, 2]])
    by_count = measure(found, wanted, ["sndcg@4"], Context(item_counts=counts))["sndcg@4"]
    assert by_count == pytest.approx(self_normalised_dcg(found, wanted, np.array([1, 0.5, 0.1, 0.1]), 4))
    given = Context(item_counts=counts, propensities=np.full(4, 0.3, np.float32))
    equal = measure(found, wanted, ["sndcg@4"], given)["sndcg@4"]
    assert equal == pytest.approx((1 / np.log2(3) + 1 / 2) / 2)


def test_its_mean_prefers_relevance_where_plain_dcg_prefers_exposure() -> None:
    """Item 0 is shown always, item 1 rarely; item 1 is relevant more often."""
    rng = np.random.default_rng(1)
    theta, gamma = np.array([1.0, 0.1]), np.array([0.3, 0.6])
    clicks = (rng.random((40_000, 2)) < theta) & (rng.random((40_000, 2)) < gamma)
    kept = clicks[clicks.any(1)]
    wanted = truth([np.flatnonzero(row).tolist() for row in kept])
    by = {first: ranking([[first, 1 - first]] * len(kept)) for first in (0, 1)}
    mean = lambda m, t: float(np.mean(self_normalised_dcg(by[m], wanted, t, 1)))
    assert mean(0, np.ones(2)) > mean(1, np.ones(2))
    total = lambda first: float((clicks[:, first] / theta[first]).sum())
    assert total(1) > total(0)


def test_too_few_propensities_are_refused() -> None:
    with pytest.raises(ProtocolError, match="propensities of 2 items"):
        self_normalised_dcg(ranking([[0]]), truth([[5]]), np.ones(2), 1)


class Falling:
    """Scores items by falling code; cannot say anything about item 4."""

    def score(self, queries, items=None):
        out = -np.asarray(items, np.float32)
        out[items < 0] = np.nan
        out[items == 4] = np.nan
        return out


def test_candidates_are_the_relevant_ones_and_n_fresh_others() -> None:
    wanted = truth([[1, 2], [7], [0, 3]])
    wanted = type(wanted)(wanted.users, wanted.relevant, Ragged.of([[5], [], [1, 2, 4, 5, 6, 7, 8]]))
    found = sampled_candidates(wanted, 10, 4)
    for q, n in enumerate((6, 5, 3)):
        row = set(found.row(q).tolist())
        assert len(row) == len(found.row(q)) == n
        assert set(wanted.relevant.row(q).tolist()) <= row
        assert not row & set(wanted.histories.row(q).tolist())
    one = sampled_candidates(wanted.take(np.array([1])), 10, 4)
    assert one.row(0).tolist() == found.row(1).tolist()
    assert sampled_candidates(wanted, 10, 4, seed=1).items.tolist() != found.items.tolist()


def test_ranking_among_candidates() -> None:
    wanted = truth([[1], [2], [3]])
    candidates = Ragged.of([[4, 9, 3, 1], [], [6, 2]])
    found = rank_among(Falling(), wanted.queries, candidates, 3, block=2)
    assert found.items.tolist() == [[1, 3, 9], [-1, -1, -1], [2, 6, -1]]
    assert np.isnan(found.scores[1]).all()
    assert found.scores[0].tolist() == [-1, -3, -9]
