"""NCF against its formula, pair by pair, and newcomers against what a trained row would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.data import Queries, Ragged, Schema  # noqa: E402
from oakum.engine.fit import fit  # noqa: E402
from oakum.errors import ParameterError  # noqa: E402
from oakum.models.classic.ncf import NCF  # noqa: E402
from oakum.nn.foldin import descend  # noqa: E402
from oakum.sampling.batches import Labelled, Negatives, Pairs  # noqa: E402
from tests.toys import checkerboard, random_log  # noqa: E402

FORMS = ["neumf", "mlp", "gmf"]


def by_hand(model: Any, u: int, i: int) -> float:
    """h · [p ⊙ q ; MLP([p' ; q'])] of one pair, written down from the paper."""
    parts = []
    if model.spec.form != "mlp":
        parts.append(model.users.weight[u] * model.items.weight[i])
    if model.spec.form != "gmf":
        x = torch.cat([model.mlp_users.weight[u], model.mlp_items.weight[i]])
        for layer in model.layers:
            x = torch.relu(layer.weight @ x + layer.bias)
        parts.append(x)
    return float((model.out.weight[0] @ torch.cat(parts) + model.out.bias[0]).detach())


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_the_formula(form: Any) -> None:
    torch.manual_seed(0)
    model = NCF(form=form, embedding_dim=3, hidden=(8, 6, 4), init_std=0.5).build(Schema(5, 7)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p)
    queries = Queries(np.arange(5, dtype=np.int32), Ragged.of([[0]] * 5))
    with torch.no_grad():
        whole = model.score(queries)
        own = model.score(queries, np.array([[6, -1]] * 5, np.int32))
        batch = Pairs(torch.arange(5), users=torch.arange(5), items=torch.arange(5))
        some = model.score_candidates(batch, torch.tensor([[1, 2]] * 5))
        for u in range(5):
            for i in range(7):
                assert float(whole[u, i]) == pytest.approx(by_hand(model, u, i), rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(own[:, 0], whole[:, 6], rtol=1e-5)
    assert torch.isnan(own[:, 1]).all()
    np.testing.assert_allclose(some, whole[:, [1, 2]], rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_the_mean_log_loss_of_a_positive_and_its_negatives(form: Any) -> None:
    torch.manual_seed(0)
    model = NCF(form=form, l2=0.5, init_std=0.5).build(Schema(5, 7))
    batch = Pairs(torch.arange(2), users=torch.tensor([1, 4]), items=torch.tensor([2, 3]))
    batch.negatives = Negatives(torch.tensor([[0, 5, 6], [1, 1, 2]]), torch.zeros(2, 3))
    found = model.losses(batch, model.represent(batch))
    for r, (u, i) in enumerate([(1, 2), (4, 3)]):
        z = [by_hand(model, u, j) for j in [i, *batch.negatives.items[r].tolist()]]
        expected = np.mean([np.log1p(np.exp(-z[0])), *[np.log1p(np.exp(v)) for v in z[1:]]])
        assert float(found["bce"][r].detach()) == pytest.approx(expected, rel=1e-5)
    assert (found["l2"] > 0).all()


def test_a_newcomer_with_a_known_taste_is_ranked_as_one_who_was_trained() -> None:
    data = checkerboard(30)
    plan = {"epochs": 60, "learning_rate": 0.01, "batch_size": 128}
    model = fit(NCF(embedding_dim=16, hidden=(32, 16, 8), init_std=0.1), data, plan=plan)
    histories = data.histories.take(np.arange(6))
    scores = model.score(Queries(np.full(6, -1, np.int32), histories))
    for u in range(6):
        right = np.arange(30) % 2 == u % 2
        assert scores[u, right].min() > scores[u, ~right].max()
    empty = model.score(Queries(np.array([-1], np.int32), Ragged.of([[]])))
    assert np.isnan(empty).all()


def test_descent_reaches_the_least_squares_solution() -> None:
    a = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    b = a @ torch.tensor([1.0, -2.0, 0.5])
    with torch.no_grad():
        found = descend(lambda x: ((a @ x - b) ** 2).mean(), torch.zeros(3), steps=500)
    np.testing.assert_allclose(found, [1, -2, 0.5], atol=2e-2)
    assert not found.requires_grad


def test_widths_that_make_no_network_are_refused() -> None:
    for hidden in ((7, 4), (8,), (8, 0)):
        with pytest.raises(ParameterError, match="two or more widths"):
            NCF(hidden=hidden).build(Schema(3, 3))


def test_tables_are_private_and_the_rest_is_shared() -> None:
    from oakum.engine.outsiders import is_private

    model = fit(NCF(), random_log(), plan={"epochs": 0}).model
    private = {n for n, _ in model.named_parameters() if is_private(model, n)}
    assert private == {"users.weight", "mlp_users.weight"}


def test_some_rows_of_a_batch_keep_what_is_theirs_and_what_is_shared() -> None:
    rows = torch.arange(4)
    own = Negatives(rows[:, None].repeat(1, 2), torch.zeros(4, 2), torch.ones(4, 2))
    batch = Labelled(rows, 2, own, users=rows * 10, items=rows * 100, labels=rows.float(), weights=None)
    some = batch.take(torch.tensor([3, 1]))
    assert some.users.tolist() == [30, 10]
    assert some.items.tolist() == [300, 100]
    assert some.labels.tolist() == [3.0, 1.0]
    assert some.weights is None
    assert some.wants == 2
    assert some.negatives is not None
    assert some.negatives.items.tolist() == [[3, 3], [1, 1]]
    batch.negatives = Negatives(torch.tensor([[5, 6, 7]]), torch.zeros(1, 3), torch.ones(4, 3))
    shared = batch.take(torch.tensor([2])).negatives
    assert shared is not None
    assert shared.items.tolist() == [[5, 6, 7]]
    assert shared.weight is not None
    assert shared.weight.shape == (1, 3)
