"""Losses as pure functions that keep their rows: shapes in, one value a row out; the engine averages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: softplus(s⁻ − s⁺), mean over negatives. [b], [b, n] -> [b]. (Rendle 2009)"""
    return F.softplus(negative - positive.unsqueeze(-1)).mean(-1)


def bpr_max(positive: Tensor, negative: Tensor, penalty: float = 1.0, other: Tensor | None = None) -> Tensor:
    """−log Σ_j p_j σ(s⁺ − s_j) + penalty Σ_j p_j s_j², p the softmax over the negatives. [b], [b, n] -> [b].

    The negatives that score highest count most (Hidasi & Karatzoglou 2018). other: bool [b, n], false where a negative
    is left out; a row without any costs 0.
    """
    kept = torch.ones_like(negative, dtype=torch.bool) if other is None else other
    log_p = torch.log_softmax(negative.masked_fill(~kept, -1e9), -1)
    rank = -torch.logsumexp(log_p + F.logsigmoid(positive.unsqueeze(-1) - negative), -1)
    loss = rank + penalty * (log_p.exp() * negative**2).sum(-1)
    return torch.where(kept.any(-1), loss, torch.zeros_like(loss))


def hinge(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """[margin + s⁻ − s⁺]₊, mean over negatives. [b], [b, n] -> [b]."""
    return F.relu(margin + negative - positive.unsqueeze(-1)).mean(-1)


def warp(positive: Tensor, negative: Tensor, margin: float, num_items: int) -> Tensor:
    """w [margin + max s⁻ − s⁺]₊ with w = log(1 + items · share of the negatives within the margin). [b], [b, n] -> [b].

    The weight stands for the rank of the positive among all items (Weston et al. 2011; Hsieh et al. 2017) and has no
    gradient; it is 0 exactly where no negative comes within the margin.
    """
    impostors = (margin + negative - positive.unsqueeze(-1) > 0).detach()
    weight = torch.log1p(num_items * impostors.to(negative.dtype).mean(-1))
    return weight * F.relu(margin + negative.amax(-1) - positive)


def binary_cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:
    """−log σ(s⁺) − mean log σ(−s⁻). [b], [b, n] -> [b]."""
    return F.softplus(-positive) + F.softplus(negative).mean(-1)


def against(query: Tensor, negative: Tensor) -> Tensor:
    """Dot products with each row's negatives [b, n, d], or with those that a batch shares [1, n, d]. -> [b, n]."""
    if len(negative) == 1:
        return query @ negative[0].T
    return torch.einsum("bd,bnd->bn", query, negative)


def log_loss(logit: Tensor, label: Tensor) -> Tensor:
    """−y log σ(z) − (1 − y) log σ(−z), in nats. [b], [b] -> [b]."""
    return F.softplus(logit) - label * logit


def shared_cross_entropy(logits: Tensor, codes: Tensor, shares: Tensor) -> Tensor:
    """−Σ_k share_k log softmax(z)_{code_k}: the cross-entropy of a label that is parted among several classes.

    [b, classes], int64 [b, k], [b, k] -> [b]; 0 where all shares are 0.
    """
    own = (shares * logits.gather(1, codes)).sum(-1)
    return shares.sum(-1) * torch.logsumexp(logits, -1) - own


def sampled_softmax(positive: Tensor, negative: Tensor, log_q: Tensor | None = None) -> Tensor:
    """Listwise softmax of the positive against its negatives, corrected by log q where given. -> [b]."""
    if log_q is not None:
        negative = negative - log_q
    return torch.logsumexp(torch.cat([positive.unsqueeze(-1), negative], -1), -1) - positive


def softmax(
    query: Tensor, positive: Tensor, items: Tensor, target: Tensor | None = None, *, largest: int = 1 << 26
) -> Tensor:
    """Full softmax over all items: log Σ_j exp(q · E_j) − q · positive. [b, d], [b, d], [i, d] -> [b].

    The positive comes as a vector of its own, so that whoever moves it moves the loss. target: int64 [b], the rows of
    `items` that the positives are; given, the sum, too, takes the positive's logit from `positive`, so the loss stays a
    softmax (never below 0) when the vectors are moved. Cost b · i · d forward, twice that backward; logits are kept for the
    way back up to `largest` of them (256 MB) and computed again above it. First derivatives only.
    """
    # Half precision (autocast) is widened: sums of so many exponentials need it.
    wide = [x if x.dtype == torch.float64 else x.float() for x in (query, positive, items)]
    loss: Tensor = _Softmax.apply(*wide, target, largest)
    return loss


class _Softmax(torch.autograd.Function):
    """Keeps exp(logits − the largest so far) of each tile and nothing else of the size of the logits."""

    TILE = (
        512,
        4096,
    )  # rows and items worked on at a time: products near full speed, the passes between them in the cache

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, positive: Tensor, items: Tensor, target: Tensor | None, largest: int
    ) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):
            own = (query * positive).sum(-1)
            top, total = torch.full_like(own, -torch.inf), torch.zeros_like(own)
            kept: list[tuple[Tensor, Tensor]] = []
            for rows, columns in _Softmax.tiles(query, items):
                tile = _Softmax.logits(query, items, own, target, rows, columns)
                before = top[rows].clone()
                now = torch.maximum(before, tile.amax(-1))
                tile.sub_(now[:, None]).exp_()
                total[rows] = total[rows] * (before - now).exp_() + tile.sum(-1)
                top[rows] = now
                if len(query) * len(items) <= largest:
                    kept.append((tile, now))
        ctx.save_for_backward(query, positive, items, target, own, top, total)
        ctx.kept = kept
        return top + total.log() - own

    @staticmethod
    def logits(query: Tensor, items: Tensor, own: Tensor, target: Tensor | None, rows: slice, columns: slice) -> Tensor:
        """A tile of the logits, those of the targets replaced by the given ones."""
        out = query[rows] @ items[columns].T
        if target is not None:
            column = target[rows] - columns.start
            at = ((column >= 0) & (column < out.shape[1])).nonzero()[:, 0]
            out[at, column[at]] = own[rows][at]
        return out

    @staticmethod
    def tiles(query: Tensor, items: Tensor) -> Iterator[tuple[slice, slice]]:
        """Rows and items in blocks; where they need not stay in a CPU's cache, 64 times as large."""
        r, c = (size * (1 if query.device.type == "cpu" else 8) for size in _Softmax.TILE)
        for row in range(0, len(query), r):
            for column in range(0, len(items), c):
                yield slice(row, min(len(query), row + r)), slice(column, min(len(items), column + c))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, positive, items, target, own, top, total = ctx.saved_tensors
        weight = grad / total
        back, table, share = torch.zeros_like(query), torch.zeros_like(items), torch.zeros_like(grad)
        for number, (rows, columns) in enumerate(_Softmax.tiles(query, items)):
            if ctx.kept:
                p, then = ctx.kept[number]
                scale = (weight[rows] * (then - top[rows]).exp_())[:, None]
            else:
                p = _Softmax.logits(query, items, own, target, rows, columns).sub_(top[rows, None]).exp_()
                scale = weight[rows, None]
            back[rows].addcmul_(p @ items[columns], scale)
            table[columns].addmm_(p.T, query[rows] * scale)
        if target is not None:  # the positive's column was not read from the table
            share = (own - top).exp() * weight
            back -= share[:, None] * items[target]
            table.index_add_(0, target, -share[:, None] * query)
        own_grad = (share - grad)[:, None]
        return back + own_grad * positive, own_grad * query, table, None, None


