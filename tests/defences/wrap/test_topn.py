"""A curve for each group of ranks: against its special cases, behind any model, saved with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oakum.catalogue import load_class
from oakum.data import Filter
from oakum.data.simulate import Market, simulate
from oakum.defences.wrap.topn import Calibrated, RankGroups, TopN, borders
from oakum.engine.fit import fit, fit_again
from oakum.errors import DataError
from oakum.metrics.calibration import Predictions, ece_at, expected_calibration_error, places_of, rank_discounted_ece
from oakum.metrics.calibrators import Calibrator
from oakum.splits import split
from oakum.store import load, save


def market(seed: int, noise: tuple[float, float], users: int = 2000, items: int = 200) -> tuple[Any, Any, Any]:
    """Scores, labels and places of people whose scores are noisy to different degrees."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(-1.5, 1, (users, items))
    y = rng.random((users, items)) < 1 / (1 + np.exp(-taste))
    sigma = np.where(rng.random(users) < 0.5, *noise)[:, None]
    s = (taste + sigma * rng.normal(size=taste.shape)).ravel()
    u, i = np.repeat(np.arange(users), items), np.tile(np.arange(items), users)
    return s, y.ravel().astype(float), places_of(s, u, i)


def judged(p: Any, y: Any, k: Any) -> tuple[float, float, float, float]:
    said = Predictions(p, y, places=k)
    measures = expected_calibration_error(said), ece_at(said, 20), rank_discounted_ece(said, 20), ece_at(said, 1)
    return tuple(float(v.mean()) for v in measures)  # type: ignore[return-value]


def test_curves_by_rank_mend_what_one_curve_cannot_see():
    a, (s, y, k) = market(0, (0.3, 2.0)), market(1, (0.3, 2.0))
    every = judged(Calibrator.fit(*a[:2])(s), y, k)
    mine = judged(TopN(kind="isotonic").groups(*a).chances(s, k), y, k)
    assert every[0] < 0.01
    assert every[1] > 0.05
    assert mine[1] < every[1] / 2
    assert mine[2] < every[2] / 2
    assert mine[3] < every[3] / 10


def test_where_people_are_alike_they_do_no_harm():
    a, (s, y, k) = market(2, (1.0, 1.0)), market(3, (1.0, 1.0))
    every = judged(Calibrator.fit(*a[:2])(s), y, k)
    mine = judged(TopN(kind="isotonic").groups(*a).chances(s, k), y, k)
    assert every[1] < 0.01
    assert mine[1] - every[1] < 0.005


def test_one_group_is_the_ordinary_calibrator():
    s, y, k = market(4, (0.3, 2.0), 100, 50)
    one = TopN(n=20, num_groups=1, weighting="uniform", kind="isotonic").groups(s, y, k)
    top = k <= 20
    np.testing.assert_array_equal(one.chances(s, k)[top], Calibrator.fit(s[top], y[top])(s[top]))
    whole = TopN(n=50, num_groups=1, weighting="uniform", kind="isotonic").groups(s, y, k)
    np.testing.assert_array_equal(whole.chances(s, k), Calibrator.fit(s, y)(s))


def test_groups_grow_and_small_ones_are_merged():
    assert borders(20, 5) == [1, 3, 6, 11, 20]
    for n in range(1, 40):
        for groups in range(1, 12):
            ends = borders(n, groups)
            assert ends[-1] == n
            assert (np.diff([0, *ends]) > 0).all()
    s, y, k = market(5, (0.3, 2.0), 30, 50)
    assert TopN(minimum=100).groups(s, y, k).ends.tolist() == [6, 11, 20]
    assert TopN(minimum=10_000).groups(s, y, k).ends.tolist() == [20]
    assert TopN(minimum=240).groups(s, y, k).ends.tolist() == [11, 20]
    with pytest.raises(DataError, match="no labelled pair"):
        TopN(n=2).groups(s, y, k + 5)


@pytest.fixture(scope="module")
def parts() -> Any:
    return split(simulate(Market(users=300, items=120, events=9000), seed=1), "holdout", seed=0)


