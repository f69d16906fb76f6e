"""OptInter: the search against the nets it chooses between, its schedule, its choices, and what is left of its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Dataset, Interactions, Vocabulary  # noqa: E402
from oakum.engine.fit import fit, schema_of  # noqa: E402
from oakum.errors import DataError, Interrupted, ParameterError  # noqa: E402
from oakum.models.ctr.optinter import CHOICES, OptInter  # noqa: E402
from oakum.splits import split  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.contracts.test_resume import stop_after  # noqa: E402
from tests.toys import labelled_rows  # noqa: E402

SMALL = OptInter(embedding_dim=4, cross_dim=3, hidden=(8,), cross_count=2)
PLAN = {"epochs": 3, "batch_size": 64, "learning_rate": 0.02}


def planted(rows: int = 6000, values: int = 12, seed: int = 0) -> Dataset:
    """Four fields; the pair (a, b) has a random logit in every cell, nothing else says anything."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, values, (rows, 4))
    table = rng.normal(scale=2.5, size=(values, values))
    label = (rng.random(rows) < 1 / (1 + np.exp(-table[codes[:, 0], codes[:, 1]]))).astype(np.float32)
    nobody = np.full(rows, -1, np.int32)
    none = Vocabulary(_empty())
    log = Interactions(nobody, nobody, label, fields={n: codes[:, k] for k, n in enumerate("abcd")})
    return Dataset(log, none, none, name="planted")


def _empty() -> Any:
    import polars as pl

    return pl.Series("id", [], dtype=pl.String)


def prepared(spec: OptInter, data: Dataset) -> Any:
    """Untrained, with its vocabularies."""
    model = spec.build(schema_of(spec, data))
    model.put_facts(model.prepare(data, model.phases()[-1] if spec.choices else _first(model)))
    return model


def _first(model: Any) -> Any:
    phase = model.phases()[0]
    return phase[0] if isinstance(phase, tuple) else phase


def inputs(model: Any, data: Dataset) -> tuple[Any, Any, Any]:
    codes, values = (torch.from_numpy(x) for x in model.coder.encode(data.interactions))
    return model.embed(codes.long(), values), codes.long(), values


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_search_that_is_certain_is_the_net_it_chose(which: int) -> None:
    data = labelled_rows()
    torch.manual_seed(0)
    search, fixed = prepared(SMALL, data), prepared(SMALL.replace(choices=(CHOICES[which],)), data)
    assert search.searching
    assert not fixed.searching
    with torch.no_grad():
        for table in (search.embed, search.crosses, search.factors):
            torch.nn.init.normal_(table.table.weight)
        search.alpha[:, which] = 1e6
        state, own = search.state_dict(), fixed.state_dict()
        for name in own:
            if name.split(".")[0] in ("embed", "crosses", "factors", "deep"):
                own[name] = state[name][:, : own[name].shape[1]] if name == "deep.net.0.weight" else state[name]
        fixed.load_state_dict(own)
    search.eval(), fixed.eval()
    assert (fixed.crosses is None, fixed.factors is None) == (which != 0, which != 1)
    torch.testing.assert_close(
        search.logit(*inputs(search, data)), fixed.logit(*inputs(fixed, data)), atol=1e-6, rtol=0
    )


