"""Attention that sums up a sequence for one question at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

PAIRS = (
    1 << 20
)  # pairs of a question and a fact scored at a time; above it the scores are computed again on the way back


class AskedPooling(nn.Module):
    """Sums up facts f by an attention that is asked by a vector q and by a context g: Σ a_k f_k with a = softmax_k
    MLP([f_k; q; f_k ⊙ q; q − f_k; g]), 5d → 80 → 40 → 1 with PReLU.

    The first layer is taken apart, so that all but f ⊙ q is computed once a fact or once a question; the last has no bias,
    which a softmax would not feel.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(5 * width, 80), nn.Linear(80, 40), nn.Linear(40, 1, bias=False)
        self.bend_first, self.bend_second = nn.PReLU(), nn.PReLU()

    def forward(self, facts: Tensor, visible: Tensor, asked: Tensor, whole: Tensor) -> Tensor:
        """facts [s, k, d], visible bool [s, j, k], asked and whole [s, j, d] -> [s, j, d]; zeros where nothing is visible."""
        places = max(1, PAIRS // max(1, facts.shape[0] * facts.shape[1]))
        if places >= asked.shape[1]:
            return self.attend(facts, visible, asked, whole)
        parts = zip(visible.split(places, 1), asked.split(places, 1), whole.split(places, 1), strict=True)
        again = lambda *part: checkpoint(self.attend, facts, *part, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(*part) for part in parts], 1)

    def attend(self, facts: Tensor, visible: Tensor, asked: Tensor, whole: Tensor) -> Tensor:
        """The same for all places at once."""
        of_fact, of_asked, of_both, of_gap, of_whole = self.first.weight.chunk(5, 1)
        own = facts @ (of_fact - of_gap).T
        place = asked @ (of_asked + of_gap).T + whole @ of_whole.T + self.first.bias
        both = (facts.unsqueeze(1) * asked.unsqueeze(2)) @ of_both.T
        hidden = self.bend_first(both + own.unsqueeze(1) + place.unsqueeze(2))
        scores = self.third(self.bend_second(self.second(hidden))).squeeze(-1)
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
        return (scores.softmax(-1) * visible) @ facts