@pytest.mark.parametrize(("slug", "plan"), [("ease", None), ("bpr-mf", {"epochs": 3})])
@pytest.mark.parametrize("whole", [False, True])
def test_behind_any_model_the_order_stays_and_chances_are_saved(parts, tmp_path, slug, plan, whole):
    if plan is not None:
        pytest.importorskip("torch")
    data = parts.train if whole else parts
    plain = fit(load_class(slug)(), parts.train, plan=plan)
    defence = TopN(minimum=50)
    guarded = plain.behind(defence, data)
    truth = parts.truth()
    before = plain.rank(truth.queries, 10, where=truth.filter())
    after = guarded.rank(truth.queries, 10, where=truth.filter())
    np.testing.assert_array_equal(before.items, after.items)
    known = after.items >= 0
    assert ((after.scores[known] >= 0) & (after.scores[known] <= 1)).all()
    assert np.isnan(after.scores[~known]).all()
    relevant = truth.relevant.matrix(len(plain.items))
    rows, places = np.nonzero(known)
    happened = np.asarray(relevant[rows, after.items[rows, places]]).mean()
    assert abs(after.scores[known].mean() - happened) < 0.08
    save(guarded, tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(again.rank(truth.queries, 10, where=truth.filter()).scores, after.scores)
    np.testing.assert_array_equal(again.score(truth.queries), plain.score(truth.queries))
    assert again.guards[0][0] == defence
    assert plain.guards == ()
    assert isinstance(again.refresh(parts.train).scorer, Calibrated)
    assert 0 <= again.recommend([plain.users.ids[0]], k=3)[0]["items"][0]["score"] <= 1


def test_a_refit_is_calibrated_again(parts):
    guarded = fit(load_class("ease")(), parts.train).behind(TopN(minimum=50), parts.train)
    again = fit_again(guarded, parts.train_and_valid)
    assert isinstance(again.scorer, Calibrated)
    assert not np.array_equal(again.scorer.groups.curves[0].numbers, guarded.scorer.groups.curves[0].numbers)


def test_falling_lists_fall_and_state_is_whole():
    s, y, k = market(6, (0.3, 2.0), 200, 40)
    groups = TopN(n=10, kind="isotonic").groups(s, y, k)
    back = RankGroups.restored(groups.state())
    np.testing.assert_array_equal(back.chances(s, k), groups.chances(s, k))

    class Fixed:
        def score(self, queries: Any, items: Any = None) -> Any:
            return s.reshape(200, 40)[: len(queries)].astype(np.float32)

    from oakum.data import Queries, Ragged

    asked = Queries(np.arange(200, dtype=np.int32), Ragged.empty(200))
    loose = Calibrated(Fixed(), groups).recommend_lists(asked, 10, Filter(), None).scores
    tight = Calibrated(Fixed(), groups, falling=True).recommend_lists(asked, 10, Filter(), None).scores
    assert (np.diff(loose, axis=1) > 1e-6).any()
    assert (np.diff(tight, axis=1) <= 1e-6).all()


def test_ratings_are_judged_among_what_is_rated():
    rng = np.random.default_rng(0)
    from dataclasses import replace

    data = simulate(Market(users=200, items=80, events=6000), seed=3)
    log = data.interactions
    rated = data.with_interactions(replace(log, values=rng.integers(1, 6, len(log)).astype(np.float32)))
    pieces = split(rated, "holdout", seed=0)
    scores, labels, places = TopN(threshold=4.0).judged(fit(load_class("ease")(), pieces.train), pieces)
    assert len(scores) <= len(pieces.valid)
    assert abs(labels.mean() - 0.4) < 0.1
    assert places.min() == 1
    bare = split(data.with_interactions(replace(log, values=None)), "holdout", seed=0)
    model = fit(load_class("ease")(), bare.train)
    with pytest.raises(DataError, match="ratings"):
        TopN(threshold=4.0).judged(model, bare)