def test_the_network_sees_fields_crosses_and_products() -> None:
    """Row by row, pair by pair, with a dictionary of crosses."""
    data = labelled_rows(200)
    pairs = len(prepared(SMALL, data).pairs)
    mixed = tuple(CHOICES[p % 3] for p in range(pairs))
    model = prepared(SMALL.replace(choices=mixed), data)
    for table in (model.embed, model.crosses, model.factors):
        torch.nn.init.normal_(table.table.weight)
    fields, codes, values = inputs(model, data)
    seen: dict[int, dict[tuple[int, int], int]] = {}
    row = 0
    for p, pair in enumerate(model.pairs):
        if mixed[p] != "memorise":
            continue
        cells = [tuple(r[list(pair.slots)].tolist()) for r in codes]
        kept = sorted({c for c in cells if cells.count(c) >= 2 and 1 not in c})
        seen[p] = {"rare": row, **{c: row + 1 + k for k, c in enumerate(kept)}}  # type: ignore[dict-item]
        row += 1 + len(kept)
    assert len(model.crosses.table.weight) == row
    names = model.factors.layout.names
    starts = np.cumsum([0, *(f.rows for f in model.factors.layout.fields)])
    for r in range(0, 200, 23):
        parts = [fields[r].flatten()]
        for p, own in seen.items():
            cell = tuple(codes[r, list(model.pairs[p].slots)].tolist())
            parts.append(model.crosses.table.weight[own.get(cell, own["rare"])])  # type: ignore[call-overload]
        for p, pair in enumerate(model.pairs):
            if mixed[p] == "factorise":
                ends = [
                    model.factors.table.weight[starts[names.index(n)] + codes[r, s]]
                    for n, s in zip(pair.names, pair.slots, strict=True)
                ]
                parts.append(ends[0] * ends[1])
        wanted = model.deep(torch.cat(parts)[None])
        torch.testing.assert_close(model.logit(fields[r : r + 1], codes[r : r + 1], values[r : r + 1]), wanted)


def test_the_temperature_falls_to_one_hundredth() -> None:
    model = prepared(SMALL, labelled_rows(100))
    for steps, wanted in ((0, 1.0), (10_000, 0.5), (19_799, 0.01005), (19_800, 0.01), (50_000, 0.01)):
        model.steps.fill_(steps)
        assert model.temperature == pytest.approx(wanted)
    with torch.no_grad():
        model.alpha[:] = torch.tensor([0.1, 0.3, -0.5])
    torch.testing.assert_close(
        model.weights(), torch.tensor([0.0, 1, 0]).expand(len(model.pairs), 3), atol=1e-6, rtol=0
    )


def test_gumbel_noise_draws_choices_by_their_odds() -> None:
    model = prepared(SMALL.replace(gumbel=True), labelled_rows(100))
    with torch.no_grad():
        model.alpha[:] = torch.log(torch.tensor([0.6, 0.3, 0.1]))
        torch.manual_seed(0)
        model.train()
        drawn = torch.stack([model.weights().argmax(1) for _ in range(2000)]).flatten().bincount(minlength=3)
        model.eval()
        plain = model.weights()
    np.testing.assert_allclose(drawn / drawn.sum(), [0.6, 0.3, 0.1], atol=0.02)
    torch.testing.assert_close(plain[0], torch.tensor([0.6, 0.3, 0.1]))


@pytest.mark.parametrize("search", ["joint", "bilevel"])
def test_finds_the_pair_that_must_be_memorised(search: str) -> None:
    spec = SMALL.replace(search=search, hidden=(16,), search_epochs=4)
    parts = split(planted(), "rows")
    plan = {"epochs": 8, "batch_size": 128, "learning_rate": 0.01, "patience": 2}
    model = fit(spec, parts, plan=plan)
    found = {(a, b): c for a, b, c in model.model.found()}
    assert found["a", "b"] == "memorise"
    rows = sum(n for n, c in zip(model.model.kept, found.values(), strict=True) if c == "memorise")
    assert len(model.model.crosses.table.weight) == rows + list(found.values()).count("memorise")
    names = [h["phase"] for h in model.record.history]
    assert names == sorted(names)  # all of the search, then all of the training
    assert set(names) == {"search", "train"}


def test_bilevel_moves_weights_and_choices_on_rows_of_their_own() -> None:
    data = labelled_rows(400)
    model = prepared(SMALL.replace(search="bilevel"), data)
    (search, choose), train = model.phases()
    from oakum.sampling.batches import Order

    took = {
        p.name: torch.cat([b.rows for b in model.batches(data, p, Order(0, p.name, 0, 32))])
        for p in (search, choose, train)
    }
    assert {k: len(v) for k, v in took.items()} == {p.name: model.rows(data, p) for p in (search, choose, train)}
    assert not set(took["search"].tolist()) & set(took["choose"].tolist())
    assert len(took["search"]) + len(took["choose"]) == len(took["train"]) == 400
    assert 140 < len(took["choose"]) < 260
    assert choose.moves == ("alpha",)
    assert "alpha" not in search.moves


