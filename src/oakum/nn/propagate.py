"""The propagation operator of graph recommenders: a normalised bipartite adjacency times vectors."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor


class _Spmm(torch.autograd.Function):
    """A @ x whose backward is Aᵀ @ g with a transpose made once, instead of a transposition at every step."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, x: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transpose @ grads[0]


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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
            shape = (num_users, num_items)
            self.forward = torch.sparse_csr_tensor(indptr, indices, values, shape, check_invariants=False)
            order = torch.argsort(indices, stable=True)
            columns = torch.zeros(num_items + 1, dtype=indptr.dtype, device=indptr.device)
            columns[1:] = torch.bincount(indices, minlength=num_items).cumsum(0)
            shape = (num_items, num_users)
            self.backward = torch.sparse_csr_tensor(columns, users[order], values[order], shape, check_invariants=False)

    def to_users(self, items: Tensor) -> Tensor:
        """[items, d] -> [users, d]."""
        out: Tensor = _Spmm.apply(self.forward, self.backward, items)
        return out

    def to_items(self, users: Tensor) -> Tensor:
        """[users, d] -> [items, d]."""
        out: Tensor = _Spmm.apply(self.backward, self.forward, users)
        return out


def propagate(graph: Bipartite, users: Tensor, items: Tensor, layers: int) -> tuple[list[Tensor], list[Tensor]]:
    """E⁰ … E^L of both sides: E_u^{l+1} = R̃ E_i^l, E_i^{l+1} = R̃ᵀ E_u^l.

    Cost layers · 2 · edges · d multiply-adds, the same again backward. The caller mixes the layers.
    """
    of_users, of_items = [users], [items]
    for _ in range(layers):
        of_users.append(graph.to_users(of_items[-1]))
        of_items.append(graph.to_items(of_users[-2]))
    return of_users, of_items


def mean_of(layers: list[Tensor]) -> Tensor:
    """The mean read-out: Σ_l E^l / (L + 1)."""
    out = layers[0]
    for layer in layers[1:]:
        out = out + layer
    return out / len(layers)
