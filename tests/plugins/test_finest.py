"""The penalty by hand, lists that follow their rows, runs that are stopped, and files that come back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.train import stages_of  # noqa: E402
from oakum.errors import DataError, Interrupted, ModelFileError  # noqa: E402
from oakum.models.sequential.gru4rec import GRU4Rec  # noqa: E402
from oakum.models.sequential.hstu import HSTU  # noqa: E402
from oakum.models.sequential.sasrec import SASRec  # noqa: E402
from oakum.plugins.finest import FINEST, Ends, penalty, perturbed, scores_of  # noqa: E402
from oakum.sampling.batches import Order  # noqa: E402
from oakum.sampling.sequences import sequences  # noqa: E402
from oakum.splits import split  # noqa: E402
from tests.contracts.test_resume import stop_after  # noqa: E402
from tests.toys import log_of, random_log  # noqa: E402

PLAN = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, "patience": 0}
SMALL = SASRec(embedding_dim=16, num_layers=1, max_length=12, dropout=0.2)


def weights(fitted: Any) -> dict[str, Any]:
    return dict(fitted.model.state_dict())


def equal(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


# --- the penalty ----------------------------------------------------------------------------------------------------
def test_nothing_is_asked_of_scores_that_fall_far_enough_and_twice_the_margin_of_equal_ones() -> None:
    falling = torch.arange(8, 0, -1, dtype=torch.float64)[None] * 0.2
    assert penalty(falling, 0.1).tolist() == [0.0]
    assert penalty(torch.full((3, 8), 0.7), 0.1).tolist() == pytest.approx([0.2] * 3)


def test_the_penalty_is_that_of_two_loops_and_only_differences_count() -> None:
    torch.manual_seed(0)
    scores = torch.randn(5, 12, dtype=torch.float64)
    for row, found in zip(scores.tolist(), penalty(scores, 0.3).tolist(), strict=True):
        top, rest = row[:6], row[6:]
        order = sum(max(0.0, 0.3 - (top[k] - top[k + 1])) for k in range(5)) / 5
        above = sum(max(0.0, 0.3 - (top[k] - rest[k])) for k in range(6)) / 6
        assert found == pytest.approx(order + above, abs=1e-12)
    moved = penalty(scores + torch.randn(5, 1, dtype=torch.float64), 0.3)
    torch.testing.assert_close(moved, penalty(scores, 0.3))


def test_gradients_agree_with_differences() -> None:
    torch.manual_seed(1)
    scores = torch.randn(4, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: penalty(s, 0.25), (scores,))


@pytest.mark.parametrize("items", [20, 500])
def test_scores_of_own_items_either_way(items: int) -> None:
    torch.manual_seed(2)
    query, table = torch.randn(6, 4), torch.randn(items, 4)
    own = torch.randint(0, items, (6, 10))
    wanted = (query[:, None] * table[own]).sum(-1)
    torch.testing.assert_close(scores_of(query, table, own), wanted)


# --- the two trainings ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("spec", [SMALL, GRU4Rec(embedding_dim=16), HSTU(embedding_dim=16, max_length=12)])
def test_without_changes_and_without_a_penalty_it_is_plain_training_of_equal_length(spec: Any) -> None:
    """A margin that everything meets makes the penalty zero, so all of the machinery runs and must not be felt."""
    data = random_log()
    tuned = fit(
        spec, data, plan=PLAN, seed=2, plugins=[FINEST(k=5, sigma=0.0, margin=-1e9, epochs=2, learning_rate=3e-3)]
    )
    base = fit(spec, data, plan=PLAN, seed=2)
    longer = fit(spec, data, plan={**PLAN, "epochs": 2, "learning_rate": 3e-3}, init=base, seed=2)
    assert equal(tuned, longer)
    assert not equal(tuned, base)
    assert [h["losses"].get("_finest") for h in tuned.record.history] == [None, None, None, 0.0, 0.0]
    felt = fit(spec, data, plan=PLAN, seed=2, plugins=[FINEST(k=5, sigma=0.0, epochs=2, learning_rate=3e-3)])
    assert not equal(felt, longer)


def test_it_starts_from_the_best_weights_and_keeps_the_last() -> None:
    parts = split(random_log(events=900), "last-share", test=0.1, valid=0.1)
    plan = {**PLAN, "epochs": 24, "evaluate_every": 1, "learning_rate": 0.03}
    base = fit(SMALL, parts, plan=plan, seed=3)
    looks = [h["validation"]["ndcg@10"] for h in base.record.history]
    assert int(np.argmax(looks)) < 23  # else best and last are the same
    still = FINEST(k=5, sigma=0.0, epochs=1, learning_rate=1e-12)
    tuned = fit(SMALL, parts, plan=plan, seed=3, plugins=[still])
    for name, value in weights(base).items():
        torch.testing.assert_close(weights(tuned)[name], value, atol=1e-8, rtol=0)
    assert "validation" not in tuned.record.history[-1]


def test_a_phase_that_comes_after_repeats_the_last_one() -> None:
    data = random_log()
    model = SMALL.build(data.schema)
    stages = stages_of(model, [FINEST(epochs=7, learning_rate=0.5).build(None)])
    assert [len(s) for s in stages] == [1, 1]
    assert stages[1][0].after
    assert (stages[1][0].epochs, stages[1][0].learning_rate, stages[1][0].name) == (7, 0.5, stages[0][0].name)
    assert stages_of(model, [FINEST(gamma=0.0).build(None)]) == stages[:1]


@pytest.mark.parametrize("lists", ["evaluation", "training"])
@pytest.mark.parametrize("at", [5, 8, 10])
def test_stopped_and_resumed_is_the_same(at: int, lists: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, plugin = random_log(), FINEST(k=5, epochs=3, sigma=0.05, lists=lists)
    plan = {**PLAN, "checkpoint": str(tmp_path)}
    straight = fit(SMALL, data, plan=PLAN, seed=4, plugins=[plugin])
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        with pytest.raises(Interrupted):
            fit(SMALL, data, plan=plan, seed=4, plugins=[plugin])
    assert equal(straight, fit(SMALL, data, plan=plan, seed=4, plugins=[plugin]))


# --- lists and rows -------------------------------------------------------------------------------------------------
def kind_of(data: Any, changed: Any) -> str:
    before, after = len(data), len(changed)
    return "deleted" if after < before else "inserted" if after > before else "replaced"


def test_lists_follow_row_ids_under_every_simulated_change() -> None:
    data = random_log()
    old = {
        int(r): (int(u), int(i))
        for r, u, i in zip(*(getattr(data.interactions, n) for n in ("rows", "users", "items")), strict=True)
    }
    seen = set()
    for draw in range(12):
        changed = perturbed(data, 0.05, np.random.default_rng(draw))
        kind = kind_of(data, changed)
        seen.add(kind)
        flat = changed.histories
        owners = flat.owners()
        before = {
            int(flat.rows[p]): (int(flat.rows[p - 1]), int(flat.items[p - 1]))
            for p in range(1, len(flat.rows))
            if owners[p] == owners[p - 1]
        }
        ends = Ends(changed)
        for batch in sequences(changed, Order(0, "main", 0, 8), max_length=50):
            at, ids = ends.of(batch)
            for row, place, found, user in zip(
                batch.rows.tolist(), at.tolist(), ids.tolist(), batch.users.tolist(), strict=True
            ):
                assert (found, int(ends.items[place])) == before[row]
                if found in old and kind != "replaced":
                    assert old[found] == (user, before[row][1])  # the same event as ever
        if kind == "inserted":
            fresh = np.setdiff1d(changed.interactions.rows, data.interactions.rows)
            assert fresh.min() > data.interactions.rows.max()
    assert seen == {"deleted", "inserted", "replaced"}


def test_rows_of_another_item_and_new_rows_take_no_part() -> None:
    """All rows replaced: no list may be held. Rows inserted before all others: every second history ends in a new row."""
    data = random_log()
    plugin: Any = FINEST(k=5, sigma=1.0).build(None)
    torch.manual_seed(0)
    model = SMALL.build(data.schema).eval()
    run: Any = SimpleNamespace(
        model=model, data=data, memo={}, seed=0, epoch=0, device=torch.device("cpu"),
        plan=SimpleNamespace(batch_size=8, epochs=1), phase=SimpleNamespace(after=True, name="main", epochs=1),
    )  # fmt: skip

    def use(other: Any) -> None:
        run.data = other
        run.memo.clear()

    run.use = use
    plugin.start(run)
    plugin.epoch(run)
    model.eval()
    log = data.interactions

    def held(changed: Any) -> int:
        use(changed)
        count = 0
        for batch in sequences(changed, Order(0, "main", 0, 8), max_length=12):
            reps = model.represent(batch)
            losses = plugin.loss(run, batch, {"query": -reps["query"]}, {})  # upside down, so that every list is broken
            count += int((losses["_finest"] > 0).sum())
        return count

    places = sum(len(b.rows) for b in sequences(data, Order(0, "main", 0, 8), max_length=12))
    assert held(data) == places
    other = data.with_interactions(log.with_items(log.rows, (log.items + 1) % data.num_items))
    assert held(other) == 0
    doubled = data.with_interactions(log.with_before(log.rows, np.zeros(len(log), np.int32)))
    full = sum(len(b.rows) for b in sequences(doubled, Order(0, "main", 0, 8), max_length=12))
    assert 0 < held(doubled) <= full // 2


def test_frozen_lists_are_those_of_the_base_model(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    data, path = random_log(), tmp_path / "lists.safetensors"
    spec = GRU4Rec(embedding_dim=16, max_length=12)  # its states do not depend on what comes after them
    base = fit(spec, data, plan=PLAN, seed=5)
    fit(spec, data, plan=PLAN, seed=5, plugins=[FINEST(k=4, epochs=1, keep=str(path))])
    kept = load_file(str(path))
    flat = data.histories
    for row, item, found in zip(kept["rows"][:40], kept["items"][:40], kept["lists"][:40], strict=True):
        at = int(np.flatnonzero(flat.rows == row)[0])
        user = int(flat.owners()[at])
        start = max(int(flat.offsets[user]), int(flat.offsets[user + 1]) - 13)  # the window that training reads
        scores = base.score(
            type(base.queries(np.array([0])))(
                np.array([user], np.int32), type(flat).of([flat.items[start : at + 1].tolist()])
            )
        )[0]
        assert item == flat.items[at]
        np.testing.assert_allclose(scores[found], np.sort(scores)[::-1][:8], atol=1e-5)


def test_only_the_last_places_where_so_asked(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    data, path = random_log(), tmp_path / "lists.safetensors"
    fit(SMALL, data, plan=PLAN, plugins=[FINEST(k=4, epochs=1, last=3, keep=str(path))])
    flat = data.histories
    owners = flat.owners()[np.isin(flat.rows, load_file(str(path))["rows"])]
    assert np.bincount(owners).max() == 3


def test_yesterdays_lists_are_held_to_and_strange_files_refused(tmp_path: Path) -> None:
    data, path = random_log(), tmp_path / "lists.safetensors"
    keep = FINEST(k=5, epochs=2, keep=str(path))
    first = fit(SMALL, data, plan=PLAN, seed=6, plugins=[keep])
    again = fit(SMALL, data, plan=PLAN, seed=6, plugins=[FINEST(k=5, epochs=2, anchor=str(path))])
    assert equal(first, again)
    fewer = data.with_interactions(data.interactions.without(data.interactions.rows[[3, -1]]))
    other = fit(SMALL, fewer, plan=PLAN, seed=7, plugins=[FINEST(k=5, epochs=2, anchor=str(path))])
    own = fit(SMALL, fewer, plan=PLAN, seed=7, plugins=[FINEST(k=5, epochs=2)])
    assert not equal(other, own)
    with pytest.raises(ModelFileError, match="other items"):
        fit(SMALL, random_log(items=31), plan=PLAN, plugins=[FINEST(anchor=str(path))])
    (tmp_path / "bad").write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match="cannot be read"):
        fit(SMALL, data, plan=PLAN, plugins=[FINEST(anchor=str(tmp_path / "bad"))])


def test_a_log_that_is_too_small_is_refused_in_words() -> None:
    tiny = log_of([(0, 0), (0, 1), (1, 1), (1, 0)], 2, 2)
    with pytest.raises(DataError, match="Give a larger log"):
        fit(SMALL, tiny, plan=PLAN, plugins=[FINEST()])
