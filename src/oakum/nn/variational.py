"""Independent Gaussian posteriors, drawn by reparameterisation; their divergence from a prior; dynamics made of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def kl_normal(mean: Tensor, scale: Tensor, prior_mean: Tensor | float, prior_scale: Tensor | float) -> Tensor:
    """KL(N(mean, scale²) ‖ N(prior_mean, prior_scale²)), element by element.

    log(σ₀ / σ) + (σ² + (μ − μ₀)²) / (2 σ₀²) − ½.
    """
    away = ((mean - prior_mean) / prior_scale) ** 2
    ratio = (scale / prior_scale) ** 2
    return 0.5 * (ratio + away - 1 - ratio.log())


class Posterior(nn.Module):
    """A Gaussian for every entry of a tensor: a mean, and a scale held within (0, `largest`).

    start: standard deviation of the first means around 0; scale: the first scale.
    """

    def __init__(self, *shape: int, largest: float, start: float = 0.1, scale: float = 0.1) -> None:
        super().__init__()
        share = min(0.9, scale / largest)
        self.largest = largest
        self.mean = nn.Parameter(start * torch.randn(*shape))
        self.raw = nn.Parameter(torch.full(shape, math.log(share / (1 - share))))

    def scale(self) -> Tensor:
        """The standard deviations."""
        return self.largest * torch.sigmoid(self.raw)

    def draw(self, n: int, *, temperature: float = 1.0, rows: Tensor | None = None) -> Tensor:
        """`n` draws [n, ...], of all entries or of these rows; `temperature` multiplies the scales, 0 gives the means."""
        every = slice(None) if rows is None else rows
        mean, scale = self.mean[every], self.scale()[every]
        if temperature == 0:
            return mean.expand(n, *mean.shape)
        return mean + temperature * scale * torch.randn(n, *mean.shape, device=mean.device)

    def kl(self, mean: Tensor | float, scale: Tensor | float) -> Tensor:
        """The divergence from N(mean, scale²), summed over all entries."""
        return kl_normal(self.mean, self.scale(), mean, scale).sum()


class Drift(nn.Module):
    """How what people take moves them, with a posterior over every weight.

    kind: "linear" h' = γh + (1 − γ)v, "markov" h' = v, "gru" a gated unit without biases whose read-out y = W h is the
    preference, "average" the mean of linear and gru. With `gated` false, gru and average move linearly (the first phase of
    a training in two). A step without a take leaves a person where he was.
    """

    gated: Tensor

    def __init__(self, kind: str, width: int, *, largest: float) -> None:
        super().__init__()
        self.kind = kind
        self.inertia = Posterior(1, largest=largest, start=0.0)
        nn.init.constant_(self.inertia.mean, 0.5)
        shapes = {"input": (3 * width, width), "own": (3 * width, width), "out": (width, width)}
        if kind in ("gru", "average"):
            self.gru = nn.ModuleDict(
                {k: Posterior(*shape, largest=largest, start=width**-0.5) for k, shape in shapes.items()}
            )
        self.register_buffer("gated", torch.tensor(False))

    def forward(self, taken: Tensor, start: Tensor, draws: int, temperature: float) -> Tensor:
        """Preferences before each of t steps and after the last.

        taken: [s, t, d], the vectors of what was taken, NaN at a step without a take. start: [s, d]. -> [s, t + 1, d].
        Person j moves under draw j mod `draws` of the weights, all scales times `temperature`.
        """
        count, steps, _ = taken.shape
        deal = lambda x: F.pad(x, (0, 0) * (x.dim() - 1) + (0, -count % draws)).unflatten(0, (-1, draws))
        vectors, straight = deal(taken.nan_to_num()), deal(start)
        took = deal(~taken[..., :1].isnan()).bool()
        bent = straight
        gated = self.kind in ("gru", "average") and bool(self.gated)
        keep = self.inertia.draw(draws, temperature=temperature) * (self.kind != "markov")
        names = list(self.gru) if gated else []
        weights = {name: self.part(name).draw(draws, temperature=temperature) for name in names}
        times = lambda x, name: torch.einsum("mpd,ped->mpe", x, weights[name])
        out = []
        for step in range(steps + 1):
            y = times(bent, "out") if gated else straight
            out.append(0.5 * (y + straight) if gated and self.kind == "average" else y)
            if step == steps:
                break
            v, on = vectors[:, :, step], took[:, :, step]
            straight = torch.where(on, keep * straight + (1 - keep) * v, straight)
            if gated:
                reset, stay, new = times(v, "input").chunk(3, -1)
                own_reset, own_stay, own_new = times(bent, "own").chunk(3, -1)
                share = torch.sigmoid(stay + own_stay)
                news = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
                bent = torch.where(on, (1 - share) * news + share * bent, bent)
        return torch.stack(out, 2).flatten(0, 1)[:count]

    def part(self, name: str) -> Posterior:
        """The posterior of a matrix of the gated unit: input, own or out."""
        found = self.gru[name]
        assert isinstance(found, Posterior)
        return found

    def kl(self, gru_scale: float) -> Tensor:
        """The divergence of the inertia from N(0.5, 0.3²) and of the gates in use from N(0, gru_scale²)."""
        total = self.inertia.kl(0.5, 0.3)
        if self.kind in ("gru", "average") and bool(self.gated):
            total = total + sum(self.part(name).kl(0.0, gru_scale) for name in self.gru)
        return total
