"""The federation: equal to the central step where it must be, private where it must be, exact when it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from oakum.data import Dataset  # noqa: E402
from oakum.engine import steps  # noqa: E402
from oakum.engine.federated import Federation  # noqa: E402
from oakum.engine.federation import Aggregator, Federated, Hostile, Tactic  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.plan import Plan  # noqa: E402
from oakum.engine.run import Run  # noqa: E402
from oakum.engine.uploads import Replies, Rows, Seen, Upload, Uploads, gathered  # noqa: E402
from oakum.errors import Interrupted, OakumError, ParameterError  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.models.classic.ncf import NCF  # noqa: E402
from oakum.models.graph.lightgcn import LightGCN  # noqa: E402
from oakum.sampling.samplers import InBatch  # noqa: E402
from oakum.splits import split  # noqa: E402
from tests.toys import log_of, random_log  # noqa: E402

SPECS = [BPRMF(embedding_dim=6), NCF(embedding_dim=4, hidden=(8, 6)), NCF(form="mlp", hidden=(8, 8, 4), init_std=0.1)]
PLAN = {"optimiser": "sgd", "learning_rate": 0.5, "batch_size": 4096, "epochs": 2}


class Summed(Aggregator):
    """The weighted sum, one upload after the other."""

    def combine(self, uploads: Uploads, memory: dict[str, torch.Tensor]) -> Replies:
        return Replies(uploads.total())


class Counts(Aggregator):
    """Remembers the rounds, and what every round uploaded."""

    heard: ClassVar[list[Any]] = []

    def memory(self, clients: int) -> dict[str, torch.Tensor]:
        return {"rounds": torch.zeros(clients)}

    def combine(self, uploads: Uploads, memory: dict[str, torch.Tensor]) -> Replies:
        memory["rounds"][uploads.clients] += 1
        self.heard.append(uploads)
        return Replies(uploads.total())


class Same(Tactic):
    """Uploads the same number everywhere."""

    value: float = 1.0

    def upload(self, seen: Seen) -> Upload:
        return {n: torch.full_like(p, self.value) for n, p in seen.model.named_parameters() if n not in seen.private}


def weights(spec: Any, data: Dataset, *, plan: dict[str, Any] = PLAN, seed: int = 1, **step: Any) -> Any:
    chosen = {**plan, "step": Federated(**step)} if step.pop("federated", True) else plan
    return fit(spec, data, plan=chosen, seed=seed).model.state_dict()


def assert_close(a: Any, b: Any, tolerance: float = 1e-5) -> None:
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.slug)
@pytest.mark.parametrize("rule", [None, Summed()])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_one_local_step_of_all_clients_is_the_central_step(spec: Any, rule: Any, optimiser: str) -> None:
    """Same rows, negatives and weights: whether gradients are made together or one client after the other."""
    data = random_log()
    plan = {**PLAN, "optimiser": optimiser, "learning_rate": 0.5 if optimiser == "sgd" else 0.01}
    central = fit(spec, data, plan=plan, seed=1)
    found = fit(spec, data, plan={**plan, "step": Federated(aggregate=rule)}, seed=1)
    # Adam divides by roots of tiny squares: what differs in the last digit may move differently.
    assert_close(central.model.state_dict(), found.model.state_dict(), 1e-5 if optimiser == "sgd" else 2e-3)
    a, b = central.record.history[0]["losses"], found.record.history[0]["losses"]
    assert all(a[n] == pytest.approx(b[n], rel=1e-4) for n in a)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.slug)
@pytest.mark.parametrize("weigh", ["rows", "clients", "sum"])
@pytest.mark.parametrize("clients", [0, 7])
def test_gradients_one_by_one_add_up_to_those_of_the_batch(spec: Any, weigh: Any, clients: int) -> None:
    data = random_log()
    together = weights(spec, data, weigh=weigh, clients=clients)
    apart = weights(spec, data, weigh=weigh, clients=clients, aggregate=Summed())
    assert_close(together, apart)


def test_an_item_that_a_client_has_twice_counts_twice() -> None:
    """By hand: one client, one step of BPR whose positive and negative are known."""
    data = log_of([(0, 0), (0, 0), (0, 1)], 1, 3)
    spec = BPRMF(embedding_dim=2, l2=0.0)
    start = fit(spec, data, plan={**PLAN, "epochs": 0}, seed=1).model.state_dict()
    end = weights(spec, data, plan={**PLAN, "epochs": 1}, weigh="sum", aggregate=Summed())
    p, q = start["users.weight"][0].double(), start["items.weight"].double()
    pull = lambda i: torch.sigmoid(p @ (q[2] - q[i]))  # the only item that it does not have is 2
    expected = q.clone()
    for i in (0, 0, 1):
        expected[i] += 0.5 / 3 * pull(i) * p
        expected[2] -= 0.5 / 3 * pull(i) * p
    np.testing.assert_allclose(end["items.weight"], expected, atol=1e-6)


def test_local_sgd_is_averaging_of_models() -> None:
    """Two clients, two local passes: the server's weights are the mean of what both would have had."""
    data = log_of([(0, 0), (0, 1), (1, 2), (1, 3)], 2, 6)
    spec = BPRMF(embedding_dim=3)
    plan = {**PLAN, "epochs": 1}
    both = weights(spec, data, plan=plan, weigh="clients", local_epochs=3)
    start = fit(spec, data, plan={**plan, "epochs": 0}, seed=1).model.state_dict()
    assert not torch.equal(both["items.weight"], start["items.weight"])
    heard = []

    class Listens(Aggregator):
        def combine(self, uploads: Uploads, memory: dict[str, torch.Tensor]) -> Replies:
            heard.append(uploads)
            return Replies(uploads.total())

    fit(spec, data, plan={**plan, "step": Federated(weigh="clients", local_epochs=3, aggregate=Listens())}, seed=1)
    ends = [start["items.weight"] - 0.5 * heard[0].of(c)["items.weight"] for c in range(2)]
    np.testing.assert_allclose(both["items.weight"], (ends[0] + ends[1]) / 2, atol=1e-6)


