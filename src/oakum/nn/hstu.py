"""Pointwise attention over long histories (HSTU): no softmax, relative time, memory that grows with the events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from oakum.nn.attention import dropped

BUCKETS = 129  # of time gaps, each 1.35 times as wide as the one before; the last takes all that is longer
Cache = list[tuple[Tensor, Tensor]]  # keys and values [s, h, c, d] of each layer


@dataclass(frozen=True, slots=True)
class Looks:
    """What rows may look at: `limit` int64 [r], row i sees the tokens before limit[i], which never falls; `place`
    int64 [r], where the row itself stands; `buckets` uint8 [s, r, c], the time gap from each row to each token, and
    `own` uint8 [s, r], to itself (for rows that are no token of the stream); None without times."""

    limit: Tensor
    place: Tensor
    buckets: Tensor | None = None
    own: Tensor | None = None


def gaps(asked: Tensor, times: Tensor) -> Tensor:
    """Buckets of |asked − times|, both in microseconds: floor(ln(seconds, at least 1) / 0.301), at most 128.

    int64 [s, r], [s, c] -> uint8 [s, r, c]. One byte a pair; the wider values on the way are made in blocks.
    """
    s, r, c = *asked.shape, times.shape[1]
    out = torch.empty(s, r, c, dtype=torch.uint8, device=asked.device)
    step = max(1, (1 << 20) // max(1, s * c))
    for at in range(0, r, step):
        apart = (asked[:, at : at + step, None] - times[:, None]).abs().to(torch.float64).mul_(1e-6)
        out[:, at : at + step] = apart.clamp_min_(1).log_().div_(0.301).clamp_max_(BUCKETS - 1)
    return out


def led(first: Tensor, tokens: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [s, f, d] put right before the first of [s, t, d] that is no padding (bool [s, t], padding on the left), so that
    no distance depends on the padding. -> [s, f + t, d] and where they are no padding, bool [s, f + t]."""
    f = first.shape[1]
    column = torch.arange(f + tokens.shape[1], device=tokens.device)
    pads = (~there).sum(1, keepdim=True)
    at = torch.where(column < pads + f, (column - pads).clamp_min(0), column)
    both = torch.cat([first, tokens], 1)
    return both.gather(1, at.unsqueeze(-1).expand(-1, -1, both.shape[-1])), column >= pads


