"""Propagation with edges left out, and over a low-rank picture."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.kernels.lowrank import normalised, randomised_svd  # noqa: E402
from oakum.nn.propagate import Bipartite, LowRank, _csr, _Spmm, propagate, sum_of, sums_at  # noqa: E402
from tests.toys import random_log  # noqa: E402


def graph_of(matrix) -> Bipartite:
    indptr, indices = (torch.from_numpy(x.astype("int64")) for x in (matrix.indptr, matrix.indices))
    return Bipartite(indptr, indices, matrix.shape[1])


def test_low_rank_order_equals_the_dense_matrix() -> None:
    x = normalised(random_log().matrix)
    u, s, v = (torch.from_numpy(a) for a in randomised_svd(x, 5))
    view, picture = LowRank(u, s, v), (u * s) @ v.T
    users, items = torch.randn(40, 6), torch.randn(30, 6)
    torch.testing.assert_close(view.to_users(items), picture @ items, atol=1e-5, rtol=0)
    torch.testing.assert_close(view.to_items(users), picture.T @ users, atol=1e-5, rtol=0)
    rows = torch.tensor([3, 3, 0])
    torch.testing.assert_close(view.to_users(items, rows), (picture @ items)[rows], atol=1e-5, rtol=0)
    torch.testing.assert_close(view.to_items(users, rows), (picture.T @ users)[rows], atol=1e-5, rtol=0)


def test_dropped_edges_are_zero_or_scaled_and_the_way_back_agrees() -> None:
    x = random_log().matrix
    graph = graph_of(x)
    torch.manual_seed(0)
    thin = graph.dropped(0.25)
    whole, kept = graph.forward.to_dense(), thin.forward.to_dense()
    there = whole > 0
    ratio = (kept / whole)[there]
    assert (torch.isclose(ratio, torch.tensor(4 / 3)) | (ratio == 0)).all()
    assert 0.15 < float((ratio == 0).float().mean()) < 0.35
    torch.testing.assert_close(thin.backward.to_dense(), kept.T)
    assert torch.equal(graph.forward.to_dense(), whole)
    items = torch.randn(30, 4, dtype=torch.float32, requires_grad=True)
    out = thin.to_users(items)
    weight = torch.randn_like(out)
    (grad,) = torch.autograd.grad((out * weight).sum(), items)
    torch.testing.assert_close(grad, kept.T @ weight)


def test_each_product_draws_its_own_edges() -> None:
    graph = graph_of(random_log().matrix)
    users, items = torch.ones(40, 1), torch.ones(30, 1)
    torch.manual_seed(0)
    a, b = propagate(graph, users, items, 2, dropout=0.5)
    torch.manual_seed(0)
    first, second = graph.dropped(0.5), graph.dropped(0.5)
    torch.testing.assert_close(a[1], first.to_users(items))
    torch.testing.assert_close(b[1], second.to_items(users))
    assert not np.allclose(a[2], first.to_users(b[1]))
    plain, _ = propagate(graph, users, items, 2)
    torch.testing.assert_close(sum_of(plain), plain[0] + plain[1] + plain[2])


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_sums_at_rows_equal_those_of_the_whole_tables_with_their_gradients(layers: int) -> None:
    graph = graph_of(random_log().matrix)
    torch.manual_seed(layers)
    users, items = (torch.randn(n, 6, requires_grad=True) for n in (40, 30))
    u, i = torch.tensor([3, 0, 3, 39]), torch.tensor([5, 5, 29])
    of_users, of_items = propagate(graph, users, items, layers)
    expected = sum_of(of_users)[u], sum_of(of_items)[i], users[u], items[i]
    found = sums_at(graph, users, items, layers, u, i)
    weights = [torch.randn_like(e) for e in expected]
    slopes = lambda parts: torch.autograd.grad(
        sum((p * w).sum() for p, w in zip(parts, weights, strict=True)), (users, items)
    )
    for a, b in zip((*found, *slopes(found)), (*expected, *slopes(expected)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_sums_at_rows_can_be_differentiated_twice() -> None:
    graph = graph_of(random_log(users=8, items=6, events=30).matrix)
    for name in ("forward", "backward"):
        m = getattr(graph, name)
        setattr(graph, name, _csr(m.crow_indices(), m.col_indices(), m.values().double(), tuple(m.shape)))
    users, items = (torch.randn(n, 2, dtype=torch.float64, requires_grad=True) for n in graph.forward.shape)
    u, i = torch.tensor([1, 1, 4]), torch.tensor([0, 5])
    at = lambda a, b: sums_at(graph, a, b, 2, u, i)
    assert torch.autograd.gradcheck(at, (users, items))
    assert torch.autograd.gradgradcheck(at, (users, items))
    assert torch.autograd.gradgradcheck(lambda x: _Spmm.apply(graph.forward, graph.backward, x), (items,))


def test_a_product_equals_the_dense_one_whatever_lies_in_memory() -> None:
    graph = graph_of(random_log().matrix)
    wide = torch.randn(7, 30).T  # rows that do not lie side by side
    torch.testing.assert_close(graph.to_users(wide), graph.forward.to_dense() @ wide, atol=1e-6, rtol=1e-6)
