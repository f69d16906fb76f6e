"""Steps over triples as a plan's step: the ordinary steps of one row, the engine's own hooks, sentences of refusal."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from oakum.engine.fit import fit, fit_again, plan_of  # noqa: E402
from oakum.engine.learner import Phase, Plugin  # noqa: E402
from oakum.engine.plan import Plan  # noqa: E402
from oakum.engine.run import Run  # noqa: E402
from oakum.engine.triples import Descent, Triples  # noqa: E402
from oakum.errors import Interrupted, OakumError, ParameterError  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.models.graph.lightgcn import LightGCN  # noqa: E402
from oakum.plugins.apr import APR  # noqa: E402
from oakum.sampling.samplers import Popular, Shared  # noqa: E402
from oakum.splits import split  # noqa: E402
from oakum.store import load, save  # noqa: E402
from tests.toys import random_log  # noqa: E402

PLAN = {"optimiser": "sgd", "learning_rate": 0.05, "batch_size": 64, "epochs": 3, "step": Triples(), "device": "cpu"}
SPEC = BPRMF(embedding_dim=8, l2=0.01)


def weights(found: Any) -> dict[str, Any]:
    out: dict[str, Any] = found.model.state_dict()
    return out


@pytest.mark.parametrize("draw", ["events", "users"])
def test_with_one_row_a_batch_it_is_plain_gradient_descent(draw: str) -> None:
    spec, data = SPEC.replace(draw=draw), random_log(events=120)
    plan = {**PLAN, "batch_size": 1, "epochs": 2}
    quick, slow = (fit(spec, data, plan={**plan, "step": step}, seed=3) for step in (Triples(), None))
    for name, value in weights(slow).items():
        assert torch.allclose(value, weights(quick)[name], atol=1e-6), name
    for a, b in zip(slow.record.history, quick.record.history, strict=True):
        assert a["losses"] == pytest.approx(b["losses"], rel=1e-4)


@pytest.mark.parametrize("negatives", [None, Popular(), Shared(reject=False)])
def test_any_sampler_schedules_and_several_negatives(negatives: Any) -> None:
    plan = {**PLAN, "negatives": negatives, "schedule": "linear", "epochs": 12}
    found = fit(SPEC.replace(num_negatives=3), random_log(), plan=plan, seed=1)
    losses = [entry["losses"]["bpr"] for entry in found.record.history]
    assert losses[-1] < 0.8 * losses[0]


def test_it_stops_early_saves_and_repeats(tmp_path: Path) -> None:
    parts = split(random_log(events=700), "holdout")
    plan = {**PLAN, "epochs": 60, "evaluate_every": 1, "patience": 2}
    one, two = (fit(SPEC, parts, plan=plan, seed=4) for _ in range(2))
    assert one.record.stopped.startswith("no gain")
    assert one.record.history == two.record.history
    save(one, tmp_path / "model")
    again = load(tmp_path / "model")
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name])
        assert torch.equal(value, weights(again)[name])
    assert again.record.plan["step"] == Triples().to_json()


def test_a_plan_with_parts_goes_through_json_and_a_second_fit(tmp_path: Path) -> None:
    data, plan = random_log(), {**PLAN, "negatives": Popular(power=0.5)}
    one = fit(SPEC, data, plan=plan, seed=2)
    assert Plan.from_json(one.record.plan) == Plan(**plan)
    assert Plan.parse({"step": "triples", "negatives": "hard"}).step == Triples()
    again = fit_again(one, data)
    for name, value in weights(one).items():
        assert torch.equal(value, weights(again)[name])


@pytest.mark.parametrize("at", [1, 3, 6, 11])
def test_resumed_equals_uninterrupted(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = split(random_log(events=700), "holdout")
    plan = {**PLAN, "epochs": 4, "evaluate_every": 1, "batch_size": 128}
    straight = fit(SPEC, parts, plan=plan, seed=5)
    real, seen = Descent.__call__, {"n": 0}

    def stopping(*args: Any) -> Any:
        seen["n"] += 1
        if seen["n"] == at:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Descent, "__call__", stopping)
        with pytest.raises(Interrupted, match="resume"):
            fit(SPEC, parts, plan={**plan, "checkpoint": str(tmp_path / "state")}, seed=5)
    resumed = fit(SPEC, parts, plan={**plan, "checkpoint": str(tmp_path / "state")}, seed=5)
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert straight.record.history == resumed.record.history


def test_what_has_no_closed_form_is_refused_in_a_sentence() -> None:
    data = random_log()
    with pytest.raises(ParameterError, match="LightGCNModel is not the product of two tables"):
        fit(LightGCN(embedding_dim=4), data, plan=PLAN)
    for wrong in ({"optimiser": "adam"}, {"weight_decay": 0.1}, {"clip_norm": 1.0}):
        with pytest.raises(ParameterError, match="plain gradient"):
            fit(SPEC, data, plan={**PLAN, **wrong})


def test_a_plug_in_that_needs_gradients_takes_the_same_steps_to_first_order() -> None:
    data = random_log(events=300)
    still = [APR(eps=0.0, gamma=0.0, begin=0)]
    plain = fit(SPEC, data, plan=PLAN, seed=2)
    one = fit(SPEC, data, plan={**PLAN, "step": Triples(chunk=1)}, plugins=still, seed=2)
    few = fit(SPEC, data, plan={**PLAN, "step": Triples(chunk=4)}, plugins=still, seed=2)
    for name, value in weights(plain).items():
        assert torch.allclose(value, weights(one)[name], atol=1e-6), name
        assert torch.allclose(value, weights(few)[name], atol=2e-2), name
        assert not torch.equal(value, weights(few)[name])
    moved = fit(SPEC, data, plan=PLAN, plugins=[APR(eps=0.5, begin=0)], seed=2)
    assert "adversarial" in moved.record.history[0]["losses"]


def test_a_plug_in_that_chooses_rows_keeps_the_closed_form() -> None:
    class Fewer(Plugin):
        def batch(self, run: Any, batch: Any) -> Any:
            return batch.take(torch.arange(0, len(batch), 2))

    found = Descent(Triples(), run_of([Fewer()]))
    assert found.closed
    assert not Descent(Triples(), run_of([APR().build(None)])).closed


def run_of(plugins: list[Plugin]) -> Run:
    data = random_log()
    plan = Plan(**PLAN)
    return Run(plan, 0, data, SPEC.build(data.schema), tuple(plugins), torch.device("cpu"), Phase())


def test_the_default_plan_and_the_ordinary_one() -> None:
    assert plan_of(BPRMF()).step == Triples()
    for named in ({"step": None}, {"optimiser": "adam"}):
        assert plan_of(BPRMF(), {**named, "epochs": 7}) == Plan(learning_rate=1e-3, batch_size=2048, epochs=7)
    assert plan_of(LightGCN(), {"step": None}) == plan_of(LightGCN())


def test_a_rate_that_is_too_large_is_named() -> None:
    with pytest.raises(OakumError, match="Lower learning_rate"):
        fit(SPEC.replace(l2=90.0), random_log(), plan={**PLAN, "learning_rate": 10.0, "epochs": 20})
