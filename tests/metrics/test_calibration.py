from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metrics.lists import ranking
from oakum.data import Ragged
from oakum.errors import DataError
from oakum.metrics import calibration
from oakum.metrics.calibration import Predictions
from oakum.metrics.statistics import estimate


def drawn(n: int, seed: int = 0, weights: bool = False) -> Predictions:
    rng = np.random.default_rng(seed)
    p = rng.choice(np.linspace(0, 1, 12), n)
    return Predictions(p, (rng.random(n) < p).astype(float), rng.random(n) + 0.1 if weights else None)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_auc_agrees_with_all_pairs(seed, weighted):
    found = drawn(60, seed, weighted)
    p, y, w = found.values, found.labels == 1, found.weight
    pairs = w[y][:, None] * w[~y][None]
    above = (p[y][:, None] > p[~y][None]) + (p[y][:, None] == p[~y][None]) / 2
    assert calibration.auc(p, y, w) == pytest.approx((pairs * above).sum() / pairs.sum())


def test_auc_intervals_cover_and_one_class_has_no_value():
    rng, inside, repetitions = np.random.default_rng(2), 0, 200
    true = stats.norm.cdf(1 / np.sqrt(2))
    for r in range(repetitions):
        y = rng.random(300) < 0.3
        score = stats.norm.cdf(rng.normal(size=300) + y)
        e = estimate(calibration.auc_by_row(score, y), seed=r, resamples=300)
        inside += e.low <= true <= e.high
    assert 0.90 <= inside / repetitions <= 0.99
    assert np.isnan(calibration.auc([0.5], [1]))
    with pytest.raises(DataError, match="1 of 2 scores are NaN"):
        calibration.auc([0.5, np.nan], [1, 0])


def test_weights_of_two_are_rows_twice():
    once = drawn(80, 4)
    double = Predictions(once.values, once.labels, np.where(np.arange(80) < 30, 2.0, 1.0))
    index = np.r_[np.arange(80), np.arange(30)]
    rows = Predictions(once.values[index], once.labels[index])
    twice = calibration.auc(double.values, double.labels, double.weight)
    assert twice == pytest.approx(calibration.auc(rows.values, rows.labels))
    for measure in (
        calibration.brier,
        calibration.log_loss,
        calibration.expected_calibration_error,
    ):
        assert measure(double).mean() == pytest.approx(measure(rows).mean()), measure.__name__


def test_calibration_error_of_a_constant_off_by_c_is_c():
    labels = np.tile([1.0, 0, 0, 0], 50)
    found = Predictions(np.full(200, 0.25 + 0.1), labels)
    assert calibration.expected_calibration_error(found).mean() == pytest.approx(0.1)
    assert calibration.expected_calibration_error(found, binning="equal-mass").mean() == pytest.approx(0.1)
    right = Predictions(labels, labels)
    assert calibration.expected_calibration_error(right).mean() == 0
    assert calibration.brier(right).mean() == 0
    assert calibration.log_loss(right).mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
def test_reliability_bins_hold_all_rows_and_cover_a_calibrated_model(binning):
    found = drawn(5000, 1)
    bins = calibration.reliability(found, bins=10, binning=binning, level=0.999)
    assert sum(b.n for b in bins) == 5000
    assert all(b.low <= b.predicted <= b.high for b in bins)
    assert all(b.happened.low <= b.predicted <= b.happened.high for b in bins)


def test_summary_stays_in_bounds_and_clusters_widen_it():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(50), 20)
    p = np.full(1000, 0.5)
    y = (rng.random(50) < 0.5)[users].astype(float)
    rows = calibration.summarise_predictions(Predictions(p, y))
    clustered = calibration.summarise_predictions(Predictions(p, y, users=users))
    assert rows["ece"].low >= 0
    width = lambda e: e.high - e.low
    assert width(clustered["ece"]) > 2 * width(rows["ece"])
    assert clustered["brier"].n == 50


def test_predictions_refuse_what_is_no_probability():
    with pytest.raises(DataError, match=r"Prediction 1 is 1\.5"):
        Predictions(np.array([0.1, 1.5]), np.array([0.0, 1.0]))
    with pytest.raises(DataError, match=r"Label 0 is 4\.0"):
        Predictions(np.array([0.1]), np.array([4.0]))
    with pytest.raises(DataError, match="one length"):
        Predictions(np.array([0.1]), np.array([1.0, 0.0]))


def test_lists_with_the_mix_of_the_history_are_calibrated():
    categories = Ragged.of([[0], [0], [1], [0, 1], [2], []])
    histories = Ragged.of([[0, 2], [0, 0, 0], [5], [0, 3]])
    lists = ranking([[1, 2], [4, 4], [0], [5]], k=2)
    found = calibration.list_miscalibration(lists, histories, categories, 2, alpha=0.01)
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == pytest.approx(np.log(1 / 0.01))
    assert np.isnan(found[2:]).all()
    mixed = calibration.list_miscalibration(ranking([[0]]), Ragged.of([[0, 3]]), categories, 1)
    p, q = np.array([0.75, 0.25]), np.array([1.0, 0.0])
    assert mixed[0] == pytest.approx((p * np.log(p / (0.99 * q + 0.01 * p))).sum())