def table_contrast(a: Tensor, b: Tensor, table: Tensor, temperature: float, *, clamp: float = 0.0) -> Tensor:
    """Contrast of row r of `a` with row r of `b` against a whole table: log Σ_k exp(a · T_k / τ) − a · b / τ. -> [b].

    Vectors are taken as they are (no unit length), so scores may be large: the logarithm of the sum stays finite. clamp > 0
    keeps a · b / τ within ± clamp, where it pulls no more and only the sum still pushes. Cost as `softmax`.
    """
    loss = softmax(a / temperature, b, table)
    pull = (a * b).sum(-1) / temperature
    return loss + (pull - pull.clamp(-clamp, clamp)) if clamp else loss


def gbce(positive: Tensor, negative: Tensor, num_items: int, calibration: float = 0.75) -> Tensor:
    """Generalised BCE (Petrov & Macdonald 2023): σ(s⁺)^β counters the overconfidence of sampled negatives.

    α = k / (I − 1), β = α (t (1 − 1/α) + 1/α); t = 0 is plain BCE with k negatives summed. [b], [b, k] -> [b].
    """
    k = negative.shape[-1]
    alpha = k / (num_items - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    return (beta * F.softplus(-positive.double()) + F.softplus(negative.double()).sum(-1)).float() / (k + 1)


def info_nce(
    a: Tensor, b: Tensor, temperature: float, bank: Tensor | None = None, same: Tensor | None = None
) -> Tensor:
    """Contrastive loss of row r of `a` with row r of `b` against a bank (default `b`), on unit vectors. -> [b].

    same: int64 [b] ids; equal ids in the batch are not each other's negatives.
    """
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    logits = a @ (b if bank is None else F.normalize(bank, dim=-1)).T / temperature
    if same is not None and bank is None:
        twin = (same[:, None] == same[None, :]) & ~torch.eye(len(same), dtype=torch.bool, device=a.device)
        logits = logits.masked_fill(twin, -torch.inf)
    return torch.logsumexp(logits, -1) - (a * b).sum(-1) / temperature


def inverse_propensity(
    label: Tensor, propensity: Tensor, if_one: Tensor, if_zero: Tensor, *, non_negative: bool = False
) -> Tensor:
    """(Y/θ) δ¹ + (1 − Y/θ) δ⁰: its mean over what was shown is the mean loss on relevance (Saito et al. 2020). All [b] -> [b].

    label: Y, 1 for a click; propensity: θ in (0, 1], read where Y = 1. Clicks weigh δ⁰ below 0, so the value has no lower
    bound where δ⁰ has none; non_negative leaves the δ⁰ part out of a batch in which its mean is below 0.
    """
    share = label / propensity
    rest = (1 - share) * if_zero
    if non_negative:
        rest = rest * (rest.mean() > 0)
    return share * if_one + rest


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Contrastive loss of two views of b things, each against both views of all others (Chen et al. 2020). [b, d] -> [b].

    Stacked to 2b unit vectors, row i is −log exp(sim(i, i⁺) / T) / Σ_{k ≠ i} exp(sim(i, k) / T); the positive stays in the
    sum. The two rows of a thing are averaged. ln(2b − 1) where all vectors are equal.
    """
    both = F.normalize(torch.cat([a, b]), dim=-1)
    logits = both @ both.T / temperature
    logits = logits.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), -torch.inf)
    own = (both[: len(a)] * both[len(a) :]).sum(-1) / temperature
    return torch.logsumexp(logits, -1).view(2, -1).mean(0) - own


def distill(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """τ² KL(softmax(teacher / τ) ‖ softmax(student / τ)); the teacher learns nothing from it. [b, n], [b, n] -> [b].

    0 where the logits differ by a constant. For large τ the gradient does not depend on τ to first order.
    """
    wanted = torch.log_softmax(teacher.detach() / temperature, -1)
    found = torch.log_softmax(student / temperature, -1)
    return temperature**2 * (wanted.exp() * (wanted - found)).sum(-1)


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, ‖a − p‖₂ − ‖a − n‖₂ + margin): the positive nearer than the negative by a margin. [b, d] -> [b]."""
    return F.relu((anchor - positive).norm(dim=-1) - (anchor - negative).norm(dim=-1) + margin)


def l2(*rows: Tensor) -> Tensor:
    """Half the summed squares of each row over all given tables: ½ Σ |v|². [b, d]... or [b, n, d] -> [b]."""
    return 0.5 * sum(((r * r).flatten(1).sum(-1) for r in rows), start=torch.zeros((), device=rows[0].device))


def weighted(loss: Tensor, weight: Tensor, *, normalise: bool = True) -> Tensor:
    """Rows of a loss times weights; normalised so that the mean of the weights is 1. [b], [b] -> [b]."""
    if normalise:
        weight = weight * (len(weight) / weight.sum().clamp_min(1e-12))
    return loss * weight


def effective_share(weight: Tensor) -> Tensor:
    """(Σ w)² / (n Σ w²), in (0, 1]: the share of the rows that weighting leaves, as it were. [b] -> []."""
    return weight.sum() ** 2 / (len(weight) * (weight**2).sum()).clamp_min(1e-12)


def list_margin(scores: Tensor, targets: Tensor, k: int, *, kappa: float = torch.inf) -> Tensor:
    """How far each target is below the last of the k highest scores: max(s_(k) − s_t, −κ), mean over targets. -> [b].

    At most 0 where all targets are in the list (Huang et al. 2021, after Carlini & Wagner). scores: [b, i]; targets: int64
    [t]; k is cut to the number of items. kappa: how far inside a list is far enough; infinite pulls for ever.
    """
    last = scores.topk(min(k, scores.shape[-1]), dim=-1).values[:, -1:]
    return (last - scores[:, targets]).clamp_min(-kappa).mean(-1)


def policy(logp: Tensor, advantage: Tensor, old: Tensor | None = None, clip: float | None = None) -> Tensor:
    """−A log π (REINFORCE), or with `clip` −min(ρ A, clip(ρ, 1 ± clip) A), ρ = π / π_old (Schulman et al. 2017). [b] -> [b].

    old: log-probabilities under the policy that drew the actions, stopped; none takes today's (ρ = 1, on policy), where the
    gradient is REINFORCE's. No gradient flows through the advantage.
    """
    advantage = advantage.detach()
    if clip is None:
        return -advantage * logp
    ratio = (logp - (logp if old is None else old).detach()).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def group_advantage(rewards: Tensor) -> Tensor:
    """Rewards of a group against its own mean, in units of its standard deviation; zeros where all are equal. [g] -> [g]."""
    return (rewards - rewards.mean()) / rewards.std(correction=0).clamp_min(1e-8)


def ordered(scores: Tensor, lists: Tensor, others: Tensor, margin: float) -> Tensor:
    """Scores in the order of a list, and above what is not in it (Yue et al. 2021). [b, i], [b, k], [b, k] -> [b].

    mean [margin − (s_c − s_next)]₊ over neighbours of the list + mean [margin − (s_c − s_other)]₊ over its places. lists:
    int64, best first, -1 where it has ended; others: one item a place that is not in the list, -1 for none. 0 without a list.
    """
    own = scores.gather(1, lists.clamp_min(0))
    known = (lists >= 0).to(scores.dtype)
    pairs, against_others = known[:, 1:] * known[:, :-1], known * (others >= 0)
    order = F.relu(margin - own[:, :-1] + own[:, 1:]) * pairs
    above = F.relu(margin - own + scores.gather(1, others.clamp_min(0))) * against_others
    share = lambda value, of: value.sum(-1) / of.sum(-1).clamp_min(1)
    return share(order, pairs) + share(above, against_others)


def repair(scores: Tensor, lists: Tensor, margin: float) -> Tensor:
    """Pulls missed items up and intruders down until the k highest scores are the list's k items. [b, i], [b, k] -> [b].

    mean [margin + s_intruder − s_missed]₊ over all pairs of an item among the k highest scores that is not in the list and
    one of the list that is not among them (|missed| = |intruders|); 0 where the sets agree, whatever their order, and
    without a list. lists: int64, -1 where a list has ended: of a shorter list, so many of the highest scores are compared.
    """
    known = lists >= 0
    top = scores.detach().topk(lists.shape[1], dim=-1).indices
    there = torch.arange(lists.shape[1], device=lists.device) < known.sum(-1, keepdim=True)
    same = top[:, :, None] == lists[:, None, :]
    intruder, missed = there & ~same.any(2), known & ~(same & there[:, :, None]).any(1)
    up, down = scores.gather(1, lists.clamp_min(0)), scores.gather(1, top)
    pairs = (intruder[:, :, None] & missed[:, None, :]).to(scores.dtype)
    gap = F.relu(margin + down[:, :, None] - up[:, None, :]) * pairs
    return gap.sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)