class _Pointwise(torch.autograd.Function):
    """Keeps no matrix of rows by tokens: blocks of rows are computed again on the way back."""

    BLOCK = 1 << 19  # scores worked on at a time: they stay in the cache

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, places: Tensor, moments: Tensor | None, looks: Looks
    ) -> Tensor:
        out = v.new_zeros(*q.shape[:3], v.shape[3])
        with torch.autocast(q.device.type, enabled=False):
            for rows, seen, hidden in _Pointwise.blocks(q, looks):
                weight = F.silu(_Pointwise.scores(q, k, places, moments, looks, rows, seen), inplace=True)
                out[:, :, rows] = _hide(weight, hidden) @ v[:, :, :seen]
        ctx.looks = looks
        ctx.save_for_backward(q, k, v, places, moments)
        return out

    @staticmethod
    def blocks(q: Tensor, looks: Looks) -> Iterator[tuple[slice, int, Tensor | None]]:
        """Rows, how many tokens any of them sees, and which of those are hidden from which row [r, c]."""
        s, h, r, _ = q.shape
        limits = looks.limit.tolist()
        start = 0
        while start < r:
            stop = min(r, start + max(8, _Pointwise.BLOCK // max(1, s * h * limits[-1])))
            seen = limits[stop - 1]
            hidden = None
            if limits[start] < seen:
                hidden = torch.arange(seen, device=q.device) >= looks.limit[start:stop, None]
            if seen:
                yield slice(start, stop), seen, hidden
            start = stop

    @staticmethod
    def scores(
        q: Tensor, k: Tensor, places: Tensor, moments: Tensor | None, looks: Looks, rows: slice, seen: int
    ) -> Tensor:
        """q · k + bias [s, h, r, c]."""
        out = q[:, :, rows] @ k[:, :, :seen].transpose(-1, -2)
        bias = places[_Pointwise.distance(looks, rows, seen, len(places))]
        if moments is not None and looks.buckets is not None:
            part = looks.buckets[:, rows, :seen]
            bias = bias + moments.index_select(0, part.flatten().int()).view(part.shape)
            return out.add_(bias.unsqueeze(1))
        return out.add_(bias)

    @staticmethod
    def distance(looks: Looks, rows: slice, seen: int, length: int) -> Tensor:
        """How many places back each token is, int64 [r, c]."""
        back = looks.place[rows, None] - torch.arange(seen, device=looks.place.device)
        return back.clamp_(0, length - 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, places, moments = ctx.saved_tensors
        looks: Looks = ctx.looks
        to_q, to_k, to_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        to_places = torch.zeros_like(places)
        to_moments = None if moments is None else torch.zeros_like(moments)
        for rows, seen, hidden in _Pointwise.blocks(q, looks):
            score = _Pointwise.scores(q, k, places, moments, looks, rows, seen)
            to_v[:, :, :seen] += _hide(F.silu(score), hidden).transpose(-1, -2) @ grad[:, :, rows]
            weight = _hide(grad[:, :, rows] @ v[:, :, :seen].transpose(-1, -2), hidden)
            back = torch.ops.aten.silu_backward(weight, score)
            to_q[:, :, rows] = back @ k[:, :, :seen]
            to_k[:, :, :seen] += back.transpose(-1, -2) @ q[:, :, rows]
            bias = back.sum(1)
            far = _Pointwise.distance(looks, rows, seen, len(places))
            to_places.scatter_add_(0, far.flatten(), bias.sum(0).flatten())
            if to_moments is not None and looks.buckets is not None:
                to_moments.scatter_add_(0, looks.buckets[:, rows, :seen].flatten().long(), bias.flatten())
        return to_q, to_k, to_v, to_places, to_moments, None


def _hide(values: Tensor, hidden: Tensor | None) -> Tensor:
    return values if hidden is None else values.masked_fill_(hidden, 0)


def pointwise_attention(
    q: Tensor, k: Tensor, v: Tensor, places: Tensor, moments: Tensor | None, looks: Looks
) -> Tensor:
    """Σ_j SiLU(q_i · k_j + places[i − j] + moments[gap_ij]) v_j over the tokens that row i may look at.

    q [s, h, r, d], k [s, h, c, d], v [s, h, c, e], places [n], moments [129] or None -> [s, h, r, e]. Padding is hidden by
    v = 0. Memory: inputs, outputs and a block of scores, whatever the length; the backward pass computes the scores again.
    First derivatives only.
    """
    wide = [x if x.dtype == torch.float64 else x.float() for x in (q, k, v)]
    out: Tensor = _Pointwise.apply(*wide, places, moments, looks)
    return out


class Layer(nn.Module):
    """x + Linear(U ⊙ LN(A V)) with [U V Q K] = SiLU(LN(x) W) and A = SiLU(Q Kᵀ + bias) / length.

    raw: Linear over [U, A V, U ⊙ LN(A V)], so that how much there was of something survives the normalisation.
    """

    def __init__(
        self, width: int, num_heads: int, head_dim: int, length: int, dropout: float, timed: bool, raw: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.length = num_heads, head_dim, length
        self.dropout, self.raw = dropout, raw
        inner = num_heads * head_dim
        self.project = nn.Linear(width, 4 * inner, bias=False)
        nn.init.normal_(self.project.weight, std=0.02)
        self.out = nn.Linear(inner * (3 if raw else 1), width)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        # One bias for all heads: [1, places], [1, buckets].
        self.places = nn.Parameter(torch.randn(1, length) * 0.02)
        self.moments = nn.Parameter(torch.randn(1, BUCKETS) * 0.02) if timed else None

    def parts(self, x: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """U [s, r, h · d], and V, Q, K [s, h, r, d]; V is 0 at the padding."""
        s, r, d = x.shape
        mixed = F.silu(self.project(F.layer_norm(x, (d,), eps=1e-6)))
        gate, *rest = mixed.split(self.num_heads * self.head_dim, -1)
        v, q, k = (p.reshape(s, r, self.num_heads, self.head_dim).transpose(1, 2) for p in rest)
        if there is not None:
            v = v * there[:, None, :, None]
        return gate, v, q, k

    def finish(self, x: Tensor, gate: Tensor, seen: Tensor) -> Tensor:
        """The residual output [s, r, width] from the sums [s, h, r, d]."""
        y = seen.transpose(1, 2).flatten(2) / self.length
        gated = gate * F.layer_norm(y, (y.shape[-1],), eps=1e-6)
        if self.raw:
            gated = torch.cat([gate, y, gated], -1)
        out: Tensor = x + self.out(dropped(gated, self.dropout, self.training))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor, looks: Looks) -> Tensor:
        """The sums of the values that the rows look at."""
        return pointwise_attention(q, k, v, self.places[0], None if self.moments is None else self.moments[0], looks)

    def alone(self, q: Tensor, k: Tensor, v: Tensor, looks: Looks) -> Tensor:
        """What rows that are no token of the stream take from themselves."""
        score = (q * k).sum(-1) + self.places[0, 0]
        if self.moments is not None and looks.own is not None:
            score = score + self.moments[0][looks.own.long()].unsqueeze(1)
        return F.silu(score).unsqueeze(-1) * v


class PointwiseEncoder(nn.Module):
    """A stack of layers over a stream of tokens; places are counted from the oldest token of the window.

    `history` reads the stream, each token what came before it; `ask` lets further rows look at the stream and at
    themselves and at nothing else: m candidates in one pass, or the next event on top of what was kept.
    """

    def __init__(
        self,
        width: int,
        num_layers: int,
        num_heads: int,
        head_dim: int,
        length: int,
        dropout: float,
        *,
        timed: bool,
        raw: bool = False,
    ) -> None:
        super().__init__()
        self.dropout, self.length = dropout, length
        self.positions = nn.Embedding(length, width)
        nn.init.trunc_normal_(self.positions.weight, std=width**-0.5)
        self.blocks = nn.ModuleList(
            Layer(width, num_heads, head_dim, length, dropout, timed, raw) for _ in range(num_layers)
        )

    def enter(self, vectors: Tensor, position: Tensor) -> Tensor:
        """Vectors [s, r, width] at positions int64 [s, r], scaled and dropped out."""
        x = vectors * vectors.shape[-1] ** 0.5 + self.positions(position.clamp(0, self.length - 1))
        return dropped(x, self.dropout, self.training)

    def history(self, vectors: Tensor, there: Tensor, buckets: Tensor | None = None) -> tuple[Tensor, Cache]:
        """States [s, c, width] of the tokens, and keys and values of each layer.

        vectors [s, c, width], there bool [s, c] (false: padding, on the left), buckets uint8 [s, c, c] or None. The
        states at the padding mean nothing.
        """
        c = vectors.shape[1]
        own = torch.arange(c, device=vectors.device)
        looks = Looks(own + 1, own, buckets)
        x = self.enter(vectors, there.cumsum(1) - 1) * there.unsqueeze(-1)
        kept: Cache = []
        for block in self._layers():
            gate, v, q, k = block.parts(x, there)
            x = block.finish(x, gate, block.attend(q, k, v, looks))
            kept.append((k, v))
        return x, kept

    def ask(self, kept: Cache, vectors: Tensor, position: Tensor, looks: Looks) -> tuple[Tensor, Cache]:
        """States [s, r, width] of rows beside the stream, and their own keys and values.

        vectors [s, r, width], position int64 [s, r]. No row sees another; appending a row's keys and values to `kept`
        makes it the next token of the stream.
        """
        x = self.enter(vectors, position)
        own: Cache = []
        for block, (keys, values) in zip(self._layers(), kept, strict=True):
            gate, v, q, k = block.parts(x, None)
            x = block.finish(x, gate, block.attend(q, keys, values, looks) + block.alone(q, k, v, looks))
            own.append((k, v))
        return x, own

    def _layers(self) -> Sequence[Layer]:
        return list(self.blocks)  # type: ignore[arg-type]
