"""Detectors agree with their slow forms, are blind to labels, and are judged on people too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.attacks.base import Budget, cold_targets, propose
from oakum.attacks.profiles.heuristic import AverageProfiles, BandwagonProfiles, RandomProfiles
from oakum.catalogue import entries, load_class
from oakum.data import Dataset, Interactions
from oakum.data.read import read
from oakum.defences.base import Marks
from oakum.defences.detect.base import Detector, detection, knee
from oakum.defences.detect.degree import DegreeSAD, popularity_features
from oakum.defences.detect.fap import FAP, edges, propagated
from oakum.defences.detect.implicit import ImplicitFeatures, twins
from oakum.defences.detect.pca import PCASelectUsers
from oakum.defences.detect.ratings import RDMA, DegSim, LengthVariance
from oakum.errors import DataError
from oakum.kernels.tree import grow
from oakum.metrics.calibration import auc
from tests.oracles import detectors as slow
from tests.toys import log_of, random_log

ALL = [s for s, e in entries().items() if e.kind == "defence" and "detection" in e.task]


def rated(users: int = 30, items: int = 20, seed: int = 0) -> Dataset:
    """Every user has rated something."""
    data = random_log(users=users, items=items, events=users * items // 3, seed=seed)
    log = data.interactions
    first = np.unique(log.users.astype(np.int64) * items + log.items, return_index=True)[1]
    log = log.take(np.sort(first))
    values = np.random.default_rng(seed).integers(1, 6, len(log)).astype(np.float32)
    return data.with_interactions(replace(log, values=values))


def dense(data: Dataset) -> np.ndarray:
    return data.interactions.matrix(data.num_users, data.num_items, weights="value").toarray().astype(np.float64)


@given(st.integers(8, 40), st.integers(6, 25), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_they_agree_with_the_slow_forms(users: int, items: int, seed: int) -> None:
    data = rated(users, items, seed)
    x = dense(data)
    np.testing.assert_allclose(RDMA().scores(data), slow.rdma(x, 1), rtol=1e-9)
    np.testing.assert_allclose(RDMA(weight="squared").scores(data), slow.rdma(x, 2), rtol=1e-9)
    np.testing.assert_allclose(DegSim(k=5, least=3).scores(data), slow.degsim(x, 5, 3), atol=1e-9)
    wanted, gap = slow.pca(x)
    if gap > 1e-3:
        np.testing.assert_allclose(np.exp(-PCASelectUsers().scores(data)), wanted, rtol=1e-5, atol=1e-8)


@given(st.integers(8, 30), st.integers(6, 20), st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_degree_propagation_and_twins_agree_with_the_slow_forms(users: int, items: int, seed: int) -> None:
    data = rated(users, items, seed)
    x = dense(data)
    np.testing.assert_allclose(popularity_features(data.matrix, data.item_counts), slow.degree(x), rtol=1e-9)
    seeds = np.array([0, users - 1])
    np.testing.assert_allclose(propagated(edges(data), seeds, 7), slow.fap(x, seeds, 7), rtol=1e-9)
    np.testing.assert_allclose(twins(data, np.arange(users), block=5), slow.twins(x), rtol=1e-6)


def test_seeds_named_in_the_users_table_are_believed() -> None:
    data = rated(30, 20)
    marks = pl.DataFrame({"known_fake": [1 if u in (3, 7) else None for u in range(30)]})
    found = FAP().scores(replace(data, tables={**data.tables, "users": marks}))
    assert found[3] == found[7] == 1.0
    assert (np.delete(found, [3, 7]) < 1).all()
    with pytest.raises(DataError, match="name some fakes"):
        FAP().scores(replace(data, tables={"users": marks.with_columns(known_fake=pl.lit(0))}))


def test_a_tree_splits_where_the_classes_part() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((300, 3))
    y = (x[:, 1] > 0.6) & (x[:, 2] < 0.5)
    tree = grow(x, y, depth=3)
    assert ((tree.predict(x) > 0.5) == y).mean() > 0.98
    assert set(tree.feature[tree.feature >= 0]) == {1, 2}
    mixed = rng.permutation(300)
    again = grow(x[mixed], y[mixed], depth=3)
    np.testing.assert_array_equal(tree.predict(x), again.predict(x))
    alone = grow(x, np.ones(300, bool))
    assert (alone.predict(x) > 0.9).all()
    assert len(alone.feature) == 1
    assert len(grow(x[:6], y[:6], least=5).feature) == 1  # too few rows for two leaves


def test_injected_accounts_are_found_by_what_is_read() -> None:
    """60 people, 6 fakes that are copies of each other: twins and propagation find them, the tree those of odd popularity."""
    data = rated(120, 80, 5)
    poisoned = propose(BandwagonProfiles(), data, cold_targets(data, 2), Budget(users=8, clicks=8 * 20)).poisoned
    fake = np.arange(poisoned.num_users) >= data.num_users
    for detector in (DegreeSAD(), ImplicitFeatures()):
        found = detection(Marks("users", detector.scores(poisoned)), fake, poisoned)
        assert found.auc > 0.7, detector
    marks = pl.DataFrame({"known_fake": (np.arange(poisoned.num_users) >= poisoned.num_users - 2).astype(int)})
    scores = FAP().scores(replace(poisoned, tables={"users": marks}))
    rest = np.arange(poisoned.num_users) < poisoned.num_users - 2
    assert auc(scores[rest], fake[rest].astype(float)) > 0.8


def test_pca_on_a_log_with_a_clear_gap() -> None:
    data = rated(60, 40, 3)
    wanted, gap = slow.pca(dense(data))
    assert gap > 1e-3
    np.testing.assert_allclose(np.exp(-PCASelectUsers().scores(data)), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("slug", ALL)
def test_cleaning_is_pure_takes_the_most_suspicious_and_keeps_codes(slug: str) -> None:
    data = rated(60, 30)
    before = data.interactions.digest()
    detector: Detector = load_class(slug)(share=0.1)
    cleaned, marks = detector.clean(data)
    assert data.interactions.digest() == before
    assert len(marks.flagged) == 6
    assert cleaned.num_users == data.num_users
    assert (cleaned.user_counts[marks.flagged] == 0).all()
    rest = np.setdiff1d(np.arange(60), marks.flagged)
    assert marks.scores[marks.flagged].min() >= marks.scores[rest].max()
    again = detector.clean(data)[1]
    np.testing.assert_array_equal(marks.flagged, again.flagged)
    assert len(load_class(slug)(share=0.0).clean(data)[1].flagged) == 0


@pytest.mark.parametrize("slug", ALL)
def test_users_without_events_have_no_score_and_are_never_flagged(slug: str) -> None:
    data = rated(20, 15)
    log = data.interactions
    without = data.with_interactions(log.take(log.users != 4))
    _, marks = load_class(slug)(share=0.5).clean(without)
    assert np.isnan(marks.scores[4])
    assert 4 not in marks.flagged
    assert np.isfinite(np.delete(marks.scores, 4)).all()


@pytest.mark.parametrize("slug", ALL)
def test_renaming_people_renames_scores(slug: str) -> None:
    data = rated(25, 15)
    order = np.random.default_rng(1).permutation(25).astype(np.int32)
    log = data.interactions
    renamed = data.with_interactions(Interactions(order[log.users], log.items, log.values, log.times, log.rows))
    a, b = load_class(slug)().scores(data), load_class(slug)().scores(renamed)
    np.testing.assert_allclose(a, b[order], rtol=1e-5, atol=1e-7)


def test_detectors_of_ratings_say_that_they_need_them() -> None:
    for detector in (RDMA(), DegSim()):
        with pytest.raises(DataError, match="has no ratings"):
            detector.scores(random_log())


def test_two_people_and_one_person_are_no_accident() -> None:
    one = log_of([(0, 0), (0, 1)], 1, 3)
    assert np.isnan(PCASelectUsers().scores(one)).all()
    assert PCASelectUsers().clean(one)[1].flagged.size == 0


def test_the_knee_is_where_the_curve_bends() -> None:
    flat, bent = np.linspace(0, 1, 200), np.concatenate([np.linspace(9, 10, 12), np.linspace(0, 1, 188)])
    assert knee(flat) == 0
    assert knee(np.ones(50)) == 0
    assert knee(np.empty(0)) == 0
    assert abs(knee(bent) - 12) <= 1


def test_a_detection_is_counted_as_by_hand() -> None:
    pairs = [(u, i) for u in range(10) for i in range(8 if u < 5 else 3)]
    data = log_of(pairs, 10, 8)
    fake = np.zeros(10, bool)
    fake[[8, 9]] = True
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.95, 0.9, 0.8])
    found = detection(Marks("users", scores, np.array([7, 8])), fake, data)
    assert found.at_true_share == 0.5  # of the two most suspicious, 7 and 8, one is fake
    assert found.auc == pytest.approx(14 / 16)
    assert (found.precision, found.recall) == (0.5, 0.5)
    assert (found.false_positives.value, found.false_positives.n) == (1 / 8, 8)
    assert (found.false_positives_new.value, found.false_positives_new.n) == (1 / 3, 3)
    assert (found.false_positives_heavy.value, found.false_positives_heavy.n) == (0.0, 5)
    with pytest.raises(DataError, match="both fake and genuine"):
        detection(Marks("users", scores), np.zeros(10, bool), data)
    with pytest.raises(DataError, match="judged on users"):
        detection(Marks("rows", scores), fake, data)


@pytest.mark.data
@pytest.mark.parametrize(
    ("technique", "selected", "length", "low", "high"),
    [
        (RandomProfiles, 0, 84, 0.95, 1.0),
        (AverageProfiles, 0, 18, 0.95, 1.0),
        (BandwagonProfiles, 5, 84, 0.7, 0.92),
        (BandwagonProfiles, 5, 18, 0.0, 0.05),
    ],
)
def test_pca_on_movielens(data_dir: Path, technique: type, selected: int, length: int, low: float, high: float) -> None:
    data = read(data_dir / "movielens-100k")
    chosen = technique(popular_share=selected / (selected + length), popular_pool=1e-6) if selected else technique()
    budget = Budget(users=47, clicks=47 * (1 + selected + length))
    poisoned = propose(chosen, data, cold_targets(data, 1), budget).poisoned
    fake = np.arange(poisoned.num_users) >= data.num_users
    _, marks = PCASelectUsers(share=0.05).clean(poisoned)
    assert low <= detection(marks, fake, poisoned).at_true_share <= high
    _, ratings = RDMA(share=0.05).clean(poisoned)
    assert detection(ratings, fake, poisoned).auc > 0.97
    if technique is not BandwagonProfiles:
        _, alone = PCASelectUsers(share=None).clean(poisoned)
        assert detection(alone, fake, poisoned).recall > 0.9
        assert len(PCASelectUsers(share=None).clean(data)[1].flagged) < 0.05 * data.num_users
    assert LengthVariance(share=0.05).clean(poisoned)[1].unit == "users"
