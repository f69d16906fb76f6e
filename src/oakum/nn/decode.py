"""From distributions over tokens to items of a catalogue: a trie in arrays, beams along it, and exact scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Trie:
    """The codes of a catalogue, sorted: which tokens may follow a prefix, and which items a whole code names.

    codes: int64 [n, k], row i is the code of item i (or of `items[i]`, int64 [n]); items may share one. Nodes of depth l
    are the distinct prefixes of l + 1 tokens in sorted order; the children of node v stand at `first[l][v]` up to
    `first[l][v + 1]` of depth l + 1. A leaf is a distinct code, so leaves number the rows of `codes` [m, k]. Memory about
    16 k m bytes, time that of sorting; nothing is a Python object.
    """

    def __init__(self, codes: Tensor, items: Tensor | None = None) -> None:
        self.codes, leaf = torch.unique(codes, dim=0, return_inverse=True)
        m, self.depth = self.codes.shape
        order = leaf.argsort(stable=True)
        self.items = order if items is None else items[order]  # items by leaf, in the order given
        self.starts = torch.zeros(m + 1, dtype=torch.long, device=codes.device)
        self.starts[1:] = torch.bincount(leaf, minlength=m).cumsum(0)
        self.tokens: list[Tensor] = []
        self.first: list[Tensor] = []
        fresh = torch.zeros(m, dtype=torch.bool, device=codes.device)
        fresh[:1] = True
        for depth in range(self.depth):
            parents = fresh
            fresh = fresh.clone()
            fresh[1:] |= self.codes[1:, depth] != self.codes[:-1, depth]
            self.tokens.append(self.codes[fresh, depth])
            below = fresh.long().cumsum(0)  # nodes of this depth among the rows up to each
            starts = (below - 1)[parents] if depth else below.new_zeros(1)
            self.first.append(torch.cat([starts, below[-1:] if m else below.new_zeros(1)]))

    def __len__(self) -> int:
        return len(self.codes)

    def expand(self, leaves: Tensor) -> Tensor:
        """Leaves int64 [q, b] (-1: none) -> the items that they name, int64 [q, c], -1 where a row ends early; the items
        of one leaf stand together, in the order of the leaves."""
        safe = leaves.clamp_min(0)
        size = torch.where(leaves >= 0, (self.starts.diff()[safe] if len(self) else safe), 0)
        total = size.sum(1)
        out = leaves.new_full((len(leaves), int(total.max()) if len(leaves) else 0), -1)
        row = torch.repeat_interleave(torch.arange(len(leaves), device=leaves.device), total)
        begin = torch.repeat_interleave(self.starts[safe].flatten(), size.flatten())
        before = size.flatten().cumsum(0) - size.flatten()
        within = torch.arange(len(row), device=leaves.device) - torch.repeat_interleave(before, size.flatten())
        column = torch.arange(len(row), device=leaves.device) - (total.cumsum(0) - total)[row]
        out[row, column] = self.items[begin + within]
        return out


def exact(log_probs: Tensor, codes: Tensor) -> Tensor:
    """Σ_l log p_l(code_l) of every code, where the k tokens are independent given the request.

    log_probs [q, k, v]; codes int64 [n, k], the same for all, or each request's own [q, n, k] -> [q, n]. Cost k look-ups
    a code and request.
    """
    pick = lambda l: (
        log_probs[:, l].index_select(1, codes[:, l]) if codes.dim() == 2 else log_probs[:, l].gather(1, codes[..., l])
    )
    out = pick(0)
    for depth in range(1, codes.shape[-1]):
        out = out + pick(depth)
    return out


def beam(
    trie: Trie, step: Callable[[int, Tensor], Tensor], queries: int, *, first: int, each: int, keep: int
) -> tuple[Tensor, Tensor]:
    """Generate codes token by token along a trie, so that only codes of the catalogue come out.

    step(l, prefixes int64 [q, b, l]) gives log-probabilities [q, b, v] of token l. Of the roots the `first` best are
    taken, then of each beam the `each` best children, and of all of them the `keep` best go on. Log-probabilities are not
    made to sum to 1 over what the trie allows. Returns leaves int64 [q, keep] (-1: the list ended early) and their summed
    log-probabilities [q, keep] (−inf there), best first; ties go to the smaller code. With all three at least the number
    of codes it finds every code. Cost a step: the children of the beams, sorted.
    """
    device = trie.codes.device
    nodes = torch.zeros(queries, 1, dtype=torch.long, device=device)
    prefixes = torch.zeros(queries, 1, 0, dtype=torch.long, device=device)
    scores = torch.zeros(queries, 1, device=device)
    for depth in range(trie.depth):
        width = nodes.shape[1]
        log_probs = step(depth, prefixes).reshape(queries * width, -1)
        alive = torch.nonzero(nodes.flatten() >= 0).flatten()
        begin = trie.first[depth][nodes.flatten()[alive]]
        count = trie.first[depth][nodes.flatten()[alive] + 1] - begin
        owner = torch.repeat_interleave(alive, count)
        shift = torch.repeat_interleave(begin - (count.cumsum(0) - count), count)
        child = torch.arange(len(owner), device=device) + shift
        token = trie.tokens[depth][child]
        value = scores.flatten()[owner] + log_probs[owner, token]
        at = _top(value, owner, first if depth == 0 else each)
        at = at[_top(value[at], owner[at] // width, min(keep, len(trie)))]
        # `at` is sorted by request, best first within it: the columns are places in that order.
        row = owner[at] // width
        size = torch.bincount(row, minlength=queries)
        column = torch.arange(len(at), device=device) - (size.cumsum(0) - size)[row]
        width = max(1, int(size.max())) if queries else 1
        before = prefixes.flatten(0, 1)[owner[at]]
        nodes = nodes.new_full((queries, width), -1)
        nodes[row, column] = child[at]
        scores = scores.new_full((queries, width), -torch.inf)
        scores[row, column] = value[at]
        prefixes = prefixes.new_zeros((queries, width, depth + 1))
        prefixes[row, column] = torch.cat([before, token[at].unsqueeze(1)], 1)
    missing = max(0, keep - nodes.shape[1])
    pad = torch.nn.functional.pad
    return pad(nodes, (0, missing), value=-1)[:, :keep], pad(scores, (0, missing), value=-torch.inf)[:, :keep]


def best(items: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` best of each request's own candidates, int64 and float [q, c] -> [q, min(k, c)], best first; a score of NaN
    takes its item out, and where a row ends early its items are -1 and its scores NaN."""
    at = scores.nan_to_num(-torch.inf).argsort(dim=1, descending=True, stable=True)[:, :k]
    scores = scores.gather(1, at)
    return items.gather(1, at).masked_fill(scores.isnan(), -1), scores


def _top(value: Tensor, group: Tensor, k: int) -> Tensor:
    """Places of the `k` largest values of each group, groups rising, values falling within them."""
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    sorted_group = group[order]
    start = torch.searchsorted(sorted_group, sorted_group)
    return order[torch.arange(len(order), device=value.device) - start < k]
