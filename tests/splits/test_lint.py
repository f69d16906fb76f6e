"""The linter names each known mistake, and is silent where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from oakum.data import Dataset, Interactions
from oakum.data.simulate import Market, simulate
from oakum.splits import split, split_from_parts
from oakum.splits.lint import lint
from tests.toys import beside, log_of, random_log

MARKET = simulate(Market(users=300, items=150, events=9000), seed=0)


def codes(parts: Any, **asked: Any) -> dict[str, str]:
    return {f.code: f.severity for f in lint(parts, **asked)}


def with_times(data: Dataset, times: Any) -> Dataset:
    return data.with_interactions(replace(data.interactions, times=np.asarray(times, np.int64)))


def test_a_clean_cut_by_time_has_no_error_and_no_future() -> None:
    found = codes(split(MARKET, "time"), systems=["ease"], baselines=["popularity"])
    assert "error" not in found.values()
    assert not {"future-in-train", "crowd-future", "constant-times", "test-in-train", "no-popularity"} & found.keys()


def test_the_future_of_the_crowd_is_said() -> None:
    assert codes(split(MARKET, "leave-last"))["crowd-future"] == "warning"
    parts = split(MARKET, "time")
    late = parts.train.with_interactions(
        replace(parts.train.interactions, times=parts.train.interactions.times + 10**15)
    )
    assert codes(replace(parts, train=late))["future-in-train"] == "error"


def test_times_that_say_nothing() -> None:
    n = len(MARKET)
    assert codes(split(with_times(MARKET, np.full(n, 86_400_000_000 * 9)), "leave-last"))["constant-times"] == "warning"
    days = (np.arange(n) // 100) * 86_400_000_000
    assert codes(split(with_times(MARKET, days), "time"))["day-times"] == "info"
    back = np.arange(n)[::-1] * 1_000_003
    assert codes(split(with_times(MARKET, back), "leave-last"))["unsorted"] == "info"
    without = MARKET.with_interactions(replace(MARKET.interactions, times=None))
    assert codes(split(without, "leave-last"))["no-times"] == "warning"


def test_pairs_and_rows_on_both_sides() -> None:
    data = random_log(events=900)
    parts = split(data, "holdout")
    rows = parts.train.interactions
    repeats = replace(parts, test=Interactions(rows.users[:50], rows.items[:50], None, None, np.arange(50) + 10**6))
    assert codes(repeats)["pair-in-both"] == "warning"
    kept = replace(repeats, protocol=replace(parts.protocol, remove_seen=False))
    assert codes(kept)["repeats-count"] == "info"
    assert codes(replace(parts, test=rows.take(np.arange(50))))["test-in-train"] == "error"
    assert codes(replace(parts, valid=parts.test))["valid-in-test"] == "error"
    fresh = replace(parts, protocol=replace(parts.protocol, remove_seen=False))
    once = np.asarray(fresh.train.matrix[fresh.test.users, fresh.test.items]).ravel() == 0
    assert codes(replace(fresh, test=fresh.test.take(once)))["seen-kept"] == "warning"


def test_labels_are_no_events() -> None:
    log = MARKET.interactions
    labelled = MARKET.with_interactions(replace(log, values=(np.arange(len(log)) % 2).astype(np.float32)))
    found = {f.code: f for f in lint(split(labelled, "time"))}
    assert found["zeros-are-events"].severity == "warning"
    assert "value 0" in found["zeros-are-events"].sentence
    stars = MARKET.with_interactions(replace(log, values=(np.arange(len(log)) % 5).astype(np.float32)))
    assert "zeros-are-events" not in codes(split(stars, "time"))


def test_candidates_and_baselines() -> None:
    parts = split(MARKET, "time")
    sampled = replace(parts, protocol=replace(parts.protocol, candidates="sampled:100"))
    assert codes(sampled)["sampled"] == "warning"
    assert codes(sampled, metrics=["ndcg@10"])["sampled"] == "error"
    assert codes(sampled, metrics=["sampled_ndcg@10"])["sampled"] == "warning"
    assert codes(parts, systems=["ease"])["no-popularity"] == "warning"
    assert codes(split(beside(random_log()), "holdout", target="main"))["one-domain"] == "info"


def test_who_is_measured() -> None:
    assert codes(split(random_log(), "holdout"))["few-users"] == "warning"
    pairs = [(0, i) for i in range(60)] + [(u, u % 7) for u in range(1, 30)]
    assert codes(split(log_of(pairs, 30, 60), "holdout"))["one-heavy-user"] == "warning"
    train = log_of([(u, u % 5) for u in range(8)], 10, 8)
    test = log_of([(8, 6), (9, 7), (0, 6)], 10, 8)
    found = codes(split_from_parts(train, test.interactions, carve=0))
    assert found["new-users"] == "info"
    assert found["cold-items"] == "warning"


def test_ids_that_tell_and_nothing_to_measure() -> None:
    ranked = [(u, i) for i in range(40) for u in range(80 - 2 * i)]
    assert codes(split(log_of(ranked, 80, 40), "holdout"))["ids-tell"] == "info"
    parts = split(MARKET, "time")
    assert codes(replace(parts, test=parts.test.take(np.empty(0, np.int64)))) == {"no-test": "error"}