def test_training_begins_anew_after_the_search() -> None:
    """New weights from the best epoch of the search on: with the same choices given, training goes the same way."""
    parts = split(labelled_rows(400), "rows")
    a = fit(SMALL, parts, plan={**PLAN, "evaluate_every": 1})
    history = [h for h in a.record.history if h["phase"] == "train"]
    b = fit(SMALL.replace(choices=tuple(c for _, _, c in a.model.found())), parts, plan={**PLAN, "evaluate_every": 1})
    first = [h["losses"]["log_loss"] for h in (history[0], b.record.history[0])]
    assert first[0] == pytest.approx(first[1], abs=0.05)
    assert first[0] > min(h["losses"]["log_loss"] for h in a.record.history if h["phase"] == "search")


@pytest.mark.parametrize("search", ["joint", "bilevel"])
@pytest.mark.parametrize("at", [3, 9, 14, 16, 20, 23])
def test_resumed_equals_uninterrupted_in_both_phases(
    search: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = split(labelled_rows(300), "rows")
    spec = SMALL.replace(search=search, gumbel=True)
    plan = {**PLAN, "metric": "log_loss", "evaluate_every": 1, "patience": 3}
    straight = fit(spec, parts, plan=plan, seed=5)
    state = {**plan, "checkpoint": str(tmp_path / "state")}
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        with pytest.raises(Interrupted):
            fit(spec, parts, plan=state, seed=5)
    resumed = fit(spec, parts, plan=state, seed=5)
    assert straight.model.state_dict().keys() == resumed.model.state_dict().keys()
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_run_killed_between_the_phases_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    parts = split(labelled_rows(300), "rows")
    plan = {**PLAN, "metric": "log_loss", "checkpoint": str(tmp_path)}
    straight = fit(SMALL, parts, plan={**plan, "checkpoint": None}, seed=5)

    class Killed(BaseException):
        pass

    from oakum.models.ctr.optinter import OptInterModel

    real = OptInterModel.decide

    def decide(self: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OptInterModel, "decide", decide)
        with pytest.raises(Killed):
            fit(SMALL, parts, plan=plan, seed=5)
    assert OptInterModel.decide is real
    resumed = fit(SMALL, parts, plan=plan, seed=5)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_saved_and_refreshed_keep_choices_and_crosses(tmp_path: Path) -> None:
    data = labelled_rows()
    model = fit(SMALL, data, plan=PLAN)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.model.found() == model.model.found()
    np.testing.assert_array_equal(again.predict(data), model.predict(data))
    fresh = again.refresh(data.with_interactions(data.interactions.take(slice(0, 300))))
    np.testing.assert_array_equal(fresh.predict(data), model.predict(data))


def test_gradients_reach_the_tables_of_a_mixture() -> None:
    data = labelled_rows()
    pairs = len(prepared(SMALL, data).pairs)
    spec = SMALL.replace(choices=tuple(CHOICES[p % 3] for p in range(pairs)), cross_l2=1e-3, l2=1e-3)
    start, end = (fit(spec, data, plan={**PLAN, "epochs": n}).model for n in (0, 2))
    for name, value in end.named_parameters():
        if name == "alpha":  # nothing is searched
            continue
        moved = (value != dict(start.named_parameters())[name]).float().mean()
        assert moved > 0.6, name


def test_all_naive_is_a_plain_network() -> None:
    model = fit(SMALL.replace(choices=("naive",), cross_l2=0.1), labelled_rows(), plan={**PLAN, "epochs": 1})
    assert not {n.split(".")[0] for n, _ in model.model.named_parameters()} & {"crosses", "factors"}


def test_bad_choices_and_logs_are_said() -> None:
    data = labelled_rows(200)
    with pytest.raises(ParameterError, match=r"memorise, factorise, naive. Got 'remember'"):
        fit(SMALL.replace(choices=("remember",)), data)
    with pytest.raises(ParameterError, match=r"one or 10, one a pair. Got 2"):
        fit(SMALL.replace(choices=("naive", "naive")), data)
    with pytest.raises(
        DataError, match=r"crosses categorical columns, and 'clicks' has fewer than two \(fields: site, tags, price"
    ):
        fit(SMALL.replace(fields=("price", "tags", "site")), data)
