"""Profiles by rule: what was promised is what comes, and ratings are those of the technique."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oakum.attacks.base import AddProfiles, Budget, Goal, propose
from oakum.attacks.profiles.compose import Facts
from oakum.attacks.profiles.heuristic import AverageProfiles
from oakum.catalogue import load_class
from oakum.data import Dataset
from oakum.errors import DataError, ParameterError
from tests.toys import log_of, random_log

SLUGS = [
    "random-profiles", "average-profiles", "bandwagon-profiles", "popular-average-profiles", "segment-profiles",
    "reverse-bandwagon-profiles", "love-hate-profiles",
]  # fmt: skip
PROMOTING = [s for s in SLUGS if s != "reverse-bandwagon-profiles"]


def rated_log(seed: int = 0, step: float = 1.0, **sizes: int) -> Dataset:
    """A random log whose items differ in how they are rated."""
    data = random_log(seed=seed, **sizes)
    log = data.interactions
    rng = np.random.default_rng(seed)
    level = rng.uniform(2, 4.5, data.num_items)[log.items]
    values = np.clip(np.round(rng.normal(level, 0.8) / step) * step, step, 5)
    return data.with_interactions(replace(log, values=values.astype(np.float32)))


def made(slug: str, data: Dataset, goal: Goal, users: int, length: int, seed: int = 0, **settings: Any) -> AddProfiles:
    found = propose(load_class(slug)(**settings), data, goal, Budget(users=users, clicks=users * length), seed=seed)
    assert isinstance(found.change, AddProfiles)
    return found.change


@pytest.mark.parametrize("rated", [False, True])
@pytest.mark.parametrize("slug", PROMOTING)
@given(users=st.integers(1, 6), extra=st.integers(0, 12), mode=st.sampled_from(["all", "one", "draws"]))
@settings(max_examples=15, deadline=None)
def test_number_length_targets_and_no_duplicates(slug: str, rated: bool, users: int, extra: int, mode: str) -> None:
    data = rated_log() if rated else random_log()
    goal = Goal((2, 5, 7))
    length = 3 + extra
    if slug == "love-hate-profiles" and not rated:
        with pytest.raises(DataError, match="needs ratings"):
            made(slug, data, goal, users, length, target_mode=mode)
        return
    change = made(slug, data, goal, users, length, target_mode=mode)
    rows = [change.profiles.row(r) for r in range(len(change.profiles))]
    assert len(rows) == users
    for r, row in enumerate(rows):
        assert len(row) == length == len(np.unique(row))
        held = np.intersect1d(row, goal.codes)
        if mode == "all":
            assert len(held) == 3
        elif mode == "one":
            assert held.tolist() == [goal.targets[r % 3]]
        else:
            assert 1 <= len(held) <= 3
    assert (change.profiles.values is not None) == rated


@pytest.mark.parametrize("slug", SLUGS)
def test_a_seed_repeats_and_another_does_not(slug: str) -> None:
    data, goal = rated_log(), Goal((2, 5), "demote")
    a, b, c = (made(slug, data, goal, 5, 12, seed=s).digest() for s in (1, 1, 2))
    assert a == b != c


@pytest.mark.parametrize("slug", PROMOTING)
def test_ratings_are_steps_that_people_give(slug: str) -> None:
    data = rated_log(step=0.5)
    values = made(slug, data, Goal((2,)), 20, 10).profiles.values
    assert values is not None
    assert np.isin(values, np.unique(data.interactions.values)).all()
    assert len(np.unique(values % 1)) == 2 or slug in ("love-hate-profiles", "segment-profiles")


def rating_of(change: AddProfiles, items: Any) -> Any:
    assert change.profiles.values is not None
    return change.profiles.values[np.isin(change.profiles.items, items)]


def test_promoting_gives_the_top_and_demoting_the_bottom() -> None:
    data = rated_log()
    for kind, wanted, others in (("promote", 5.0, 1.0), ("demote", 1.0, 5.0)):
        change = made("love-hate-profiles", data, Goal((2, 5), kind), 4, 10)  # type: ignore[arg-type]
        assert set(rating_of(change, [2, 5])) == {wanted}
        rest = np.setdiff1d(np.arange(30), [2, 5])
        assert set(rating_of(change, rest)) == {others}


def test_bandwagon_holds_best_sellers_at_the_top() -> None:
    data = rated_log(users=80, items=60, events=1500)
    goal = Goal((2,))
    change = made("bandwagon-profiles", data, goal, 6, 21, popular_share=0.5, popular_pool=1e-6)
    counts = data.item_counts.copy()
    counts[2] = 0
    best = np.argsort(-counts, kind="stable")[:10]
    for r in range(6):
        assert np.isin(best, change.profiles.row(r)).all()
    assert (rating_of(change, best) == 5).all()


def test_segment_holds_what_the_fans_have_and_nothing_that_none_has() -> None:
    fans = [(u, i) for u in range(4) for i in (0, 1, 2, 3)]
    others = [(u, i) for u in range(4, 12) for i in (5, 6, 7, 8, 9)]
    data = log_of(fans + others, 12, 10)
    change = made("segment-profiles", data, Goal((0,)), 3, 7)
    for r in range(3):
        assert set(change.profiles.row(r)) >= {0, 1, 2, 3}
    cold = log_of(others, 12, 10)  # nobody has the target: the segment is that of some known item
    row = made("segment-profiles", cold, Goal((0,)), 1, 5).profiles.row(0)
    assert set(row) - {0} <= {5, 6, 7, 8, 9}


def test_reverse_bandwagon_holds_what_people_dislike() -> None:
    data = rated_log(users=80, items=60, events=1500)
    mean = Facts(data).item_moments[0]
    change = made("reverse-bandwagon-profiles", data, Goal((2,), "demote"), 1, 21, disliked_share=0.5)
    low = change.profiles.items[(change.profiles.values == 1) & (change.profiles.items != 2)]
    often = np.flatnonzero(data.item_counts >= np.median(data.item_counts))
    worst = np.setdiff1d(often, [2])[np.argsort(mean[np.setdiff1d(often, [2])], kind="stable")[:10]]
    assert np.isin(worst, low).all()


def test_average_ratings_are_the_items_own() -> None:
    """Within three standard errors of the item's mean, on a scale wide enough that clipping moves none."""
    data = rated_log(users=200, items=20, events=3000)
    values = data.interactions.values
    assert values is not None
    wide = np.concatenate([[-20, 30], np.asarray(values)[2:]]).astype(np.float32)  # two odd ratings widen the scale
    steps = np.arange(len(wide)) % 50 == 7
    wide = np.where(steps, np.arange(len(wide)) % 11, wide).astype(np.float32)
    data = data.with_interactions(replace(data.interactions, values=wide))
    mean, _ = Facts(data).item_moments
    change = made("average-profiles", data, Goal((0,)), 400, 20)
    for i in range(1, 20):
        own = rating_of(change, [i])
        assert len(own) == 400
        assert abs(own.mean() - mean[i]) < 3 * own.std() / np.sqrt(len(own))
    rest = made("random-profiles", data, Goal((0,)), 400, 20)
    gap = lambda c: np.mean([abs(rating_of(c, [i]).mean() - mean[i]) for i in range(1, 20)])
    assert gap(change) < 0.3 * gap(rest)


