"""Intervals for experiments that are looked at while they run."""

from __future__ import annotations

import numpy as np
import pytest

from oakum.errors import ParameterError
from oakum.metrics.sequential import confidence_sequence, effect


def test_covers_the_mean_at_every_look_at_once() -> None:
    rng = np.random.default_rng(0)
    looks = np.unique(np.geomspace(40, 4000, 40).astype(int))
    missed = fixed = 0
    for _ in range(300):
        x = rng.exponential(size=4000) - 1
        found = [confidence_sequence(x[:n], level=0.9) for n in looks]
        missed += any(e.low > 0 or e.high < 0 for e in found)
        halves = [1.645 * x[:n].std() / np.sqrt(n) for n in looks]
        fixed += any(abs(x[:n].mean()) > h for n, h in zip(looks, halves, strict=True))
    assert missed <= 300 * 0.1
    assert fixed > 300 * 0.3  # what looking often does to an interval for one look


def test_the_interval_is_the_formula_and_narrows() -> None:
    x = np.array([0.0, 1.0] * 500)
    found = confidence_sequence(x, tightest=1000)
    rho2 = (-2 * np.log(0.05) + np.log(1 - 2 * np.log(0.05))) / 1000
    half = 0.5 * np.sqrt(2 * (1000 * rho2 + 1) / (1000**2 * rho2) * np.log(np.sqrt(1000 * rho2 + 1) / 0.05))
    assert found.value == 0.5
    assert found.high - found.value == pytest.approx(half)
    assert 1.2 < half / (1.96 * 0.5 / np.sqrt(1000)) < 1.7
    assert confidence_sequence(x[:100]).high > found.high


def test_an_effect_is_the_difference_between_arms() -> None:
    rng = np.random.default_rng(1)
    treated = rng.random(40_000) < 0.2
    outcome = rng.normal(10, 1, 40_000) + 0.2 * treated
    found = effect(outcome, treated, 0.2)
    assert found.low < 0.2 < found.high
    assert found.low > 0
    assert abs(found.value - (outcome[treated].mean() - outcome[~treated].mean())) < 0.02


def test_bad_settings_are_refused() -> None:
    for wrong in (lambda: confidence_sequence([1.0], level=1), lambda: effect([1.0], [True], 0.0)):
        with pytest.raises(ParameterError):
            wrong()
    with pytest.raises(ParameterError, match="differ in number"):
        effect([1.0, 2.0], [True], 0.5)
    assert np.isnan(confidence_sequence([3.0]).low)
