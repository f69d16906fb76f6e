"""The attacker's own model: least squares over the log and over fake rows whose entries are numbers in [0, 1].

Whoever optimises profiles asks what a model trained on them would recommend, and how that changes with every entry of
every profile. The surrogate is iALS (Hu et al. 2008, as in `kernels.als`) where an entry x of a fake row is the weight of
its term x (p·q − 1)². It is fitted by the engine on rows of 0 and 1; its last sweep, or gradient steps from there, can be
differentiated in the entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from oakum.attacks.changes import AddProfiles
from oakum.data import Dataset, Ids, Ragged
from oakum.engine.fit import fit
from oakum.models.classic.ials import IALS
from oakum.nn.propagate import Constant


@dataclass(frozen=True, eq=False)
class Factors:
    """users [u, d] (genuine, all codes), fakes [f, d], items [i, d]; rows without events are zeros."""

    users: Tensor
    fakes: Tensor
    items: Tensor

    def named(self) -> dict[str, Tensor]:
        """By name, as parameters."""
        return {"users": self.users, "fakes": self.fakes, "items": self.items}


def gram(weights: Tensor, factors: Tensor) -> Tensor:
    """Σ_j w_rj f_j f_jᵀ for every row: [r, n], [n, d] -> [r, d, d]. Cost r · n · d²."""
    d = factors.shape[1]
    return (weights @ (factors[:, :, None] * factors[:, None, :]).flatten(1)).view(-1, d, d)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """iALS of a genuine log and of fake rows. people: int32 [b], whose lists the attacker wants to change.

    Memory (items + people) · d² and accounts · items floats; time of a differentiable sweep (events + accounts · items) · d²
    + (items + people) · d³.
    """

    data: Dataset
    people: Ids
    spec: IALS
    seed: int = 0
    dtype: torch.dtype = torch.float32

    @cached_property
    def seen(self) -> Constant:
        """The genuine pairs [users, items]."""
        return Constant(self.data.matrix, self.dtype)

    @cached_property
    def asked(self) -> Constant:
        """The genuine pairs of the people asked [b, items]."""
        return Constant(self.data.matrix[self.people], self.dtype)

    def fit(self, rows: Tensor) -> Factors:
        """The model trained from scratch on the log and on fake rows of 0 and 1 [f, i], by the engine."""
        lists = [np.flatnonzero(row) for row in rows.numpy() > 0.5]
        poisoned = AddProfiles(Ragged.of(lists)).apply(self.data)  # type: ignore[arg-type]
        fitted = fit(self.spec, poisoned, seed=self.seed)
        everyone = fitted.queries(np.arange(poisoned.num_users, dtype=np.int32))
        users = torch.from_numpy(np.nan_to_num(fitted.model.query_vectors(everyone))).to(self.dtype)
        items = torch.from_numpy(np.nan_to_num(fitted.model.item_vectors())).to(self.dtype)
        return Factors(users[: self.data.num_users], users[self.data.num_users :], items)

    def _ridge(self, counts: Tensor, others: int) -> Tensor:
        spec = self.spec
        return spec.l2 * (counts + spec.unobserved_weight * others) ** spec.frequency_exponent

    def _solve(self, left: Tensor, right: Tensor, ridge: Tensor) -> Tensor:
        unit = torch.eye(left.shape[-1], dtype=left.dtype)
        return torch.linalg.solve(left + ridge[:, None, None] * unit, right)

    def sweep(self, factors: Factors, rows: Tensor) -> tuple[Tensor, Tensor]:
        """One more alternation, fakes then items then people, as functions of the entries: people [b, d], items [i, d].

        Exact least squares each; the users who are not asked stay as they are.
        """
        a, items, users = self.spec.unobserved_weight, factors.items, factors.users
        accounts, size = rows.shape
        everybody = self.data.num_users + accounts
        fakes = self._solve(gram(rows, items) + a * items.T @ items, rows @ items, self._ridge(rows.sum(1), size))
        with torch.no_grad():  # Σ p pᵀ over the genuine people of each item, a column of p at a time
            counts = self.seen.transposed(torch.ones(len(users), 1, dtype=users.dtype))[:, 0]
            own = torch.stack([self.seen.transposed(users * column[:, None]) for column in users.T], 1)
            right = self.seen.transposed(users)
        left = own + gram(rows.T, fakes) + a * (users.T @ users + fakes.T @ fakes)
        items = self._solve(left, right + rows.T @ fakes, self._ridge(counts + rows.sum(0), everybody))
        known = torch.from_numpy(self.data.user_counts[self.people]).to(items.dtype)
        d = items.shape[1]
        outer = (items[:, :, None] * items[:, None, :]).flatten(1)
        left = self.asked.times(outer).view(-1, d, d) + a * items.T @ items
        people = self._solve(left, self.asked.times(items), self._ridge(known, size))
        return people, items

    def loss(self, parameters: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """What training minimises, entries of the fakes as weights: Σ_seen (p·q − 1)² + Σ x (p_f·q − 1)² + a₀ Σ_all (p·q)² +
        Σ λ_u |p_u|² + Σ λ_i |q_i|², a scalar that can be differentiated in all of them."""
        users, fakes, items = (parameters[n] for n in ("users", "fakes", "items"))
        matrix = self.data.matrix
        owners = torch.from_numpy(np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)))
        codes = torch.from_numpy(matrix.indices.astype(np.int64))
        found = ((users[owners] * items[codes]).sum(-1) - 1) ** 2
        bought = rows * (fakes @ items.T - 1) ** 2
        everyone = users.T @ users + fakes.T @ fakes
        everything = (everyone * (items.T @ items)).sum() * self.spec.unobserved_weight
        n = torch.bincount(codes, minlength=items.shape[0]).to(items.dtype) + rows.sum(0)
        own = torch.bincount(owners, minlength=users.shape[0]).to(items.dtype)
        size, everybody = items.shape[0], users.shape[0] + fakes.shape[0]
        squares = (self._ridge(own, size) * (users**2).sum(1)).sum()
        squares = squares + (self._ridge(rows.sum(1), size) * (fakes**2).sum(1)).sum()
        squares = squares + (self._ridge(n, everybody) * (items**2).sum(1)).sum()
        return found.sum() + bought.sum() + everything + squares
