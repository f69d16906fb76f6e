"""ATJT: who is weighed by whom, what is altered, and that it trains along with any model."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from oakum import losses  # noqa: E402
from oakum.data import Dataset, Interactions, Vocabulary  # noqa: E402
from oakum.engine import steps  # noqa: E402
from oakum.engine.fit import fit, schema_of  # noqa: E402
from oakum.errors import DataError, Interrupted  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.models.sequential.gru4rec import GRU4Rec  # noqa: E402
from oakum.models.sequential.hstu import HSTU  # noqa: E402
from oakum.models.sequential.sasrec import SASRec  # noqa: E402
from oakum.plugins.atjt import ATJT, ATJTPlugin, categories  # noqa: E402
from oakum.sampling.batches import Batch, Order, pairs  # noqa: E402
from oakum.sampling.sequences import sequences  # noqa: E402
from tests.toys import random_log, walks  # noqa: E402

SMALL: dict[str, Any] = {"embedding_dim": 8, "max_length": 10}
BASES = {
    "sasrec-bce": SASRec(**SMALL, num_layers=1, loss="bce"),
    "sasrec-softmax": SASRec(**SMALL, num_layers=1),
    "hstu": HSTU(**SMALL, num_layers=1, num_negatives=4),
    "gru4rec": GRU4Rec(**SMALL),
    "bpr-mf": BPRMF(embedding_dim=8),
}
PLAN = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}


def built(data: Dataset, **settings: Any) -> ATJTPlugin:
    torch.manual_seed(0)
    spec = ATJT(**settings)
    plugin = spec.build(schema_of(spec, data))
    plugin.put_facts(plugin.prepare(data, plugin.phases()[0] if plugin.phases() else None))
    return plugin


def before(data: Dataset, row: int, length: int) -> tuple[int, list[int], int]:
    """The user, the events before and the item of a log row, by hand."""
    log = data.interactions
    at = int(np.flatnonzero(log.rows == row)[0])
    user = int(log.users[at])
    own = sorted(np.flatnonzero(log.users == user), key=lambda k: (log.times[k], log.rows[k]))
    place = own.index(at)
    return user, [int(log.items[k]) for k in own[:place]][-length:], int(log.items[at])


@pytest.mark.parametrize("length", [1, 4, 19])
def test_reads_what_stood_before_each_row(length: int) -> None:
    data = random_log(events=200)
    log = data.interactions
    kept = data.with_interactions(log.take(np.arange(len(log)) % 7 != 3))  # row ids with holes
    plugin = built(kept, max_length=length)
    batch = next(sequences(kept, Order(0, "main", 0, 20), max_length=6))
    rows = plugin.lookup(batch)
    for b in range(0, len(batch), 3):
        user, items, target = before(kept, int(batch.rows[b]), length)
        assert (int(rows.users[b]), int(rows.targets[b])) == (user, target)
        assert rows.items[b][rows.there[b]].tolist() == items


def test_finds_pairs_that_carry_no_log_rows() -> None:
    data = random_log(events=200)
    plugin = built(data)
    batch = next(pairs(data, Order(0, "main", 0, 64), by="users"))
    rows = plugin.lookup(batch)
    assert torch.equal(rows.users, batch.users)
    assert torch.equal(rows.targets, batch.items)


def test_no_row_is_weighed_by_the_recogniser_that_learned_from_it() -> None:
    data = random_log()
    plugin = built(data, kappa=1.0)
    rows = plugin.lookup(Batch(torch.from_numpy(data.interactions.rows.copy())))
    half = plugin.facts["half"]
    assert 0.25 < float(half.float().mean()) < 0.75
    for part in (0, 1):
        mine = (half[rows.users] == part) & rows.read
        moved = {}
        for what, value in (("learns", plugin.noise(rows)), ("weighs", plugin.weigh(rows))):
            plugin.zero_grad()
            grads = torch.autograd.grad(value[mine].sum(), list(plugin.parameters()), allow_unused=True)
            names = [n for n, _ in plugin.named_parameters()]
            moved[what] = {
                n.split(".")[1] for n, g in zip(names, grads, strict=True) if g is not None and bool((g != 0).any())
            }
        # Rows without a history take the mean weight, so only rows that are read count here.
        assert moved == {"learns": {str(1 - part)}, "weighs": {str(part)}}


def test_labels_say_what_was_altered() -> None:
    data = random_log()
    plugin = built(data, replace_events=2).eval()
    rows = plugin.lookup(Batch(torch.arange(100)))
    seen: dict[str, Any] = {}

    def spy(rows: Any, items: Any, *, learning: bool) -> Any:
        seen["altered"] = (items != rows.items).any(1)
        return torch.full((len(items),), 3.0)

    plugin.logits = spy  # type: ignore[method-assign]
    loss = plugin.noise(rows)
    wrong, right = torch.nn.functional.softplus(torch.tensor([3.0, -3.0])).tolist()
    wanted = torch.where(seen["altered"], wrong, right) * rows.read
    torch.testing.assert_close(loss, wanted)
    assert int(seen["altered"].sum()) == int(rows.read.sum()) // 2


def test_a_constant_weight_is_no_weight_and_scale_does_not_matter() -> None:
    torch.manual_seed(0)
    loss, weight = torch.rand(9, dtype=torch.float64), torch.rand(9, dtype=torch.float64)
    torch.testing.assert_close(losses.weighted(loss, torch.full((9,), 0.3, dtype=torch.float64)).mean(), loss.mean())
    one, ten = losses.weighted(loss, weight).mean(), losses.weighted(loss, 10 * weight).mean()
    torch.testing.assert_close(one, ten)
    torch.testing.assert_close(one, (weight * loss).sum() / weight.sum())
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: losses.weighted(loss, torch.sigmoid(w)).mean(), (weight,))
    assert float(losses.effective_share(torch.ones(5))) == pytest.approx(1.0)
    assert float(losses.effective_share(torch.tensor([1.0, 0, 0, 0]))) == pytest.approx(0.25)


@pytest.mark.parametrize("mode", ["joint", "apart"])
@pytest.mark.parametrize("base", BASES)
def test_trains_along_with_any_model(base: str, mode: str) -> None:
    data = random_log()
    plain = fit(BASES[base], data, plan=PLAN, seed=1)
    acted = fit(BASES[base], data, plan=PLAN, seed=1, plugins=[ATJT(mode=mode)])
    assert any(
        not torch.equal(a, b)
        for a, b in zip(plain.model.state_dict().values(), acted.model.state_dict().values(), strict=True)
    )
    found = acted.record.history[-1]["losses"]
    assert np.isfinite(found["noise"])
    weights = acted.plugins[0].weights(data)
    log = data.interactions
    first = np.zeros(len(log), bool)
    first[[min(np.flatnonzero(log.users == u), key=lambda k: (log.times[k], log.rows[k])) for u in range(40)]] = True
    assert np.isnan(weights[first]).all()
    assert ((weights[~first] > 0) & (weights[~first] < 1)).all()


def test_weights_reach_the_recogniser_only_where_joint() -> None:
    data = random_log()
    for mode, reached in (("joint", True), ("apart", False)):
        plugin = built(data, mode=mode)
        rows = Batch(torch.arange(50))
        run: Any = type("Run", (), {"epoch": 0})()
        value = torch.rand(50, requires_grad=True)
        out = plugin.loss(run, rows, {}, {"bce": value, "l2": value})
        assert ("noise" in out) == reached
        assert out["l2"] is value
        assert out["bce"].grad_fn is not None
        grads = torch.autograd.grad(out["bce"].sum(), list(plugin.parameters()), allow_unused=True)
        assert any(g is not None for g in grads) == reached


def test_begins_when_it_should() -> None:
    plugin = built(random_log(), begin=2)
    value = torch.rand(30)
    run: Any = type("Run", (), {"epoch": 1})()
    assert plugin.loss(run, Batch(torch.arange(30)), {}, {"bce": value})["bce"] is value
    run.epoch = 2
    assert plugin.loss(run, Batch(torch.arange(30)), {}, {"bce": value})["bce"] is not value


def test_a_turn_of_its_own_moves_the_recogniser_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    real = steps.central

    def central(run: Any, batch: Any, moving: Any, update: Any) -> Any:
        earlier = [p.detach().clone() for p in run.model.parameters()]
        own = [p.detach().clone() for p in run.plugins[0].parameters()]
        out = real(run, batch, moving, update)
        moved = lambda old, new: any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))
        turns.append((moved(earlier, run.model.parameters()), moved(own, run.plugins[0].parameters()), *out))
        return out

    monkeypatch.setattr(steps, "central", central)
    fit(BASES["gru4rec"], random_log(), plan=PLAN, plugins=[ATJT(mode="apart")])
    assert turns[::2] == [(True, False, "softmax")] * (len(turns) // 2)
    assert turns[1::2] == [(False, True, "noise")] * (len(turns) // 2)


def test_turns_of_another_do_not_hurry_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[str, list[float]] = {"softmax": [], "noise": []}
    real = steps.central

    def central(run: Any, batch: Any, moving: Any, update: Any) -> Any:
        out = real(run, batch, moving, update)
        rates["noise" if "noise" in out else "softmax"].append(update.param_groups[0]["lr"])
        return out

    monkeypatch.setattr(steps, "central", central)
    fit(BASES["gru4rec"], random_log(), plan={**PLAN, "schedule": "linear"}, plugins=[ATJT(mode="apart", rate=0.02)])
    n = len(rates["softmax"])
    assert rates["softmax"] == pytest.approx([0.01 * (1 - k / n) for k in range(n)])
    assert rates["noise"] == pytest.approx([0.02 * (1 - (k + 1) / n) for k in range(n)])


def test_a_turn_takes_as_many_rows_as_the_spec_says() -> None:
    data = random_log()
    plugin = built(data, mode="apart", batch_size=100)
    found = [len(b) for b in plugin.batches(data, plugin.phases()[0], Order(0, "noise", 0, 16))]
    assert sum(found) == len(data)
    assert set(found[:-1]) == {100}


@pytest.mark.parametrize("at", [1, 2, 5, 8])
def test_a_stopped_alternation_goes_on_as_if_it_had_not(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {**PLAN, "checkpoint": str(tmp_path / "state")}
    kept = {"data": random_log(), "plugins": [ATJT(mode="apart")], "seed": 5}
    straight = fit(BASES["sasrec-bce"], plan=PLAN, **kept)
    with monkeypatch.context() as patch:
        real, seen = steps.central, {"n": 0}

        def central(*args: Any) -> Any:
            seen["n"] += 1
            if seen["n"] == at:
                signal.raise_signal(signal.SIGINT)
            return real(*args)

        patch.setattr(steps, "central", central)
        with pytest.raises(Interrupted):
            fit(BASES["sasrec-bce"], plan=plan, **kept)
    resumed = fit(BASES["sasrec-bce"], plan=plan, **kept)
    for pair in ((straight.model, resumed.model), (straight.plugins[0], resumed.plugins[0])):
        for a, b in zip(pair[0].state_dict().values(), pair[1].state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_finds_planted_events_among_walks() -> None:
    """Histories that are walks along a ring, some with three strangers in them: those must look less clean."""
    rng = np.random.default_rng(0)
    n, length = 160, 14
    starts = rng.integers(0, 40, n)
    items = (starts[:, None] + np.arange(length)) % 40
    noisy = np.arange(n) % 5 == 0
    for u in np.flatnonzero(noisy):
        at = rng.choice(length - 1, 5, replace=False)
        items[u, at] = rng.integers(0, 40, 5)
    ids = lambda letter, k: Vocabulary(pl.Series("id", [f"{letter}{j}" for j in range(k)]))
    log = Interactions(np.repeat(np.arange(n), length), items.ravel(), None, np.tile(np.arange(length), n) * 10**6)
    data = Dataset(log, ids("u", n), ids("i", 40))
    plan = {"epochs": 10, "batch_size": 64, "learning_rate": 3e-3}
    fitted = fit(
        BASES["bpr-mf"], data, plan=plan, plugins=[ATJT(mode="apart", rate=5e-3, replace_events=3, dropout=0.1)]
    )
    weights = fitted.plugins[0].weights(data).reshape(n, length)[:, -1]
    assert weights[~noisy].mean() > weights[noisy].mean() + 0.1


@pytest.mark.parametrize("replacement", ["uniform", "popular", "category"])
def test_what_comes_in_place_differs_from_what_goes(replacement: str) -> None:
    data = random_log()
    plugin = built(data, replacement=replacement, category="category")
    items = torch.randint(0, 30, (500,))
    found = plugin.draw(items)
    assert (found != items).all()
    assert ((found >= 0) & (found < 30)).all()
    if replacement == "category":
        assert torch.equal(found % 2, items % 2)


def test_categories_are_the_first_that_is_named() -> None:
    data = walks(4, 3)
    table = pl.DataFrame({"genres": ["a|b", "b", None, "a, c"], "kinds": [["x"], ["y", "x"], [], ["x"]]})
    told = Dataset(data.interactions, data.users, data.items, {"items": table})
    assert categories(told, "genres").tolist() == [2, 3, 0, 2]
    assert categories(told, "kinds").tolist()[0] == categories(told, "kinds").tolist()[3]
    assert categories(told, "").tolist() == [0, 0, 0, 0]
    with pytest.raises(DataError, match="genres, kinds"):
        categories(told, "genre")
    with pytest.raises(DataError, match="no table"):
        categories(Dataset(data.interactions, data.users, data.items), "genre")
