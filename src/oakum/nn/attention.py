"""The self-attention blocks, masks and the causal encoder that sequence models share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropped(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout: each value is zero with probability `rate` (to 1 in 65,536), the others grow by 1 / (1 − rate).

    On a CPU four values share one 64-bit draw, a third of the time of torch's own, which draws for each.
    """
    if not training or rate == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, rate)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    keep = bits[: x.numel()].view(x.shape) >= round(rate * 2**16) - 2**15
    return x * keep * (1 / (1 - rate))


def causal_mask(there: Tensor, together: int = 1) -> Tensor:
    """Who may look at whom: bool [s, 1, t, t] from `there` bool [s, t], where a sequence is no padding.

    A place sees itself and the places before it that are there; padding, too, sees itself, so that it has something to
    look at. together > 1 makes each place that many tokens ([s, 1, t · together, t · together]), which see one another:
    bidirectional inside an item, causal between items.
    """
    t = there.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=there.device).tril()
    itself = torch.eye(t, dtype=torch.bool, device=there.device)
    mask = (causal & there[:, None, :]) | itself
    if together > 1:
        mask = mask.repeat_interleave(together, 1).repeat_interleave(together, 2)
    return mask.unsqueeze(1)


def open_mask(there: Tensor) -> Tensor:
    """As `causal_mask`, where every place sees all places that are there: bool [s, 1, t, t] from bool [s, t]."""
    itself = torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
    return (there[:, None, :] | itself).unsqueeze(1)


class Block(nn.Module):
    """x + Attention(LN(x)), then x + Net(LN(x)): pre-normalised, residual (the variant that ranks best of three).

    Net has one inner layer of `hidden` units (default: the width) under `activation`.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        dropout: float,
        *,
        hidden: int | None = None,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.activation = num_heads, dropout, activation
        self.norm_in, self.norm_net = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, hidden or width), nn.Linear(hidden or width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[s, t, d] with mask bool [s, 1, t, t] (true: may look; none: all see all) -> [s, t, d]."""
        s, t, d = x.shape
        q, k, v = self.project(self.norm_in(x)).reshape(s, t, 3, self.num_heads, d // self.num_heads).unbind(2)
        q, k, v = (p.transpose(1, 2) for p in (q, k, v))
        seen = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        x = x + dropped(self.out(seen.transpose(1, 2).reshape(s, t, d)), self.dropout, self.training)
        hidden = dropped(self.activation(self.inner(self.norm_net(x))), self.dropout, self.training)
        return x + dropped(self.outer(hidden), self.dropout, self.training)


class Encoder(nn.Module):
    """Embeds item sequences and lets each place read the places before it, or all of them (causal=False).

    Positions are counted from the end of the window (0 is the latest event), so a short history is read as the end of
    a long one. Padding (-1) is neither read nor trained; batch mates and the width of the padding change nothing.
    """

    def __init__(
        self, width: int, num_layers: int, num_heads: int, max_length: int, dropout: float, *, causal: bool = True
    ) -> None:
        super().__init__()
        self.dropout, self.causal = dropout, causal
        self.positions = nn.Embedding(max_length, width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, table: Tensor) -> Tensor:
        """Codes int64 [s, t] (-1 pads) and item vectors [i, d] -> states [s, t, d]."""
        return self.read(table[items.clamp_min(0)], items >= 0)

    def read(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Vectors [s, t, d] and where they are no padding, bool [s, t] -> states [s, t, d].

        What stands in the vectors of the padding does not matter; the states there mean nothing.
        """
        t, d = vectors.shape[1:]
        x = vectors * d**0.5 + self.positions(torch.arange(t - 1, -1, -1, device=vectors.device))
        x = dropped(x, self.dropout, self.training) * there.unsqueeze(-1)
        mask = causal_mask(there) if self.causal else open_mask(there)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out
