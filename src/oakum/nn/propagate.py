"""The propagation operator of graph recommenders: a normalised bipartite adjacency times vectors."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F


class _Spmm(torch.autograd.Function):
    """A @ x whose backward is Aᵀ @ g with a transpose made once, instead of a transposition at every step; the backward is
    such a product again, so that it can be differentiated too."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, x: Tensor) -> Tensor:
        ctx.matrix, ctx.transpose = matrix, transpose
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _Spmm.apply(ctx.transpose, ctx.matrix, grads[0])


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


def sum_of(layers: list[Tensor]) -> Tensor:
    """The sum read-out: Σ_l E^l."""
    out = layers[0]
    for layer in layers[1:]:
        out = out + layer
    return out


def mean_of(layers: list[Tensor]) -> Tensor:
    """The mean read-out: Σ_l E^l / (L + 1)."""
    return sum_of(layers) / len(layers)
