from __future__ import annotations

import numpy as np
import pytest

from oakum.errors import DataError
from oakum.metrics.estimate import Estimate
from oakum.metrics.over_seeds import difference_of, pooled, seed_noise


def given(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value, value - half, value + half, 100)


def test_seed_noise_is_the_spread_of_the_means_and_its_interval_covers():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        found = seed_noise(rng.normal(0, 2.0, 4).tolist())
        inside += found.low <= 2.0 <= found.high
    assert 0.91 <= inside / 400 <= 0.98
    rows = seed_noise([np.array([1.0, 3.0, np.nan]), np.array([4.0, 4.0, 4.0])])
    assert rows.value == pytest.approx(np.std([2, 4], ddof=1))
    assert np.isnan(seed_noise([1.0]).value)


def test_differences_over_seeds_are_paired():
    a = [given(v) for v in (0.30, 0.40, 0.50)]
    b = [given(v) for v in (0.28, 0.381, 0.479)]
    found = difference_of(a, b)
    assert found.value == pytest.approx(0.02)
    assert 0.015 < found.low < found.high < 0.025
    one = difference_of(a[:1], b[:1])
    assert one.high - one.value == pytest.approx(np.hypot(0.01, 0.01))
    assert "seed noise is not" in one.how
    with pytest.raises(DataError, match="paired"):
        difference_of(a, b[:1])


def test_pooling_keeps_the_users_part_and_adds_the_seeds_part():
    equal = pooled([given(0.3)] * 3)
    assert (equal.low, equal.high) == pytest.approx((0.29, 0.31), abs=1e-4)
    apart = pooled([given(0.2), given(0.3), given(0.4)])
    assert apart.value == pytest.approx(0.3)
    assert apart.high - apart.low > 4 * (equal.high - equal.low)
    assert pooled([given(0.3)]) == given(0.3)