def test_uploads_hold_no_private_row_and_only_what_was_touched() -> None:
    data = random_log()
    Counts.heard.clear()
    fit(SPECS[1], data, plan={**PLAN, "epochs": 1, "step": Federated(clients=5, aggregate=Counts())}, seed=1)
    assert len(Counts.heard) == 8
    for uploads in Counts.heard:
        names = {*uploads.dense, *uploads.tables}
        assert names == {
            "items.weight",
            "mlp_items.weight",
            "layers.0.weight",
            "layers.0.bias",
            "out.weight",
            "out.bias",
        }
        assert {*uploads.tables} == {"items.weight", "mlp_items.weight"}
        assert uploads.weights.sum() == pytest.approx(1.0)
    assert torch.cat([u.clients for u in Counts.heard]).sort().values.tolist() == list(range(40))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_who_is_not_asked_stays_as_it_was(optimiser: str) -> None:
    data = random_log()
    plan = Plan(optimiser=optimiser, learning_rate=0.1, epochs=1, step=Federated(clients=10))
    seen: list[Any] = []

    class Looks(BPRMF):
        pass

    model = fit(Looks(), data, plan=plan.replace(epochs=0), seed=3).model
    run = Run(plan, 3, data, model, (), torch.device("cpu"), model.phases()[0])
    federation = Federation(Federated(clients=10), run)
    from oakum.sampling.batches import Order

    update = steps.optimiser(plan, list(model.parameters()), None)
    for at, batch in enumerate(federation.batches(model, data, run.phase, Order(3, "main", 0, 1))):
        run.step = at
        batch.negatives = run.sampler.draw(run, batch, batch.wants)
        before = model.users.weight.detach().clone()
        federation(batch, list(model.parameters()), update)
        moved = (model.users.weight != before).any(1)
        assert torch.equal(torch.nonzero(moved).flatten(), torch.unique(batch.users))
        seen.append(len(torch.unique(batch.users)))
    assert seen == [10, 10, 10, 10]


