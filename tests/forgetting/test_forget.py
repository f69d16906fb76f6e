"""People leave a model: rows, ids, weights; the test of memory sees members and misses those who left."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oakum import store
from oakum.data import Ragged
from oakum.data.simulate import Market, simulate
from oakum.engine.fit import fit
from oakum.errors import DataError
from oakum.forgetting import forget, membership
from oakum.forgetting.membership import familiarity
from oakum.models.classic.ease import EASE
from oakum.models.classic.knn import ItemKNN
from oakum.models.classic.popularity import Popularity
from oakum.serve.models import Shelf
from tests.cli.test_cli import RUN
from tests.toys import log_of


@pytest.fixture(scope="module")
def data() -> Any:
    return simulate(Market(users=300, items=150, events=5000), seed=0)


def test_a_log_without_people_is_the_log_as_if_they_had_never_been(data: Any) -> None:
    gone = np.array([0, 7, 299], np.int32)
    left = data.without_users(gone)
    assert left.num_users == 297
    stays = np.setdiff1d(np.arange(300), gone)
    assert left.users.ids.to_list() == data.users.ids.gather(stays).to_list()
    np.testing.assert_array_equal(left.matrix.toarray(), data.matrix.toarray()[stays])
    assert len(left.tables["users"]) == 297 if "users" in left.tables else True
    for edges in left.relations.values():
        for side, codes in ((edges.source, edges.sources), (edges.target, edges.targets)):
            if side == "users":
                assert codes.min() >= 0
                assert codes.max() < 297


def test_the_new_model_is_the_one_that_never_met_them(data: Any) -> None:
    model = fit(EASE(), data)
    ids = data.users.ids.to_list()
    made, said = forget(model, ids[:3], test=False)
    never = fit(EASE(), data.without_users(np.arange(3, dtype=np.int32)))
    queries = never.queries(np.arange(20, dtype=np.int32))
    np.testing.assert_array_equal(made.score(queries), never.score(queries))
    assert (made.users.encode(ids[:3]) == -1).all()
    assert said.events == int((data.interactions.users < 3).sum())
    assert str(ids[0]) not in said.statement.split()
    assert said.before != said.after


def test_familiarity_agrees_with_the_loop(data: Any) -> None:
    model = fit(ItemKNN(), data)
    row = np.unique(data.histories.row(5))
    shares = []
    for i in row:
        rest = [int(j) for j in row if j != i]
        scores = model.score(
            model.queries(np.array([0], np.int32)).__class__(np.array([-1], np.int32), Ragged.of([rest]))
        )[0]
        others = [j for j in range(150) if j not in row]
        shares += [(scores[j] < scores[i]) + 0.5 * (scores[j] == scores[i]) for j in others]
    assert familiarity(model, data.histories.take(np.array([5])), most=10_000)[0] == pytest.approx(np.mean(shares))


def test_the_test_sees_members_and_not_who_left(data: Any) -> None:
    model = fit(EASE(l2=1.0), data)
    ids = data.users.ids.to_list()
    _, said = forget(model, ids[:20], controls=60)
    test = said.test
    assert test is not None
    assert test.power.low > 0.7
    assert test.traces.value < 0.6 < test.power.value
    assert test.p_value > 0.05
    assert "No trace" in test.sentence
    # The old model asked the same way: what would have been found had nobody been taken out.
    left = data.without_users(np.arange(20, dtype=np.int32))
    reference = fit(EASE(l2=1.0), left.without_users(np.arange(60, dtype=np.int32)))
    h = data.histories
    pick = lambda a, b: h.take(np.arange(a, b))
    kept = membership(model, reference, pick(0, 20), pick(20, 80), pick(100, 180))
    assert kept.traces.low > 0.6
    assert kept.p_value < 0.05
    assert "A trace" in kept.sentence


def test_a_model_that_remembers_nothing_gives_a_test_without_power(data: Any) -> None:
    _, said = forget(fit(Popularity(), data), data.users.ids.to_list()[:5], controls=40)
    assert said.test is not None
    assert "no power" in said.test.sentence or "No trace" in said.test.sentence


def test_strangers_and_everybody_are_refused() -> None:
    data = log_of([(0, 0), (0, 1), (1, 1)], 2, 3)
    model = fit(ItemKNN(), data)
    with pytest.raises(DataError, match="knows no user 'nobody'"):
        forget(model, ["nobody"])
    with pytest.raises(DataError, match="no event left"):
        forget(model, data.users.ids.to_list())


def test_the_command_leaves_no_version_that_remembers(data: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    model = fit(ItemKNN(), data)
    store.save(model, folder)
    Shelf(folder).publish(model)
    who = str(data.users.ids.to_list()[4])
    line = [*RUN, "forget", who, "--model", str(folder), "--statement", str(tmp_path / "said.md")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Shelf(folder).current() == folder
    assert not (folder / "refreshed").exists()
    assert store.load(folder).users.encode([who])[0] == -1
    assert "Statement of deletion" in (tmp_path / "said.md").read_text()
    assert json.loads((tmp_path / "said.json").read_text())["people"]
    assert who.encode() not in b"".join(p.read_bytes() for p in folder.rglob("users.parquet"))
    again = subprocess.run(line, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "knows no user" in again.stderr
