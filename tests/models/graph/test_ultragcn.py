"""UltraGCN against its equations written down with loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum import losses  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.learner import Phase  # noqa: E402
from oakum.models.graph.ultragcn import UltraGCN, endless_weights, item_graph  # noqa: E402
from oakum.plugins.apr import APR  # noqa: E402
from oakum.sampling.batches import Negatives, Pairs  # noqa: E402
from oakum.sampling.samplers import Shared  # noqa: E402
from tests.oracles import cooccurrence as oracle  # noqa: E402
from tests.toys import random_log  # noqa: E402


def built(**settings: Any) -> Any:
    data = random_log()
    torch.manual_seed(0)
    model = UltraGCN(embedding_dim=6, init_std=0.5, **settings).build(data.schema).double()
    model.put_facts(model.prepare(data, Phase()))
    model.put_facts({k: v.double() for k, v in model.facts.items() if v.is_floating_point()})
    return model.eval()


def batch(shared: bool = False) -> Pairs:
    users, items = torch.tensor([0, 5, 5, 39]), torch.tensor([2, 2, 7, 29])
    drawn = torch.tensor([[1, 2, 5], [9, 3, 3], [0, 0, 4], [7, 11, 29]])
    if shared:
        drawn = drawn[:1]
    return Pairs(torch.arange(4), 3, Negatives(drawn, torch.zeros(drawn.shape)), users, items)


SETTINGS = {"w1": 0.3, "w2": 0.7, "w3": 0.2, "w4": 1.1, "negative_weight": 7.0, "item_weight": 0.4, "l2": 0.05, "k": 4}


@pytest.mark.parametrize("form", ["code", "paper"])
@pytest.mark.parametrize("shared", [False, True])
def test_losses_equal_the_loops(form: str, shared: bool) -> None:
    model = built(omega=form, **SETTINGS)
    b = batch(shared)
    with torch.no_grad():
        found = {k: float(v.mean()) for k, v in model.losses(b, model.represent(b)).items()}
    r = random_log().matrix.toarray().astype(np.float64)
    weights = oracle.omega(r, form)
    near = np.argsort(-weights, 1, kind="stable")[:, :4]
    p, q = (t.weight.detach().numpy() for t in (model.users, model.items))
    rows = list(zip(b.users.tolist(), b.items.tolist(), b.negatives.items.expand(4, 3).tolist(), strict=True))
    main, items, squares = oracle.loss(model.spec, r, p, q, rows, near, np.take_along_axis(weights, near, 1))
    assert found["bce"] == pytest.approx(main, rel=1e-6)
    assert found["_near"] == pytest.approx(items, rel=1e-6)
    assert found["l2"] == pytest.approx(squares, rel=1e-6)


def test_plain_weights_are_plain_cross_entropy() -> None:
    model = built(w1=1.0, w2=0.0, w3=1.0, w4=0.0, negative_weight=3.0, item_weight=0.0, l2=0.0)
    reps = model.represent(batch())
    found = model.losses(batch(), reps)
    positive = (reps["query"] * reps["positive"]).sum(-1)
    negative = (reps["query"].unsqueeze(1) * reps["negative"]).sum(-1)
    plain = losses.binary_cross_entropy(positive, negative) + 2 * torch.nn.functional.softplus(negative).mean(-1)
    torch.testing.assert_close(found["bce"], 4 * plain)
    assert set(found) == {"bce", "l2"}


def test_gradients_in_double_precision() -> None:
    model = built(**SETTINGS)

    def total(users: Any, items: Any) -> Any:
        with torch.no_grad():
            model.users.weight.copy_(users)
            model.items.weight.copy_(items)
        out = model.losses(batch(), model.represent(batch()))
        return torch.stack([v.mean() for v in out.values()]).sum()

    grads = torch.autograd.grad(total(model.users.weight, model.items.weight), [model.users.weight, model.items.weight])
    for table, grad in zip((model.users.weight, model.items.weight), grads, strict=True):
        for row, column in ((5, 0), (2, 3), (29, 5)):
            old, sides = table.detach().clone(), []
            for step in (1e-5, -1e-5):
                moved = old.clone()
                moved[row, column] += step
                args = [moved if t is table else t.detach().clone() for t in (model.users.weight, model.items.weight)]
                sides.append(float(total(*args).detach()))
            with torch.no_grad():
                table.copy_(old)
            assert float(grad[row, column]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_beta_by_two_vectors() -> None:
    data = random_log()
    users, items = endless_weights(data.user_counts, data.item_counts)
    wanted = oracle.beta(data.matrix.toarray().astype(np.float64))
    np.testing.assert_allclose(users[:, None] * items, wanted, atol=1e-7)
    users, items = endless_weights(np.full(7, 4), np.full(7, 4))
    np.testing.assert_allclose(users[:, None] * items, 0.25, atol=1e-7)
    assert endless_weights(np.zeros(2), np.zeros(2))[0].tolist() == [0, 0]


@pytest.mark.parametrize("form", ["code", "paper"])
def test_the_item_graph_equals_the_dense_one(form: str) -> None:
    x = random_log().matrix
    near, weights = item_graph(x, 5, form)
    dense = oracle.omega(x.toarray().astype(np.float64), form)
    np.testing.assert_allclose(weights, -np.sort(-dense, 1)[:, :5], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(dense, near.astype(np.int64), 1), weights, rtol=1e-5)
    own = (near == np.arange(30)[:, None]).any(1)
    assert own.mean() > 0.9 if form == "code" else not own.any()


def test_items_without_company_weigh_nothing() -> None:
    data = random_log()
    log = data.interactions
    thin = data.with_interactions(log.take(log.items < 2))
    model = UltraGCN(embedding_dim=4).build(data.schema)
    facts = model.prepare(thin, Phase())
    assert all(torch.isfinite(v).all() for v in facts.values())
    assert (facts["omega"][2:] == 0).all()
    assert (facts["near"] >= 0).all()


def test_negatives_come_as_asked() -> None:
    data = random_log()
    hits = {}
    for kind in ("any", "sift", "shared"):
        spec = UltraGCN(embedding_dim=4, num_negatives=30, sampling=kind)
        seen: list[Any] = []

        class Watch(APR):
            def build(self, schema: Any) -> Any:
                plugin = super().build(schema)
                plugin.batch = lambda run, batch: seen.append(batch) or batch  # noqa: B023
                return plugin

        fit(spec, data, plan={"epochs": 1, "batch_size": 256}, plugins=[Watch(gamma=0.0)])
        first = seen[0]
        own = np.asarray(data.matrix.toarray()[first.users.numpy()[:, None], first.negatives.items.numpy()])
        hits[kind] = own.mean()
        assert (len(first.negatives.items) == 1) == (kind == "shared")
    assert hits["sift"] == 0
    assert min(hits["any"], hits["shared"]) > 0.1


def test_shared_negatives_suit_every_model_and_are_drawn_anew_each_step() -> None:
    from oakum.models.classic.bpr_mf import BPRMF

    fitted = fit(BPRMF(embedding_dim=4), random_log(), plan={"epochs": 1, "batch_size": 128, "negatives": Shared()})
    assert np.isfinite(fitted.record.history[-1]["losses"]["bpr"])


def test_shared_negatives_give_the_same_loss_as_the_same_items_row_by_row() -> None:
    model = built(**SETTINGS)
    one, many = batch(shared=True), batch(shared=True)
    many.negatives = Negatives(one.negatives.items.expand(4, 3), one.negatives.log_q.expand(4, 3))
    a, b = (model.losses(x, model.represent(x)) for x in (one, many))
    for name in a:
        torch.testing.assert_close(a[name], b[name])
