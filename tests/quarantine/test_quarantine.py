"""New events wait where they look arranged; what is taken back is as if it had never come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from oakum.attacks.base import budget_for, cold_targets, propose
from oakum.catalogue import load_class
from oakum.data import Dataset
from oakum.data.convert import convert, frame_from
from oakum.data.read import read
from oakum.data.simulate import Market, simulate
from oakum.defences.detect.coordination import Coordination, coordination, surprise
from oakum.engine.fit import fit
from oakum.errors import DataError, ParameterError
from oakum.models.classic.knn import ItemKNN
from oakum.quarantine import Quarantine
from oakum.store import load
from tests.cli.test_cli import oakum


def market() -> tuple[Dataset, Dataset, Dataset]:
    """A past, an honest delivery of new people, and the same delivery with fake accounts among them."""
    data = simulate(Market(users=600, items=200, events=18_000), seed=3)
    people = np.flatnonzero(data.user_counts > 0)
    fresh = np.random.default_rng(0).choice(people, len(people) // 10, replace=False)
    mask = np.isin(data.interactions.users, fresh)
    past = data.with_interactions(data.interactions.take(~mask))
    honest = data.with_interactions(data.interactions.take(mask))
    goal = cold_targets(past, 3, seed=1)
    attack = load_class("bandwagon-profiles")()
    poisoned = propose(attack, past, goal, budget_for(past, 0.03, targets=3), seed=0).poisoned
    fakes = frame_from(poisoned).slice(len(past))
    mixed = pl.concat(
        [frame_from(honest), fakes.with_columns(pl.col(c).cast(t) for c, t in frame_from(honest).schema.items())]
    )
    as_log = lambda frame: read(frame)
    return as_log(frame_from(past)), as_log(frame_from(honest)), as_log(mixed)


@pytest.fixture(scope="module")
def deliveries() -> tuple[Dataset, Dataset, Dataset]:
    return market()


def slow_coordination(batch: np.ndarray, past: np.ndarray) -> np.ndarray:
    """The definition, one account and one item at a time."""
    n = batch.sum(0)
    total, items = batch.sum(), len(past)
    out = []
    for row in batch:
        evidence = 0.0
        for i in np.flatnonzero(row):
            e = total * (past[i] + 0.5) / (past.sum() + 0.5 * items)
            rare = n[i] * np.log(n[i] / e) - (n[i] - e) if n[i] > e else 0.0
            evidence += rare / n[i] * min(n[i] - 1, 20)
        out.append(evidence / np.sqrt(max(1, row.sum())))
    return np.array(out)


def test_scores_agree_with_the_definition() -> None:
    from scipy import sparse

    rng = np.random.default_rng(0)
    batch = (rng.random((30, 40)) < 0.2).astype(np.float64)
    past = rng.integers(0, 50, 40)
    np.testing.assert_allclose(
        coordination(sparse.csr_matrix(batch), past), slow_coordination(batch, past), rtol=1e-9, atol=1e-12
    )
    assert (surprise(sparse.csr_matrix(batch), past) >= 0).all()


def test_arranged_accounts_are_held_and_honest_ones_are_not(deliveries: Any, tmp_path: Any) -> None:
    past, honest, mixed = deliveries
    calm = Quarantine(past, tmp_path / "calm").screen(honest)
    assert calm.batch.held_accounts <= 0.05 * calm.batch.accounts
    found = Quarantine(past, tmp_path / "hot").screen(mixed)
    fakes = set(mixed.users.ids.to_list()) - set(honest.users.ids.to_list())
    held = {a["user"] for a in found.accounts}
    assert len(held & fakes) == len(fakes)
    assert len(held - fakes) <= 0.05 * found.batch.accounts
    assert found.lists["changed"]["value"] > 0
    assert found.lists["gaining"]


def test_what_is_taken_back_is_as_if_it_had_never_come(deliveries: Any, tmp_path: Any) -> None:
    past, honest, mixed = deliveries
    kept = Quarantine(past, tmp_path / "q")
    before = kept.events()
    first = kept.screen(honest).batch
    with_first = kept.events()
    second = kept.screen(mixed).batch
    assert len(kept.events()) > len(with_first)
    kept.take_back(second.id)
    assert kept.events().digest == with_first.digest
    kept.take_back(first.id)
    assert kept.events().digest == before.digest
    one, two = (fit(ItemKNN(), d).score for d in (before, kept.events()))
    queries = fit(ItemKNN(), before).queries(np.arange(20, dtype=np.int32))
    np.testing.assert_array_equal(one(queries), two(queries))


def test_the_state_survives_and_release_lets_held_events_in(deliveries: Any, tmp_path: Any) -> None:
    past, _, mixed = deliveries
    batch = Quarantine(past, tmp_path / "q").screen(mixed).batch
    again = Quarantine(past, tmp_path / "q")
    assert again.batches == [batch]
    assert len(again.events()) == len(past) + batch.events - batch.held_events
    again.release(batch.id)
    assert len(Quarantine(past, tmp_path / "q").events()) == len(past) + batch.events
    with pytest.raises(ParameterError, match="is accepted"):
        again.release(batch.id)


def test_what_does_not_belong_is_refused(deliveries: Any, tmp_path: Any) -> None:
    past, honest, _ = deliveries
    kept = Quarantine(past, tmp_path / "q")
    kept.screen(honest)
    with pytest.raises(DataError, match="screened before, as batch b0001"):
        kept.screen(honest)
    with pytest.raises(ParameterError, match="There is no batch 'b1'"):
        kept.take_back("b1")
    with pytest.raises(DataError, match="another log"):
        Quarantine(past.with_interactions(past.interactions.take(slice(0, 50))), tmp_path / "q")
    file = tmp_path / "q" / "batches" / "b0001.parquet"
    pl.read_parquet(file).head(3).write_parquet(file)
    with pytest.raises(DataError, match="was changed after it was stored"):
        kept.events()


def test_a_log_without_times_or_ratings_takes_deliveries_that_have_them(deliveries: Any, tmp_path: Any) -> None:
    past, honest, _ = deliveries
    bare = replace(past, interactions=replace(past.interactions, times=None, values=None), name="bare")
    kept = Quarantine(bare, tmp_path / "q")
    kept.screen(honest)
    assert kept.events().interactions.times is None


def test_the_bar_is_what_the_past_itself_reaches(deliveries: Any) -> None:
    past, _, _ = deliveries
    strict, loose = (Coordination(false_share=s).bar(past.matrix, 40) for s in (0.001, 0.05))
    assert strict > loose > 0


def test_the_command_screens_lists_and_takes_back(deliveries: Any, tmp_path: Any) -> None:
    past, _, mixed = deliveries
    log, new = convert(past, tmp_path / "log.csv"), convert(mixed, tmp_path / "new.csv")
    state = ("--state", tmp_path / "q")
    value = json.loads(oakum("quarantine", log, "--new", new, *state, "--json").stdout)
    assert value["batch"]["held_accounts"] > 0
    out = oakum("quarantine", log, "--take-back", "b0001", *state, "--model", tmp_path / "model").stdout
    assert "as if it had never come" in out
    assert load(tmp_path / "model").recommend(history=[past.items.ids[0]], k=3)
    assert "taken back" in oakum("quarantine", log, *state).stdout
    assert "There is no batch" in oakum("quarantine", log, "--release", "b9", *state, code=2).stderr
