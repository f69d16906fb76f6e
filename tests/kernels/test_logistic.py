"""Newton's logistic regression against what its optimum must be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from oakum.kernels.logistic import logistic, sigmoid


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_that_of_a_general_minimiser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 4)) * [1, 5, 0.1, 0]
    y = rng.random(200) < sigmoid(x @ [1, -0.5, 3, 0])
    cost = lambda w: np.logaddexp(0, x @ w).sum() - y @ (x @ w) + 0.05 * w @ w
    found = logistic(x, y, l2=0.1)
    assert cost(found) <= optimize.minimize(cost, np.zeros(4)).fun + 1e-8
    assert found[3] == 0


def test_separable_labels_stay_finite_and_an_intercept_gives_the_rate() -> None:
    x = np.stack([np.ones(100), np.arange(100) - 49.5], 1)
    assert np.isfinite(logistic(x, np.arange(100) >= 50)).all()
    assert sigmoid(logistic(x[:, :1], np.arange(100) < 7, l2=1e-9))[0] == pytest.approx(0.07, rel=1e-6)
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
