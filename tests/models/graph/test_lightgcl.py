"""LightGCL against its equations written down naively."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum import losses  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.engine.learner import Phase, ranking_loss  # noqa: E402
from oakum.models.graph.lightgcl import LightGCL  # noqa: E402
from oakum.plugins.apr import APR  # noqa: E402
from oakum.sampling.batches import Negatives, Pairs  # noqa: E402
from tests.oracles.lowrank import contrast, dense_normalised, views  # noqa: E402
from tests.toys import random_log  # noqa: E402


def built(**settings: Any) -> Any:
    data = random_log()
    torch.manual_seed(0)
    model = LightGCL(embedding_dim=8, **settings).build(data.schema)
    model.put_facts(model.prepare(data, Phase()))
    return model.eval()


def batch() -> Pairs:
    users, items = torch.tensor([0, 5, 5, 39]), torch.tensor([2, 2, 7, 29])
    drawn = torch.tensor([[1, 2], [9, 3], [0, 0], [7, 11]])
    return Pairs(torch.arange(4), 2, Negatives(drawn, torch.zeros(4, 2)), users, items)


def oracle(model: Any) -> tuple[Any, ...]:
    spec = model.spec
    a = dense_normalised(random_log().matrix)
    factors = [model.facts[f"svd_{n}"].numpy().astype(np.float64) for n in ("users", "values", "items")]
    tables = [t.weight.detach().numpy().astype(np.float64) for t in (model.users, model.items)]
    return views(a, *factors, *tables, spec.num_layers)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("clamp", [5.0, 0.0])
def test_losses_equal_the_naive_ones(layers: int, clamp: float) -> None:
    model = built(num_layers=layers, rank=4, temperature=0.5, clamp=clamp, l2=0.1)
    with torch.no_grad():
        reps = model.represent(batch())
        found = model.losses(batch(), reps)
    zu, zi, gu, gi = oracle(model)
    u, i, j = (x.numpy() for x in (batch().users, batch().items, batch().negatives.items))
    margin = (zu[u][:, None] * (zi[i][:, None] - zi[j])).sum(-1)
    np.testing.assert_allclose(found["bpr"], np.log1p(np.exp(-margin)).mean(1), rtol=1e-5)
    bound = clamp or np.inf
    own = contrast(gu, zu, u, 0.5, bound)
    ids = np.concatenate([i[:, None], j], 1)
    others = contrast(gi, zi, ids.ravel(), 0.5, bound).reshape(ids.shape).mean(1)
    np.testing.assert_allclose(found["_contrast"], 0.2 * (own + others), rtol=1e-4)
    square = sum(float(t.weight.detach().square().sum()) for t in (model.users, model.items))
    assert float(found["l2"]) == pytest.approx(0.1 * square, rel=1e-5)


def test_a_picture_of_full_rank_is_the_main_view() -> None:
    model = built(num_layers=1, rank=30)
    zu, zi, gu, gi = oracle(model)
    np.testing.assert_allclose(gu, zu, atol=1e-4)
    np.testing.assert_allclose(gi, zi, atol=1e-4)


def test_the_contrast_stays_finite_where_exponentials_overflow() -> None:
    a = torch.full((3, 4), 100.0, requires_grad=True)
    table = torch.full((5, 4), 1.0)
    found = losses.table_contrast(a, table[:3], table, 0.5, clamp=5.0)
    assert not torch.isfinite(torch.exp(a.detach() @ table.T / 0.5)).any()
    torch.testing.assert_close(found.detach(), torch.full((3,), 800 + float(np.log(5)) - 5))
    (grad,) = torch.autograd.grad(found.sum(), a)
    assert torch.isfinite(grad).all()


def test_the_clamp_stops_the_pull_but_not_the_push() -> None:
    torch.manual_seed(0)
    a, b, table = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (3, 3, 6))
    grad = lambda clamp, t: torch.autograd.grad(losses.table_contrast(a, b, table, t, clamp=clamp).sum(), [a, b])
    free, bound = grad(0.0, 100.0), grad(5.0, 100.0)  # far below the clamp: the same
    for x, y in zip(free, bound, strict=True):
        torch.testing.assert_close(x, y)
    pushed = torch.autograd.grad(torch.logsumexp(a @ table.T / 1e-3, -1).sum(), a)[0]
    stopped = grad(5.0, 1e-3)  # far above it: only the sum is left
    torch.testing.assert_close(stopped[0], pushed)
    torch.testing.assert_close(stopped[1], torch.zeros_like(b))


def test_gradients_in_double_precision() -> None:
    a, b, table = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 2, 4))
    assert torch.autograd.gradcheck(lambda *x: losses.table_contrast(*x, 0.7, clamp=5.0), (a, b, table))


def test_edges_drop_out_in_training_only() -> None:
    model = built(dropout=0.5)
    same = [torch.equal(a, b) for a, b in zip(model.tables(), model.tables(), strict=True)]
    model.train()
    differ = [torch.equal(a, b) for a, b in zip(model.tables(), model.tables(), strict=True)]
    assert same == [True, True]
    assert differ == [False, False]


def test_without_weight_there_is_no_contrast() -> None:
    model = built(contrast=0.0)
    assert set(model.losses(batch(), model.represent(batch()))) == {"bpr", "l2"}


def test_adversarial_training_ranks_again_and_does_not_contrast_again() -> None:
    model = built()
    reps = model.represent(batch())
    found = model.losses(batch(), reps)
    assert torch.equal(ranking_loss(found), found["bpr"])
    fitted = fit(
        model.spec, random_log(), plan={"epochs": 1, "batch_size": 128}, plugins=[APR(begin=0, eps=0.0, gamma=1.0)]
    )
    end = fitted.record.history[-1]["losses"]
    assert end["adversarial"] == pytest.approx(end["bpr"], rel=1e-6)


def test_a_newcomer_is_a_user_without_a_vector_of_its_own() -> None:
    data = random_log()
    fitted = fit(LightGCL(embedding_dim=8), data, plan={"epochs": 2, "batch_size": 128})
    queries = fitted.queries(np.arange(40, dtype=np.int32))
    layers, _ = fitted.model.layers()
    strangers = type(queries)(np.full(40, -1, np.int32), queries.histories)
    found = torch.from_numpy(fitted.scorer.query_vectors(strangers))
    torch.testing.assert_close(found, (layers[1] + layers[2]).detach(), atol=1e-5, rtol=1e-5)
