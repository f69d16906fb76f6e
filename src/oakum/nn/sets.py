"""Sets of vectors as one vector, whatever their order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oakum.nn.attention import Block


class SetEncoder(nn.Module):
    """Self-attention without positions over the members of a set, averaged."""

    def __init__(self, width: int, num_layers: int = 1, num_heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(num_layers))

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """[b, t, d] with bool [b, t] -> [b, d]; what stands where nothing is there does not matter, and an empty set is 0."""
        itself = torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
        mask = (there[:, None, :] | itself).unsqueeze(1)
        x = vectors * there.unsqueeze(-1)
        for block in self.blocks:
            x = block(x, mask)
        return (x * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True).clamp_min(1)
