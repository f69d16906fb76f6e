"""The propagation operator of graph recommenders: a normalised bipartite adjacency times vectors."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from oakum.kernels.spmm import push, times


class _Spmm(torch.autograd.Function):
    """A @ x whose backward is Aᵀ @ g with a transpose made once, instead of a transposition at every step; the backward is
    such a product again, so that it can be differentiated too."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, x: Tensor) -> Tensor:
        ctx.matrix, ctx.transpose = matrix, transpose
        if not _by_kernel(matrix, x):
            return matrix @ x
        return torch.from_numpy(_product(_arrays(matrix), _array(x)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _Spmm.apply(ctx.transpose, ctx.matrix, grads[0])


def _by_kernel(matrix: Tensor, x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == matrix.dtype and x.dtype in (torch.float32, torch.float64)


def _arrays(matrix: Tensor) -> tuple[Any, Any, Any]:
    """What the kernels read of a CSR matrix; nothing is copied."""
    return matrix.crow_indices().numpy(), matrix.col_indices().numpy(), matrix.values().numpy()


def _product(matrix: Any, x: Any, base: Any = None, rows: Any = None) -> Any:
    indptr, indices, values = matrix
    return times(indptr, indices, values, x, base=base, rows=rows, threads=torch.get_num_threads())


def _array(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()


class Constant:
    """A sparse matrix that no gradient goes to, times vectors that gradients of any order go through."""

    def __init__(self, matrix: sparse.csr_matrix, dtype: torch.dtype = torch.float32) -> None:
        of = lambda m: _csr(
            torch.from_numpy(m.indptr.astype("int64")),
            torch.from_numpy(m.indices.astype("int64")),
            torch.from_numpy(m.data).to(dtype),
            m.shape,
        )
        self.forward, self.backward = of(matrix.tocsr()), of(matrix.T.tocsr())

    def times(self, x: Tensor) -> Tensor:
        """A x: [columns, d] -> [rows, d]."""
        out: Tensor = _Spmm.apply(self.forward, self.backward, x)
        return out

    def transposed(self, x: Tensor) -> Tensor:
        """Aᵀ x: [rows, d] -> [columns, d]."""
        out: Tensor = _Spmm.apply(self.backward, self.forward, x)
        return out


class Bipartite:
    """R and Rᵀ of users × items as CSR, with the symmetric normalisation split off.

    Weight of edge (u, i) is 1 / sqrt(deg(u) · deg(i)); isolated nodes have zero rows. Edges may carry weights of
    their own (`weights` [e]), which also count in the degrees.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Bipartite:
        """Itself: nothing writes to it, and sparse tensors cannot be copied."""
        return self

    def __init__(self, indptr: Tensor, indices: Tensor, num_items: int, weights: Tensor | None = None) -> None:
        num_users = len(indptr) - 1
        users = torch.repeat_interleave(torch.arange(num_users, device=indptr.device), indptr.diff())
        edge = torch.ones(len(indices), device=indptr.device) if weights is None else weights
        of_user = torch.zeros(num_users, device=edge.device).index_add_(0, users, edge)
        of_item = torch.zeros(num_items, device=edge.device).index_add_(0, indices, edge)
        inverse = lambda d: torch.where(d > 0, d.clamp_min(1e-12).rsqrt(), 0.0)
        values = edge * inverse(of_user)[users] * inverse(of_item)[indices]
        self.item_scale = inverse(of_item)
        self.order = torch.argsort(indices, stable=True)
        columns = torch.zeros(num_items + 1, dtype=indptr.dtype, device=indptr.device)
        columns[1:] = torch.bincount(indices, minlength=num_items).cumsum(0)
        self.forward = _csr(indptr, indices, values, (num_users, num_items))
        self.backward = _csr(columns, users[self.order], values[self.order], (num_items, num_users))

    def to_users(self, items: Tensor) -> Tensor:
        """[items, d] -> [users, d]."""
        out: Tensor = _Spmm.apply(self.forward, self.backward, items)
        return out

    def to_items(self, users: Tensor) -> Tensor:
        """[users, d] -> [items, d]."""
        out: Tensor = _Spmm.apply(self.backward, self.forward, users)
        return out

    def dropped(self, rate: float) -> Bipartite:
        """The same graph with a random share of the edges at 0 and the others scaled by 1 / (1 − rate)."""
        out = copy.copy(self)
        values = F.dropout(self.forward.values(), rate)
        of = lambda m, v: _csr(m.crow_indices(), m.col_indices(), v, (m.shape[0], m.shape[1]))
        out.forward, out.backward = of(self.forward, values), of(self.backward, values[self.order])
        return out


class LowRank:
    """The propagation of `Bipartite` over a rank-q picture of its matrix: Â ≈ U diag(s) Vᵀ.

    users: U [users, q], values: s [q], items: V [items, q]. The product U (s · (Vᵀ E)) is never built as a matrix; it
    costs (users + items) · q · d multiply-adds, less where only some rows are asked for.
    """

    def __init__(self, users: Tensor, values: Tensor, items: Tensor) -> None:
        self.users, self.items = users, items
        self.scaled_users, self.scaled_items = users * values, items * values

    def to_users(self, items: Tensor, rows: Tensor | None = None) -> Tensor:
        """[items, d] -> [users, d], or the rows int64 [b] alone -> [b, d]."""
        left = self.scaled_users if rows is None else self.scaled_users[rows]
        return left @ (self.items.T @ items)

    def to_items(self, users: Tensor, rows: Tensor | None = None) -> Tensor:
        """[users, d] -> [items, d], or the rows int64 [b] alone -> [b, d]."""
        left = self.scaled_items if rows is None else self.scaled_items[rows]
        return left @ (self.users.T @ users)


def _csr(indptr: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    if len(indices) < 2**31:  # half the memory that a product reads beside the vectors
        indptr, indices = indptr.int(), indices.int()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(indptr, indices, values, shape, check_invariants=False)


def propagate(
    graph: Bipartite, users: Tensor, items: Tensor, layers: int, *, dropout: float = 0.0
) -> tuple[list[Tensor], list[Tensor]]:
    """E⁰ … E^L of both sides: E_u^{l+1} = R̃ E_i^l, E_i^{l+1} = R̃ᵀ E_u^l.

    dropout: share of the edges left out, drawn anew for every product. Cost layers · 2 · edges · d multiply-adds, the
    same again backward. The caller mixes the layers.
    """
    of_users, of_items = [users], [items]
    there = lambda: graph.dropped(dropout) if dropout else graph
    for _ in range(layers):
        of_users.append(there().to_users(of_items[-1]))
        of_items.append(there().to_items(of_users[-2]))
    return of_users, of_items


class _Rows(torch.autograd.Function):
    """Some rows of Σ_l Ã^l E and of E itself. By Horner's rule, X ← E + Ã X: the last product is made at the rows alone, and
    so is the first on the way back, where everything else is 0."""

    @staticmethod
    def forward(
        ctx: Any, graph: Bipartite, layers: int, users: Tensor, items: Tensor, u: Tensor, i: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.graph, ctx.layers = graph, layers
        ctx.save_for_backward(u, i)
        there, back = _arrays(graph.forward), _arrays(graph.backward)
        of_users, of_items = _array(users), _array(items)
        x_users, x_items = of_users, of_items
        for _ in range(layers - 1):
            x_users, x_items = _product(there, x_items, of_users), _product(back, x_users, of_items)

        def at(matrix: Any, x: Any, base: Any, codes: Tensor) -> Tensor:
            rows, place = np.unique(codes.numpy(), return_inverse=True)
            found = _product(matrix, x, base, rows)
            return torch.from_numpy(found)[torch.from_numpy(place)]

        sums = at(there, x_items, of_users, u), at(back, x_users, of_items, i)
        return *sums, users.detach()[u], items.detach()[i]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, i = ctx.saved_tensors
        return None, None, *_Spread.apply(ctx.graph, ctx.layers, u, i, *grads), None, None


class _Spread(torch.autograd.Function):
    """The transpose of `_Rows`: gradients of the rows become those of both tables."""

    @staticmethod
    def forward(ctx: Any, graph: Bipartite, layers: int, u: Tensor, i: Tensor, *grads: Tensor) -> tuple[Tensor, Tensor]:
        z_u, z_i, e_u, e_i = grads
        ctx.graph, ctx.layers = graph, layers
        ctx.save_for_backward(u, i)
        there, back = _arrays(graph.forward), _arrays(graph.backward)

        def gathered(codes: Tensor, grad: Tensor, size: int) -> tuple[Any, Any, Any]:
            rows, place = np.unique(codes.numpy(), return_inverse=True)
            few = grad.new_zeros(len(rows), grad.shape[1]).index_add_(0, torch.from_numpy(place), grad).numpy()
            dense = np.zeros((size, grad.shape[1]), few.dtype)
            dense[rows] = few
            return rows, few, dense

        rows_u, few_u, g_users = gathered(u, z_u, graph.forward.shape[0])
        rows_i, few_i, g_items = gathered(i, z_i, graph.backward.shape[0])
        y_users, y_items = g_users.copy(), g_items.copy()
        push(*there, rows_u, few_u, y_items)
        push(*back, rows_i, few_i, y_users)
        for _ in range(layers - 1):
            y_users, y_items = _product(there, y_items, g_users), _product(back, y_users, g_items)
        return torch.from_numpy(y_users).index_add_(0, u, e_u), torch.from_numpy(y_items).index_add_(0, i, e_i)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, i = ctx.saved_tensors
        return None, None, None, None, *_Rows.apply(ctx.graph, ctx.layers, *grads, u, i)


def sums_at(
    graph: Bipartite, users: Tensor, items: Tensor, layers: int, u: Tensor, i: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Σ_l E^l and E⁰ at some rows alone: (sums [b, d] of the users u, sums [c, d] of the items i, E⁰ [b, d], E⁰ [c, d]).

    Equal to `sum_of` over `propagate`, at the given rows (int64 [b], [c]; a row may come twice), but for rounding. layers is
    at least 1. Cost 2 (layers − 1) · edges · d multiply-adds and those of the edges at the rows, the same again backward.
    """
    if not _by_kernel(graph.forward, users):
        of_users, of_items = propagate(graph, users, items, layers)
        return sum_of(of_users)[u], sum_of(of_items)[i], users[u], items[i]
    found: tuple[Tensor, Tensor, Tensor, Tensor] = _Rows.apply(graph, layers, users, items, u, i)
    return found


def sum_of(layers: list[Tensor]) -> Tensor:
    """The sum read-out: Σ_l E^l."""
    out = layers[0]
    for layer in layers[1:]:
        out = out + layer
    return out


def mean_of(layers: list[Tensor]) -> Tensor:
    """The mean read-out: Σ_l E^l / (L + 1)."""
    return sum_of(layers) / len(layers)
