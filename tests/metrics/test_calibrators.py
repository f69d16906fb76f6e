from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from oakum.errors import DataError
from oakum.metrics.calibration import (
    Predictions,
    ece_at,
    expected_calibration_error,
    places_of,
    rank_discounted_ece,
)
from oakum.metrics.calibrators import Calibrator, newton

KINDS = ("platt", "beta", "gaussian", "gamma", "histogram", "isotonic", "linear")


def drawn(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    s = np.round(rng.random(n), 2)
    return s, (rng.random(n) < s).astype(float)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_weights_are_points_repeated(kind):
    s, y = drawn(0)
    times = np.random.default_rng(1).integers(0, 4, len(s))
    a = Calibrator.fit(s, y, times, kind=kind)
    b = Calibrator.fit(np.repeat(s, times), np.repeat(y, times), kind=kind)
    at = np.linspace(0, 1, 50)
    np.testing.assert_allclose(a(at), b(at), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_a_true_curve(kind):
    s, y = drawn(2, 40_000)
    found = Calibrator.fit(s, y, kind=kind)(np.linspace(0.1, 0.9, 9))
    assert np.abs(found - np.linspace(0.1, 0.9, 9)).max() < (0.07 if kind in ("platt", "gaussian", "gamma") else 0.04)


def pooled(y: list[float], w: list[float]) -> list[float]:
    """Pool adjacent violators, by hand."""
    blocks = [[a, b, 1] for a, b in zip(y, w, strict=True)]
    i = 0
    while i < len(blocks) - 1:
        if blocks[i][0] > blocks[i + 1][0] + 1e-12:
            (a, v, n), (b, u, m) = blocks[i], blocks.pop(i + 1)
            blocks[i] = [(a * v + b * u) / (v + u), v + u, n + m]
            i = max(i - 1, 0)
        else:
            i += 1
    return [a for a, _, n in blocks for _ in range(n)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 5)), min_size=1, max_size=30))
def test_steps_are_those_of_pooling_and_rise(rows):
    y, w = (np.array(c) for c in zip(*rows, strict=True))
    s = np.arange(len(y), dtype=float)
    found = Calibrator.fit(s, y, w)(s)
    np.testing.assert_allclose(found, pooled(y.tolist(), w.tolist()), atol=1e-9)
    assert (np.diff(found) >= -1e-12).all()


def test_logistic_weights_stand_at_a_zero_gradient_and_never_fall():
    s, y = drawn(3)
    w = np.random.default_rng(4).random(len(s)) + 0.1
    x = np.stack([s, np.ones_like(s)], 1)
    found = newton(x, y, w, ridge=1e-12)
    loss = lambda a: np.sum(w * (np.logaddexp(0, x @ a) - y * (x @ a))) / w.sum()
    assert np.abs(optimize.approx_fprime(found, loss, 1e-6)).max() < 1e-5
    upside = Calibrator.fit(s, 1 - y, kind="platt")
    assert np.ptp(upside(s)) == 0  # a score that points the wrong way says nothing
    assert upside(s)[0] == pytest.approx((1 - y).mean(), abs=1e-6)
    apart = Calibrator.fit([0.0, 1.0], [0.0, 1.0], kind="platt")
    assert np.isfinite(apart([0.0, 0.5, 1.0])).all()


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(DataError, match="no labelled score"):
        Calibrator.fit([], [])
    with pytest.raises(DataError, match="takes labels in"):
        Calibrator.fit([0.1, 0.2], [3.0, 5.0], kind="platt")
    with pytest.raises(DataError, match="beta"):
        Calibrator.fit([1.5, 0.2], [0.0, 1.0], kind="beta")
    with pytest.raises(DataError, match="finite"):
        Calibrator.fit([np.nan], [0.0])
    assert Calibrator.fit([1.0, 2.0], [3.0, 5.0], kind="linear")(3.0) == pytest.approx(7.0)
    assert np.isnan(Calibrator.fit([1.0, 2.0], [0.0, 1.0])([np.nan]))[0]


def lists(seed: int, users: int = 60, items: int = 12) -> Predictions:
    rng = np.random.default_rng(seed)
    u, i = np.repeat(np.arange(users), items), np.tile(np.arange(items), users)
    s = np.round(rng.random(users * items), 2)
    return Predictions(s, (rng.random(len(s)) < 0.4).astype(float), None, u, places_of(s, u, i))


def test_places_are_those_of_sorting_each_list():
    found = lists(0)
    for u in range(60):
        own = found.users == u
        order = sorted(range(12), key=lambda k: (-found.values[own][k], k))
        assert [int(found.places[own][k]) for k in order] == list(range(1, 13))


@pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
def test_metrics_of_first_places(binning):
    found = lists(1)
    how = {"binning": binning}
    every = expected_calibration_error(found, **how).mean()
    assert ece_at(found, 12, **how).mean() == pytest.approx(every)
    assert ece_at(found, 99, **how).mean() == pytest.approx(every)
    assert rank_discounted_ece(found, 1, **how).mean() == pytest.approx(ece_at(found, 1, **how).mean())
    d = 1 / np.log2(np.arange(1, 5) + 1)
    by_hand = [expected_calibration_error(found.take(found.places == k), **how).mean() for k in range(1, 5)]
    assert rank_discounted_ece(found, 4, **how).mean() == pytest.approx((d * by_hand).sum() / d.sum())
    right = Predictions(found.labels, found.labels, None, found.users, found.places)
    assert rank_discounted_ece(right, 4, **how).mean() == ece_at(right, 4, **how).mean() == 0
    twice = np.tile(np.arange(len(found)), 2)
    assert rank_discounted_ece(found.take(twice), 4, **how).mean() == pytest.approx(
        rank_discounted_ece(found, 4, **how).mean()
    )
    with pytest.raises(DataError, match="places"):
        ece_at(Predictions(found.values, found.labels), 3)
