"""Semi-synthetic clicks: the chances are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from oakum.data import Interactions
from oakum.data.semisynthetic import SemiSynthetic, chances, relevance_log, relevant, semi_synthetic
from oakum.errors import DataError
from tests.toys import random_log


def ratings():
    data = random_log(users=120, items=90, events=3000)
    values = np.random.default_rng(0).integers(1, 6, len(data)).astype(np.float32)
    log = data.interactions
    return data.with_interactions(Interactions(log.users, log.items, values, log.times))


SMALL = SemiSynthetic(steps=150, batch_size=64)


def test_clicks_are_shown_and_relevant_and_carry_their_chance() -> None:
    data = semi_synthetic(ratings(), SMALL)
    everyone = np.arange(120)
    gamma, theta = chances(data, everyone)
    log = data.interactions
    assert relevant(data, everyone)[log.users, log.items].all()
    np.testing.assert_allclose(log.fields["propensity"], theta[log.users, log.items], rtol=1e-6)
    assert gamma.min() >= 1 / (1 + np.exp(4)) - 1e-9
    assert gamma.max() <= 0.5 + 1e-9
    assert theta.min() > 0
    wanted, spread = (gamma * theta).sum(), np.sqrt((gamma * theta * (1 - gamma * theta)).sum())
    assert abs(len(log) - wanted) < 4 * spread
    assert abs(relevant(data, everyone).sum() - gamma.sum()) < 4 * np.sqrt((gamma * (1 - gamma)).sum())


def test_the_log_of_relevance_holds_every_click() -> None:
    data = semi_synthetic(ratings(), SMALL)
    whole = relevance_log(data)
    assert (whole.matrix.toarray() > 0).sum() == relevant(data, np.arange(120)).sum()
    assert data.matrix.multiply(whole.matrix).nnz == data.matrix.nnz
    assert "propensity" not in whole.interactions.fields


def test_more_skew_shows_less_and_leaves_relevance_alone() -> None:
    one, two = (semi_synthetic(ratings(), SMALL.replace(skew=s)) for s in (1.0, 2.0))
    everyone = np.arange(120)
    assert (relevant(one, everyone) == relevant(two, everyone)).all()
    np.testing.assert_allclose(chances(two, everyone)[1], chances(one, everyone)[1] ** 2)
    assert len(two) < len(one)


def test_rated_pairs_are_shown_more_and_better_rated_ones_are_more_relevant() -> None:
    data = ratings()
    log = data.interactions
    liked = (log.items % 2 == 0).astype(np.float32) * 3 + 1  # even items are liked
    data = data.with_interactions(Interactions(log.users, log.items, liked))
    gamma, theta = chances(semi_synthetic(data, SMALL.replace(steps=400)), np.arange(120))
    assert gamma[:, ::2].mean() > 1.5 * gamma[:, 1::2].mean()
    known = data.matrix.toarray() > 0
    assert theta[known].mean() > theta[~known].mean()


def test_same_seed_same_clicks_and_ratings_are_needed() -> None:
    a, b, c = (semi_synthetic(ratings(), SMALL, seed=s) for s in (3, 3, 4))
    assert a.interactions.digest() == b.interactions.digest() != c.interactions.digest()
    with pytest.raises(DataError, match="has none: add a column 'rating'"):
        semi_synthetic(random_log())
