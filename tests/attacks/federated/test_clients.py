"""Poisoned gradients by hand: what is uploaded, what is not, and what it does to a federation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.attacks.base import Budget, Goal, HostileClients, propose  # noqa: E402
from oakum.attacks.changes import counted_plan  # noqa: E402
from oakum.attacks.drill import attack  # noqa: E402
from oakum.attacks.federated.a_hum import HardUserMining  # noqa: E402
from oakum.attacks.federated.a_ra import RandomApproximation  # noqa: E402
from oakum.attacks.federated.boost import Boosting  # noqa: E402
from oakum.attacks.federated.common import people_of, wish  # noqa: E402
from oakum.attacks.federated.tamper import Tampering  # noqa: E402
from oakum.data import Schema  # noqa: E402
from oakum.engine.federation import Federated, Hostile  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.plan import Plan  # noqa: E402
from oakum.engine.uploads import Seen  # noqa: E402
from oakum.errors import BudgetExceeded, OakumError, ParameterError  # noqa: E402
from oakum.models.classic.bpr_mf import BPRMF  # noqa: E402
from oakum.models.classic.ncf import NCF  # noqa: E402
from oakum.models.sequential.sasrec import SASRec  # noqa: E402
from tests.toys import random_log  # noqa: E402

ITEMS = 9


def seen(spec: Any, people: int, targets: tuple[int, ...] = (4,), seed: int = 0, promote: bool = True) -> Seen:
    """What a client of a federation of `spec` sees."""
    torch.manual_seed(seed)
    model = spec.build(Schema(people, ITEMS))
    private = tuple(n for n, _ in model.named_parameters() if "users" in n)
    named = dict(model.named_parameters())
    own = {n: torch.randn(1, named[n].shape[1]) * 0.01 for n in private}
    return Seen(model, private, ITEMS, torch.tensor(targets), promote, own, torch.Generator().manual_seed(seed))


MLP = NCF(form="mlp", hidden=(16, 8, 8))


def test_of_a_plain_product_the_gradient_is_minus_one_minus_s_times_p() -> None:
    view = seen(BPRMF(embedding_dim=5, init_std=1.0), 1)
    found = RandomApproximation(people_count=1, std=0.7).upload(view)
    assert {*found} == {"items.weight"}
    p, v = people_of(view)[0][0], view.model.items.weight[4]
    expected = -(1 - torch.sigmoid(p @ v)) * p
    np.testing.assert_allclose(found["items.weight"][4].detach(), expected.detach(), rtol=1e-5)
    others = torch.arange(ITEMS) != 4
    assert not found["items.weight"][others].any()


@pytest.mark.parametrize("promote", [True, False])
def test_the_gradient_of_the_network_is_that_of_finite_differences(promote: bool) -> None:
    view = seen(NCF(form="neumf", embedding_dim=3, hidden=(8, 6, 4), init_std=0.5), 6, (4, 7), promote=promote)
    view.model.double()
    found = RandomApproximation(people_count=6, std=0.5).upload(view)
    label = torch.full((2,), float(promote), dtype=torch.float64)
    rng = np.random.default_rng(0)
    named = dict(view.model.named_parameters())
    for name, gradient in found.items():
        p = named[name]
        for _ in range(6):
            at = tuple(int(rng.integers(n)) for n in p.shape)
            if p.dim() == 2 and name.endswith("items.weight"):
                at = (4, at[1])
            kept, losses = p.data[at].clone(), []
            for step in (1e-6, -1e-6):
                p.data[at] = kept + step
                losses.append(float(wish(view, view.targets, label, 6).detach()))
            p.data[at] = kept
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(float(gradient[at]), abs=1e-6), name


def test_random_people_push_nothing_through_a_product_and_much_through_a_network() -> None:
    """Means over many people: p is as often for a target as against it; the network sees v_t alone where p is near 0."""
    push = lambda view: RandomApproximation(people_count=4000).upload(view)
    product = push(seen(BPRMF(embedding_dim=8, init_std=0.01), 4000))["items.weight"][4].norm()
    network = push(seen(MLP, 4000))["mlp_items.weight"][4].norm()
    assert product < 3 * 0.5 * 0.01 * (8 / 4000) ** 0.5
    assert network > 0.02 > 20 * product


def test_only_targets_and_the_network_are_touched_unless_padded() -> None:
    for tactic in (RandomApproximation(), HardUserMining()):
        found = tactic.upload(seen(MLP, 10))
        assert {n.split(".")[0] for n in found} == {"mlp_items", "layers", "out"}
        assert torch.nonzero(found["mlp_items.weight"].any(1)).flatten().tolist() == [4]
    padded = RandomApproximation(pad=5).upload(seen(MLP, 10))["mlp_items.weight"]
    rows = torch.nonzero(padded.any(1)).flatten().tolist()
    assert len(rows) == 6
    assert 4 in rows
    plain = RandomApproximation().upload(seen(MLP, 10))["mlp_items.weight"]
    assert torch.equal(padded[4], plain[4])
    assert 0.2 < padded[rows].norm(dim=1).mean() / plain[4].norm() < 5


def test_mining_walks_away_from_the_target_at_every_step() -> None:
    scores = []
    for steps in range(31):
        view = seen(MLP, 10, seed=3)
        HardUserMining(steps=steps).upload(view)
        with torch.no_grad():
            users = torch.arange(10)
            from oakum.sampling.batches import Pairs

            batch = Pairs(users, users=users)
            scores.append(view.model.score_candidates(batch, view.targets.expand(10, 1)).double().mean())
    assert all(b < a for a, b in itertools.pairwise(scores))


def test_boosting_is_an_honest_step_on_a_false_history() -> None:
    view = seen(MLP, 1)
    before = {n: v.clone() for n, v in view.own.items()}
    found = Boosting(num_negatives=3).upload(view)
    rows = torch.nonzero(found["mlp_items.weight"].any(1)).flatten().tolist()
    assert len(rows) == 4
    assert 4 in rows
    moved = {n: (view.own[n] - before[n]).abs().max() for n in before}
    assert all(0 < m < 1e-3 for m in moved.values())
    wide = Boosting(filler=2, num_negatives=1).upload(seen(MLP, 1))
    assert len(torch.nonzero(wide["mlp_items.weight"].any(1))) == 6


@pytest.mark.parametrize("mode", ["free-rider", "signs", "scale", "invert"])
def test_tampering_does_what_it_says(mode: str) -> None:
    from dataclasses import replace

    x = torch.full((2000,), 0.5)
    rows = (torch.tensor([1, 3]), torch.full((2, 4), 0.5))
    out = Tampering(mode=mode).upload(replace(seen(MLP, 1), honest={"w": x, "t": rows}))
    w = out["w"]
    assert isinstance(out["t"], tuple)
    assert torch.equal(out["t"][0], rows[0])
    if mode == "free-rider":
        assert w.min() >= -1
        assert w.max() <= 1
        assert abs(float(w.mean())) < 0.1
    elif mode == "signs":
        assert {*w.tolist()} == {0.5, -0.5}
    elif mode == "scale":
        assert 40 < w.abs().max() <= 50
    else:
        assert {*w.round(decimals=3).tolist()} == {0.5, 2.0}


# --- as a change ----------------------------------------------------------------------------------------------------
def test_the_change_alters_the_plan_and_nothing_else() -> None:
    data, plan = random_log(), Plan(epochs=3, step=Federated(clients=7, groups=10))
    found = propose(RandomApproximation(), data, Goal((3,)), Budget(users=2, rounds=9), plan=plan)
    assert found.poisoned is data
    assert found.plan is not None
    assert found.plan.step.hostile == Hostile(clients=2, rounds=9, tactic=RandomApproximation(), targets=(3,))
    assert found.plan.replace(step=None) == plan.replace(step=None)
    assert found.plan.step.replace(hostile=None) == plan.step
    assert plan.step.hostile is None
    assert found.cost == Budget(users=2, rounds=9) == found.change.cost()


def test_nobody_can_be_made_up_where_people_are_known_by_their_histories() -> None:
    step = Federated(hostile=Hostile(clients=2, tactic=Boosting(), targets=(1,)))
    with pytest.raises(ParameterError, match=r"boosting-clients.*keeps no such table"):
        fit(SASRec(embedding_dim=8, max_length=5), random_log(20, ITEMS, 200), plan={"step": step, "epochs": 1})


@pytest.mark.parametrize("field", ["clients", "rounds"])
def test_more_than_the_budget_is_refused_whatever_the_change_says(field: str) -> None:
    class Greedy(RandomApproximation):
        slug = "greedy"

        def run(self, access: Any, goal: Goal, budget: Budget, rng: Any) -> Any:
            size = {"clients": budget.users, "rounds": budget.rounds}
            size[field] += 1

            class Free(HostileClients):
                def cost(self) -> Budget:
                    return Budget()

            return Free(Hostile(**size, tactic=self, targets=goal.targets))

    with pytest.raises(BudgetExceeded, match="users: 4 of 3" if field == "clients" else "rounds: 6 of 5"):
        propose(Greedy(), random_log(), Goal((3,)), Budget(users=3, rounds=5))


def test_a_change_that_alters_more_of_the_plan_is_refused() -> None:
    plan = Plan(step=Federated(clients=3))
    hostile = Hostile(tactic=RandomApproximation())
    for after in (
        plan.replace(step=Federated(clients=9, hostile=hostile)),
        plan.replace(step=Federated(clients=3, hostile=hostile), learning_rate=1.0),
    ):
        with pytest.raises(OakumError, match="beyond its hostile clients"):
            counted_plan(plan, after, "x")
    assert counted_plan(plan, plan, "x") == Budget()


def test_the_drill_measures_them_in_a_federation() -> None:
    """A network learns to put the target first for everybody; without rounds nothing changes to the last bit."""
    data = random_log(users=60, items=40, events=900)
    spec = NCF(form="mlp", hidden=(16, 8, 8), init_std=0.05)
    plan = {"epochs": 12, "optimiser": "sgd", "learning_rate": 0.05, "step": Federated(clients=20, weigh="sum")}
    budget = Budget(users=6, rounds=100)
    found = attack(RandomApproximation(), spec, data, targets=["i7"], budget=budget, plan=plan, k=(5,))
    assert found.after["t_hr@5"].value > found.before["t_hr@5"].value + 0.3
    assert found.cost == Budget(users=6, rounds=100)
    assert found.threat == ("CLIENTS",)
    none = attack(
        RandomApproximation(), spec, data, targets=["i7"], budget=Budget(users=6), plan={**plan, "epochs": 2}, k=(5,)
    )
    assert none.after["t_hr@5"].value == none.before["t_hr@5"].value
    assert all(e.value == 0 for e in none.lift.values())


@pytest.mark.parametrize("mode", ["signs", "free-rider"])
def test_seized_parties_spoil_and_reputation_leaves_them_out(mode: str) -> None:
    from oakum.defences.aggregate.rffl import RFFL

    data = random_log(users=80, items=30, events=1800)
    hostile = Hostile(clients=2, rounds=999, tactic=Tampering(mode=mode))
    rule = RFFL(warmup=5, alpha=0.8)
    step = Federated(groups=7, aggregate=rule, hostile=hostile, local_epochs=2, local_batch=32)
    plan = {"epochs": 10, "optimiser": "sgd", "learning_rate": 0.5, "step": step}
    found = fit(NCF(init_std=0.1), data, plan=plan, seed=1)
    left = found.step.memory["server/left"]
    assert (left[:5] == -1).all()
    assert (left[5:] == 5).all()
    assert sum("was left out" in note for note in found.record.notes) == 2
    server = {n: p.clone() for n, p in found.model.named_parameters()}
    with found.step.wearing(0):
        assert not torch.equal(found.model.out.weight, server["out.weight"])
    assert torch.equal(found.model.out.weight, server["out.weight"])
