"""Losses as pure functions that keep their rows: shapes in, one value a row out; the engine averages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking: softplus(s⁻ − s⁺), mean over negatives. [b], [b, n] -> [b]. (Rendle 2009)"""
    return F.softplus(negative - positive.unsqueeze(-1)).mean(-1)


def binary_cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:
    """−log σ(s⁺) − mean log σ(−s⁻). [b], [b, n] -> [b]."""
    return F.softplus(-positive) + F.softplus(negative).mean(-1)


def sampled_softmax(positive: Tensor, negative: Tensor, log_q: Tensor | None = None) -> Tensor:
    """Listwise softmax of the positive against its negatives, corrected by log q where given. -> [b]."""
    if log_q is not None:
        negative = negative - log_q
    return torch.logsumexp(torch.cat([positive.unsqueeze(-1), negative], -1), -1) - positive


def softmax(query: Tensor, positive: Tensor, items: Tensor, *, largest: int = 1 << 26) -> Tensor:
    """Full softmax over all items: log Σ_j exp(q · E_j) − q · positive. [b, d], [b, d], [i, d] -> [b].

    The positive comes as a vector of its own, so that whoever moves it moves the loss. Cost b · i · d forward, twice that
    backward; above `largest` logits they are computed in blocks and again backward, never held at once.
    """
    rows = max(1, largest // max(1, len(items)))
    if len(query) <= rows:
        total = torch.logsumexp(query @ items.T, -1)
    else:
        parts = [checkpoint(_log_total, q, items, use_reentrant=False) for q in query.split(rows)]
        total = torch.cat(parts)
    return total - (query * positive).sum(-1)


def _log_total(query: Tensor, items: Tensor) -> Tensor:
    return torch.logsumexp(query @ items.T, -1)


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


def l2(*rows: Tensor) -> Tensor:
    """Half the summed squares of each row over all given tables: ½ Σ |v|². [b, d]... or [b, n, d] -> [b]."""
    return 0.5 * sum(((r * r).flatten(1).sum(-1) for r in rows), start=torch.zeros((), device=rows[0].device))


def weighted(loss: Tensor, weight: Tensor, *, normalise: bool = True) -> Tensor:
    """Rows of a loss times weights; normalised so that the mean of the weights is 1. [b], [b] -> [b]."""
    if normalise:
        weight = weight * (len(weight) / weight.sum().clamp_min(1e-12))
    return loss * weight