def test_moments_match_the_slow_way() -> None:
    data = rated_log()
    log = data.interactions
    assert log.values is not None
    mean, spread = Facts(data).item_moments
    for i in range(data.num_items):
        own = log.values[log.items == i].astype(np.float64)
        assert mean[i] == pytest.approx(own.mean())
        assert spread[i] == pytest.approx(own.std() if len(own) > 1 else log.values.std())


def test_cover_follows_peoples_order_and_targets_are_spread() -> None:
    chain = [(u, i) for u in range(30) for i in range(20) if i != 10]
    data = log_of(chain, 30, 20)
    change = made("random-profiles", data, Goal((10,)), 200, 10)
    places = []
    for r in range(200):
        row = change.profiles.row(r)
        cover = row[row != 10]
        assert (np.diff(cover) > 0).all()
        places.append(int(np.flatnonzero(row == 10)[0]))
    assert min(places) == 0
    assert max(places) == 9
    assert 3 < np.mean(places) < 6


def test_times_are_sorted_and_within_the_span() -> None:
    data = random_log()
    change = made("random-profiles", data, Goal((1,)), 5, 10)
    times = change.profiles.times
    assert times is not None
    log = data.interactions
    assert log.times is not None
    assert log.times.min() <= times.min()
    assert times.max() <= log.times.max()
    after = change.apply(data)
    for r in range(5):  # the history that models read is in the order that was composed
        np.testing.assert_array_equal(after.histories.row(data.num_users + r), change.profiles.row(r))


def test_what_cannot_be_done_is_said() -> None:
    data = random_log()
    with pytest.raises(ParameterError, match="demoting needs ratings"):
        made("random-profiles", data, Goal((1,), "demote"), 1, 5)
    with pytest.raises(ParameterError, match="cannot hold 3 targets"):
        made("random-profiles", data, Goal((1, 2, 3)), 1, 2)
    with pytest.raises(ParameterError, match="need 20 clicks; budget 10"):
        propose(AverageProfiles(length=10), data, Goal((1,)), Budget(users=2, clicks=10))


def test_a_goal_without_targets_gives_accounts_of_cover_alone() -> None:
    assert made("random-profiles", random_log(), Goal((), "degrade"), 3, 6).profiles.lengths.tolist() == [6, 6, 6]
