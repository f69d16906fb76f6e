"""How fields meet: pairwise products, crosses, attention between fields, and the plain network beside them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fm(fields: Tensor) -> Tensor:
    """Σ_{i<j} v_i · v_j in linear time: ½ Σ_d [(Σ_f v_fd)² − Σ_f v_fd²]. [b, f, d] -> [b]. (Rendle 2010)"""
    total, each = fields.sum(1), fields.flatten(1)
    return 0.5 * (torch.linalg.vecdot(total, total) - torch.linalg.vecdot(each, each))


PART = 512  # rows that go through a network together: what lies between its layers stays in the cache of a core


class MLP(nn.Module):
    """Linear, (norm), ReLU, dropout for every width, and a last linear map to one number where `logit`.

    On a CPU the rows go through in parts, there and back, unless the norm looks at all of them: a sixth less time.
    """

    def __init__(
        self, width: int, hidden: Sequence[int], *, dropout: float = 0.0, norm: str = "none", logit: bool = True
    ) -> None:
        """norm: none, batch or layer."""
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers.append(nn.Linear(width, size))
            if norm != "none":
                layers.append(nn.LayerNorm(size) if norm == "layer" else nn.BatchNorm1d(size))
            layers.append(nn.ReLU(inplace=True))  # nothing below needs its own output again
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.width = width
        self.logit, self.together = logit, norm == "batch"
        self.net = nn.Sequential(*layers, *([nn.Linear(width, 1)] if logit else []))

    def forward(self, x: Tensor) -> Tensor:
        """[b, width] -> [b], or [b, last hidden width] without `logit`."""
        whole = self.together or x.device.type != "cpu" or len(x) <= PART
        out: Tensor = self.net(x) if whole else torch.cat([self.net(part) for part in x.split(PART)])
        return out.squeeze(-1) if self.logit else out


class CrossNet(nn.Module):
    """x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l: l layers hold all polynomials up to degree l + 1. (Wang et al. 2021)

    kind "vector" is the first version: x_{l+1} = x_0 (w_l · x_l) + b_l + x_l. (2017)
    """

    def __init__(self, width: int, num_layers: int, kind: str = "matrix") -> None:
        super().__init__()
        self.kind = kind
        out = width if kind == "matrix" else 1
        self.layers = nn.ModuleList(nn.Linear(width, out, bias=kind == "matrix") for _ in range(num_layers))
        self.biases = nn.ParameterList(
            [] if kind == "matrix" else [nn.Parameter(torch.zeros(width)) for _ in range(num_layers)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b, width] -> [b, width]."""
        first = x
        for i, layer in enumerate(self.layers):
            x = first * layer(x) + x
            if self.kind == "vector":
                x = x + self.biases[i]
        return x


class FieldAttention(nn.Module):
    """Fields attend to fields: one interacting layer of AutoInt. (Song et al. 2019)

    Per head A = softmax(Q Kᵀ / √d') over fields, O = concat(A V) + residual. The form of the authors' code: ReLU on every
    projection with its bias, scaled products, ReLU and layer norm at the end. `paper_form` is the formula of the paper:
    plain linear projections without bias, unscaled products, ReLU after the residual, no norm.
    """

    def __init__(
        self,
        width: int,
        out: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        residual: bool = True,
        paper_form: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.paper_form = num_heads, dropout, paper_form
        bias = not paper_form
        self.query, self.key, self.value = (nn.Linear(width, out, bias=bias) for _ in range(3))
        self.residual = nn.Linear(width, out, bias=bias) if residual else None
        for part in (self.query, self.key, self.value, *([self.residual] if self.residual is not None else [])):
            nn.init.xavier_uniform_(part.weight)
            if bias:  # small vectors against other first values would leave half of the units dead
                nn.init.zeros_(part.bias)
        self.norm = nn.LayerNorm(out, eps=1e-8) if bias else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[b, f, width] -> ([b, f, out], attention [b, heads, f, f], whose rows sum to 1)."""
        bend = (lambda t: t) if self.paper_form else F.relu
        split = lambda t: t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        q, k, v = (split(bend(part(x))) for part in (self.query, self.key, self.value))
        logits = q @ k.transpose(-1, -2)
        if not self.paper_form:
            logits = logits / q.shape[-1] ** 0.5
        attention = logits.softmax(-1)
        mixed = (F.dropout(attention, self.dropout, self.training) @ v).transpose(1, 2).flatten(2)
        if self.residual is not None:
            mixed = mixed + bend(self.residual(x))
        out: Tensor = self.norm(F.relu(mixed))
        return out, attention
