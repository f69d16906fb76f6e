"""Reputation: who sends what others send too is listened to, and paid in kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from oakum.defences.aggregate.base import Aggregation
from oakum.engine.uploads import Replies, Uploads
from oakum.parameters import Range


class RFFL(Aggregation):
    """Several parties train one recommender; each gets back as much as its uploads agreed with what came of them all.

    Paper: Xu & Lyu 2021. Per round, Δ_i clipped to length Γ: u = Σ a_i Δ_i (a_i the share of the rows at first, then the
    reputation r_i), φ_i = cos(Δ_i, u), r_i ← α r_i + (1 − α) φ_i, normalised to sum 1; from `warmup` rounds on, whoever
    falls below β / |R| is left out for good. Party i keeps its own Δ_i and receives of every layer of u the
    ceil(q_i · size) largest entries, q_i = r_i / max r. Everybody uses its own copy (`Federation.wearing`); the server's
    follows u unmasked. φ is measured on the network and on rows of tables that at least `touched` uploads touch, since
    rows of different people's items say nothing of each other. Needs tens of stable parties, not millions of people, and
    the plan's `sgd`. It does not see poison that looks clean (flipped labels), and a majority that colludes wins.
    Time and memory: parties · weights.
    """

    slug = "rffl"
    personal = True
    alpha: Annotated[float, Range(0, below=1), "how much of the reputation stays from round to round"] = 0.95
    beta: Annotated[float, Range(0, 1), "share of an equal share of reputation below which a party is left out"] = 1 / 3
    largest: Annotated[float, Range(above=0), "longest update Γ of a party"] = 0.5
    warmup: Annotated[int, Range(0), "rounds before anybody is left out"] = 10
    touched: Annotated[int, Range(1), "uploads that must touch a row of a table for it to count in φ"] = 2
    clamp: Annotated[bool, "a negative agreement counts as none (the authors' code lets it be negative)"] = True

    def memory(self, clients: int) -> dict[str, Tensor]:
        """reputation [c]; left: the round in which a party was left out, -1 while it is in; final: with how much."""
        return {
            "round": torch.zeros((), dtype=torch.int64),
            "reputation": torch.zeros(clients, dtype=torch.float64),
            "left": torch.full((clients,), -1, dtype=torch.int64),
            "final": torch.zeros(clients, dtype=torch.float64),
        }

    def combine(self, uploads: Uploads, memory: dict[str, Tensor]) -> Replies:
        """u for the server; the own clipped upload and the masked u for every party."""
        r, left, now = memory["reputation"].clone(), memory["left"].clone(), int(memory["round"])
        c = uploads.clients
        clipped = uploads.scaled(
            (self.largest / (uploads.rate * uploads.norms()).clamp_min(1e-30)).clamp_max(1.0).float()
        )
        weights = uploads.weights if now == 0 else r[c].to(uploads.weights)
        common = clipped.total(weights)
        phi = agreement(self._counted(clipped), weights).cpu()
        r[c] = self.alpha * r[c] + (1 - self.alpha) * (phi.clamp_min(0) if self.clamp else phi)
        r = shares(r, left)
        if now >= self.warmup:
            out = (left < 0) & (r < self.beta / max(1, int((left < 0).sum())))
            out[[i for i in range(len(r)) if i not in c.tolist()]] = False  # who was not asked is not judged
            memory["final"] = torch.where(out, r, memory["final"])
            left[out] = now
            r = shares(r, left)
        memory |= {"round": memory["round"] + 1, "reputation": r, "left": left}
        quota = (r / r.max().clamp_min(1e-30)).clamp_min(0)[c].tolist()
        each = []
        for place, q in enumerate(quota):
            own = clipped.of(place)
            each.append({n: own[n] + mask(common[n], q) for n in common})
        return Replies(common, each)

    def _counted(self, uploads: Uploads) -> Uploads:
        """The uploads without rows that too few touch."""
        tables = {}
        for name, t in uploads.tables.items():
            some = torch.bincount(t.row, minlength=uploads.sizes[name])[t.row] >= self.touched
            tables[name] = replace(t, owner=t.owner[some], row=t.row[some], values=t.values[some])
        return replace(uploads, tables=tables)

    def notes(self, memory: dict[str, Tensor]) -> list[str]:
        """Who was left out, when, and why."""
        out = []
        for party in torch.nonzero(memory["left"] >= 0).flatten().tolist():
            round_, had = int(memory["left"][party]), float(memory["final"][party])
            out.append(f"Party {party} was left out in round {round_}: reputation {had:.3f}.")
        return out


def agreement(uploads: Uploads, weights: Tensor) -> Tensor:
    """Cosine of every upload with the weighted sum of all, float64 [c]; 0 where either is nothing."""
    products = uploads.products()
    a = weights.double()
    length = products.diagonal().clamp_min(0).sqrt() * (a @ products @ a).clamp_min(0).sqrt()
    return torch.where(length > 0, products @ a / length.clamp_min(1e-300), 0.0)


def shares(reputation: Tensor, left: Tensor) -> Tensor:
    """Reputations of those still in, to sum 1; 0 for the others. Equal shares where nobody has any."""
    r = torch.where(left < 0, reputation, 0.0)
    total = r.sum()
    return r / total if total > 0 else (left < 0).double() / max(1, int((left < 0).sum()))


def mask(u: Tensor, q: float) -> Tensor:
    """The ceil(q · size) entries of a layer that are largest in size, the rest 0."""
    count = min(u.numel(), -int(-(q * u.numel()) // 1))
    out = torch.zeros_like(u)
    at = u.flatten().abs().topk(count).indices
    out.view(-1)[at] = u.flatten()[at]
    return out