def test_an_epoch_asks_everybody_once_and_only_those_who_answer() -> None:
    data = random_log()
    Counts.heard.clear()
    rule = Federated(clients=6, answers=0.5, aggregate=Counts())
    found = fit(BPRMF(), data, plan={**PLAN, "epochs": 3, "step": rule}, seed=1)
    rounds = found.step.memory["server/rounds"]
    assert rounds.max() <= 3
    assert 0.3 < rounds.mean() / 3 < 0.7


def test_groups_hold_everybody_and_grow_with_the_skew() -> None:
    data = random_log()
    found = fit(BPRMF(), data, plan={**PLAN, "epochs": 1, "step": Federated(groups=4, skew=1.0)}, seed=1).step
    sizes = np.bincount(found.owner[found.owner >= 0])
    assert sizes.tolist() == [4, 8, 12, 16]


@pytest.mark.parametrize("at", [1, 5, 9, 13])
def test_resumed_equals_uninterrupted(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With adam, hostile clients, a rule with a memory, clients that do not answer, several local steps."""
    parts = split(random_log(events=700), "holdout")
    hostile = Hostile(clients=3, rounds=6, begin=1, tactic=Same(value=0.1), targets=(3,))
    step = Federated(clients=12, local_epochs=2, local_batch=5, answers=0.9, aggregate=Counts(), hostile=hostile)
    plan = {"epochs": 4, "learning_rate": 0.01, "evaluate_every": 1, "step": step}
    straight = fit(SPECS[1], parts, plan=plan, seed=5)
    real, seen = Federation.__call__, {"n": 0}

    def stops(self: Any, *args: Any) -> Any:
        seen["n"] += 1
        if seen["n"] == at:
            raise KeyboardInterrupt
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Federation, "__call__", stops)
        with pytest.raises(Interrupted, match="resume"):
            fit(SPECS[1], parts, plan={**plan, "checkpoint": str(tmp_path)}, seed=5)
    resumed = fit(SPECS[1], parts, plan={**plan, "checkpoint": str(tmp_path)}, seed=5)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in straight.step.memory.items():
        assert torch.equal(value, resumed.step.memory[name]), name
    assert straight.record.notes == resumed.record.notes


def test_hostile_clients_answer_in_as_many_rounds_as_they_were_given() -> None:
    data = random_log()
    asked: list[int] = []

    class Listens(Tactic):
        def upload(self, seen: Seen) -> Upload:
            asked.append(1)
            return {}

    for rounds in (0, 3):
        asked.clear()
        hostile = Hostile(clients=2, rounds=rounds, tactic=Listens())
        found = fit(BPRMF(), data, plan={**PLAN, "epochs": 5, "step": Federated(hostile=hostile)}, seed=1)
        assert len(asked) == 2 * rounds
        assert found.record.notes == [f"2 hostile clients answered in {rounds} rounds."]


def test_hostile_clients_find_no_private_row_in_what_they_see() -> None:
    data = random_log()
    met: list[Any] = []

    class Searches(Tactic):
        def upload(self, seen: Seen) -> Upload:
            met.append({n: p.detach().clone() for n, p in seen.model.named_parameters()})
            assert not seen.model.facts
            return {}

    plan = {**PLAN, "epochs": 1, "step": Federated(hostile=Hostile(rounds=9, tactic=Searches()))}
    fit(SPECS[1], data, plan=plan, seed=1)
    assert met
    for found in met:
        for name in ("users.weight", "mlp_users.weight"):
            assert found[name].shape[0] == 1
            assert not found[name].any()
        assert found["items.weight"].any()


def test_what_a_hostile_client_sends_is_checked() -> None:
    data = random_log()
    target: dict[str, Any] = {}

    class Sends(Tactic):
        def upload(self, seen: Seen) -> Upload:
            return dict(target["upload"])

    def run() -> Any:
        step = Federated(hostile=Hostile(rounds=9, tactic=Sends()))
        return fit(BPRMF(embedding_dim=4), data, plan={**PLAN, "epochs": 1, "step": step}, seed=1).model.state_dict()

    target["upload"] = {}
    clean = run()
    target["upload"] = {"items.weight": torch.full((30, 4), torch.nan)}
    assert_close(clean, run(), 0)
    target["upload"] = {"users.weight": torch.zeros(40, 4)}
    with pytest.raises(OakumError, match="not a shared parameter"):
        run()
    target["upload"] = {"items.weight": torch.zeros(3, 4)}
    with pytest.raises(OakumError, match="another shape"):
        run()
    one = torch.ones(1, 4)
    target["upload"] = {"items.weight": (torch.tensor([2]), 2 * one)}
    once = run()
    target["upload"] = {"items.weight": (torch.tensor([2, 2]), torch.cat([one, one]))}
    assert_close(once, run(), 1e-6)


def test_what_cannot_federate_says_why() -> None:
    data = random_log()
    with pytest.raises(ParameterError, match="graph_indices, graph_indptr from everybody's events"):
        fit(LightGCN(), data, plan={"step": Federated()})
    with pytest.raises(ParameterError, match="drawn from what other people have"):
        fit(BPRMF(), data, plan={"step": Federated(), "negatives": InBatch()})
    with pytest.raises(ParameterError, match="cannot be dealt to 99"):
        fit(BPRMF(), data, plan={"step": Federated(groups=99)})


def test_a_loss_over_other_people_is_refused() -> None:
    class Leaks(BPRMF):
        def build(self, schema: Any) -> Any:
            model = super().build(schema)
            kept = model.losses
            model.losses = lambda b, r: {**kept(b, r), "all": model.users.weight.sum().expand(len(b))}
            return model

    for rule in (None, Summed()):
        with pytest.raises(ParameterError, match=r"reads 'users\.weight' of other people"):
            fit(Leaks(), random_log(), plan={**PLAN, "step": Federated(clients=5, aggregate=rule)})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_norms_products_and_sums_are_those_of_whole_tensors(seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    c, n, d = 5, 7, 3
    parts: list[Upload] = []
    whole = []
    for _ in range(c):
        rows = torch.nonzero(torch.rand(n, generator=noise) < 0.5).flatten()
        values, w = torch.randn(len(rows), d, generator=noise), torch.randn(4, generator=noise)
        full = torch.zeros(n, d).index_copy(0, rows, values)
        parts.append({"t": (rows, values), "w": w})
        whole.append(torch.cat([w, full.flatten()]))
    share = torch.rand(c, generator=noise)
    shapes = {"t": torch.Size((n, d)), "w": torch.Size((4,))}
    found, x = gathered(parts, torch.arange(c), share, 0.1, shapes), torch.stack(whole).double()
    np.testing.assert_allclose(found.products(), x @ x.T, atol=1e-5)
    np.testing.assert_allclose(found.norms(), x.norm(dim=1), atol=1e-5)
    total = found.total()
    np.testing.assert_allclose(torch.cat([total["w"], total["t"].flatten()]), share.double() @ x, atol=1e-5)
    np.testing.assert_allclose(torch.cat([v.flatten() for v in found.of(2).values()]), x[2], atol=1e-6)
    for ids, values, owners in found.tables["t"].by_row(largest=20):
        for i, row in enumerate(ids.tolist()):
            there = owners[i] >= 0
            assert torch.isnan(values[i][~there]).all()
            for o, v in zip(owners[i][there].tolist(), values[i][there], strict=True):
                np.testing.assert_allclose(v, x[o, 4:].view(n, d)[row], atol=1e-6)


def test_rows_without_any_are_an_empty_walk() -> None:
    nothing = Rows(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0, 3))
    assert [len(ids) for ids, _, _ in nothing.by_row()] == []
