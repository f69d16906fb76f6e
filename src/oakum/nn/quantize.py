"""Vectors as a few small numbers: finite scalar quantisation, bits, and residual k-means for codes without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FSQ(nn.Module):
    """Finite scalar quantisation (Mentzer et al. 2023): a few numbers, each rounded to one of a few levels.

    z = W_in x + b in R^D; half = (ℓ − 1)(1 − 1e-3) / 2; off = ½ where ℓ is even, else 0; shift = tan(off / half);
    b = tanh(z + shift) · half − off; q = round(b) with the gradient of b; digit = q + ⌊ℓ / 2⌋ in 0 … ℓ − 1;
    index = Σ digit_d · basis_d, the first digit running fastest. All indices 0 … Π ℓ − 1 can be reached, no code can die.
    """

    levels: Tensor
    basis: Tensor

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.size = math.prod(levels)
        basis = [math.prod(levels[:d]) for d in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.int64), persistent=False)
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.int64), persistent=False)
        self.project_in = nn.Linear(width, len(levels))
        self.project_out = nn.Linear(len(levels), width)

    def bound(self, z: Tensor) -> Tensor:
        """The values before rounding, [..., D] -> [..., D]: each within half a level of its outermost levels."""
        half = (self.levels - 1) * (1 - 1e-3) / 2
        off = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        return torch.tanh(z + torch.tan(off / half)) * half - off

    def round(self, z: Tensor) -> Tensor:
        """Whole numbers [..., D] from −⌊ℓ/2⌋ on, with the gradient of `bound`."""
        bounded = self.bound(z)
        return bounded + (bounded.round() - bounded).detach()

    def index(self, q: Tensor) -> Tensor:
        """Whole numbers [..., D] -> indices int64 [...]."""
        return ((q.round().long() + self.levels // 2) * self.basis).sum(-1)

    def digits(self, index: Tensor) -> Tensor:
        """Indices int64 [...] -> the whole numbers [..., D] that they stand for."""
        return ((index.unsqueeze(-1) // self.basis) % self.levels - self.levels // 2).float()

    def codes(self, x: Tensor) -> Tensor:
        """Vectors [..., width] -> indices int64 [...]."""
        return self.index(self.round(self.project_in(x)))

    def values(self, index: Tensor) -> Tensor:
        """Indices int64 [...] -> the vectors [..., width] that they are read as."""
        out: Tensor = self.project_out(self.digits(index) / (self.levels // 2))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [..., width] -> what is left of them [..., width]; gradients pass through the rounding."""
        out: Tensor = self.project_out(self.round(self.project_in(x)) / (self.levels // 2))
        return out


def soft_bits(z: Tensor, tau: float, slope: float = 500.0) -> Tensor:
    """ "Is z within (−τ, τ)?" between −1 and +1, with a gradient: q' / (1 + |q'|), q' = slope (τ² − z²); 0 at |z| = τ."""
    out: Tensor = nn.functional.softsign(slope * (tau * tau - z * z))
    return out


def hard_bits(z: Tensor, tau: float) -> Tensor:
    """The same as −1 or +1; no gradient. On the border: −1."""
    return torch.where(z.detach().abs() < tau, 1.0, -1.0).to(z.dtype)


def residual_books(x: Tensor, depth: int, size: int, *, rounds: int = 20) -> Tensor:
    """Residual k-means: codebook l holds the means of what codebooks 0 … l − 1 left over. [n, d] -> [depth, size, d].

    Starts from `size` distinct rows drawn from torch's global generator; a mean that nobody is nearest to takes the row
    that is worst served. Cost rounds · depth · n · size · d. With fewer than `size` rows the rest of a book is zero.
    """
    left = x.clone()
    books = x.new_zeros(depth, size, x.shape[1])
    for book in books:
        chosen = torch.randperm(len(x))[:size].to(x.device)
        means = left[chosen].clone()
        for _ in range(rounds):
            gap, nearest = _nearest(left, means)
            count = torch.bincount(nearest, minlength=len(means))
            total = torch.zeros_like(means).index_add_(0, nearest, left)
            means = total / count.clamp_min(1).unsqueeze(1)
            empty = torch.nonzero(count == 0).flatten()
            means[empty] = left[gap.argsort(descending=True, stable=True)[: len(empty)]]
        book[: len(means)] = means
        left = left - means[_nearest(left, means)[1]]
    return books


def residual_codes(x: Tensor, books: Tensor) -> Tensor:
    """The row of each codebook that is nearest to what the books before it left over. [n, d] -> int64 [n, depth]."""
    left, out = x, []
    for book in books:
        nearest = _nearest(left, book)[1]
        out.append(nearest)
        left = left - book[nearest]
    return torch.stack(out, 1)


def _nearest(x: Tensor, means: Tensor, block: int = 1 << 14) -> tuple[Tensor, Tensor]:
    """Squared distance to the nearest mean, and which it is, in blocks of rows."""
    found = [((means * means).sum(-1) - 2 * part @ means.T).min(-1) for part in x.split(block)]
    gap = torch.cat([f.values for f in found]) + (x * x).sum(-1)
    return gap, torch.cat([f.indices for f in found])
