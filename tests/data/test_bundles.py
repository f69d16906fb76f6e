"""Bundles beside shoppers: a log turned round, what feedback says, and bad bundles in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oakum.data import Dataset, Interactions, Relation
from oakum.data.bundles import bundle_log, feedback_counts, feedback_log, without_feedback
from oakum.data.read import read
from oakum.errors import DataError, ProtocolError
from oakum.splits import split
from oakum.splits.bundles import popular_items
from tests.toys import log_of, random_log


def shop(tmp_path: Path, bundles: list[tuple[str, str]]) -> Dataset:
    """Three shoppers, five items and a table of bundles, read from files."""
    events = {"user_id": ["a", "a", "b", "b", "c", "c"], "item_id": ["i1", "i2", "i2", "i3", "i4", "i5"]}
    pl.DataFrame(events).write_csv(tmp_path / "log.csv")
    pl.DataFrame(bundles, schema=["bundle_id", "item_id"], orient="row").write_csv(tmp_path / "bundles.csv")
    return read(tmp_path / "log.csv", relations={"bundles": tmp_path / "bundles.csv"})


def test_bundles_take_the_place_of_users_and_events_become_feedback(tmp_path: Path) -> None:
    data = shop(tmp_path, [("x", "i1"), ("x", "i3"), ("y", "i2"), ("z", "i4"), ("z", "i5"), ("z", "i5"), ("w", "new")])
    made = bundle_log(data)
    held = {
        made.users.ids[int(b)]: sorted(made.items.decode(made.histories.row(int(b)))) for b in range(made.num_users)
    }
    assert held == {"x": ["i1", "i3"], "z": ["i4", "i5"]}
    assert made.items is data.items
    assert feedback_counts(made).tolist() == data.item_counts.tolist()
    assert feedback_log(made).matrix.toarray().tolist() == data.matrix.toarray().tolist()  # type: ignore[union-attr]
    assert "2 of 4 bundles have fewer than two known items" in made.notes[-1]
    assert feedback_counts(without_feedback(made)).tolist() == made.item_counts.tolist()


def test_a_relation_may_point_either_way(tmp_path: Path) -> None:
    data = shop(tmp_path, [("x", "i1"), ("x", "i3")])
    r = data.relations["bundles"]
    turned = replace(data, relations={"bundles": Relation(r.target, r.source, r.targets, r.sources)})
    a, b = bundle_log(data), bundle_log(turned)
    assert a.histories.row(0).tolist() == b.histories.row(0).tolist()


def test_bundles_of_unknown_items_are_refused_in_a_sentence(tmp_path: Path) -> None:
    data = shop(tmp_path, [("x", "new"), ("x", "newer"), ("y", "newest")])
    with pytest.raises(DataError, match=r"names no bundle|None of the 2 bundles of 'bundles' has two items"):
        bundle_log(data)
    with pytest.raises(DataError, match=r"has no relation 'sets'.*it has bundles"):
        bundle_log(data, "sets")
    trust = Relation("users", "users", np.zeros(1, np.int32), np.ones(1, np.int32))
    with pytest.raises(DataError, match="joins users with users"):
        bundle_log(replace(data, relations={"trust": trust}), "trust")


def test_shoppers_are_not_mistaken_for_bundles() -> None:
    edges = Relation("users", "items", np.zeros(2, np.int32), np.arange(2, dtype=np.int32))
    data = replace(random_log(), relations={"feedback": edges})
    with pytest.raises(DataError, match="call the column of people shopper_id"):
        feedback_log(data)
    assert feedback_log(random_log()) is None


def test_relations_are_part_of_the_digest() -> None:
    data = random_log()
    one = Relation("shoppers", "items", np.zeros(2, np.int32), np.arange(2, dtype=np.int32))
    two = replace(one, targets=one.targets[::-1].copy())
    assert len({replace(data, relations=r).digest for r in ({}, {"feedback": one}, {"feedback": two})}) == 3


def test_best_sellers_are_given_and_the_rest_is_asked() -> None:
    rng = np.random.default_rng(0)
    pairs = [(b, int(i)) for b in range(60) for i in rng.choice(50, 6, replace=False)]
    data = log_of(pairs, 60, 50)
    feedback = Relation(
        "shoppers", "items", np.arange(2000, dtype=np.int32) % 90, rng.integers(0, 50, 2000).astype(np.int32) // 2
    )
    data = replace(data, relations={"feedback": feedback})
    parts = split(data, "popular-given", seed=3, test=0.3, valid=0.2)
    popular = popular_items(parts.train)
    assert popular.sum() == 10
    assert (feedback_counts(data)[popular].min()) >= feedback_counts(data)[~popular].max()
    trained = set(parts.train.interactions.users.tolist())
    for part, events in (("test", parts.test), ("valid", parts.valid)):
        truth = parts.truth(part)
        assert isinstance(events, Interactions)
        assert not trained & set(truth.users.tolist())
        assert popular[truth.histories.items].all()
        assert not popular[truth.relevant.items].any()
        for u, given, wanted in zip(truth.users, range(len(truth)), range(len(truth)), strict=True):
            both = [*truth.histories.row(given).tolist(), *truth.relevant.row(wanted).tolist()]
            assert sorted(both) == sorted(i for b, i in pairs if b == u)
    assert (
        split(data, "popular-given", seed=3).test.users.tolist()
        == split(data, "popular-given", seed=3).test.users.tolist()
    )


def test_a_log_without_both_kinds_is_refused() -> None:
    data = log_of([(b, i) for b in range(10) for i in (2 * b, 2 * b + 1)], 10, 20)
    with pytest.raises(ProtocolError, match="finds no held-out bundle"):
        split(data, "popular-given", popular=0.0)
