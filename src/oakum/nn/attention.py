"""The causal self-attention encoder that sequence models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """x + Attention(LN(x)), then x + Net(LN(x)): pre-normalised, residual (the variant that ranks best of three)."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm_in, self.norm_net = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.net = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[s, t, d] with mask bool [s, 1, t, t] (true: may look) -> [s, t, d]."""
        s, t, d = x.shape
        q, k, v = self.project(self.norm_in(x)).reshape(s, t, 3, self.num_heads, d // self.num_heads).unbind(2)
        parts = (p.transpose(1, 2) for p in (q, k, v))
        q, k, v = parts
        seen = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        x = x + F.dropout(self.out(seen.transpose(1, 2).reshape(s, t, d)), self.dropout, self.training)
        out: Tensor = x + self.net(self.norm_net(x))
        return out


class Encoder(nn.Module):
    """Embeds item sequences and lets each place read the places before it.

    Positions are counted from the end of the window (0 is the latest event), so a short history is read as the end of
    a long one. Padding (-1) is neither read nor trained; batch mates and the width of the padding change nothing.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.positions = nn.Embedding(max_length, width)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, table: Tensor) -> Tensor:
        """Codes int64 [s, t] (-1 pads) and item vectors [i, d] -> states [s, t, d]."""
        t = items.shape[1]
        there = items >= 0
        x = table[items.clamp_min(0)] * table.shape[1] ** 0.5
        x = x + self.positions(torch.arange(t - 1, -1, -1, device=items.device))
        x = F.dropout(x, self.dropout, self.training) * there.unsqueeze(-1)
        causal = torch.ones(t, t, dtype=torch.bool, device=items.device).tril()
        itself = torch.eye(t, dtype=torch.bool, device=items.device)
        mask = (causal & (there[:, None, :] | itself)).unsqueeze(1)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out
