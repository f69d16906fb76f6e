"""Inputs read back from a short code of bits: what was slipped in does not survive the way there and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oakum.data import Dataset, Filter, Ids, Queries, Ragged, Ranking, Schema
from oakum.defences.base import Defence, Guard
from oakum.engine.learner import Facts, Losses, Model, Phase, Reps
from oakum.engine.plan import Plan
from oakum.errors import DataError
from oakum.kernels.lowrank import randomised_svd
from oakum.nn.quantize import hard_bits, soft_bits
from oakum.nn.variational import kl_normal
from oakum.parameters import Range, Spec
from oakum.sampling.batches import Batch, Order
from oakum.seeds import keyed_hash

Floats = NDArray[np.float32]


class LatentCode(Spec):
    """The code that a `LatentFilter` trains: dense rows in [−1, 1] through bits and back."""

    input_dim: Annotated[int, Range(1, 65_536), "numbers of an input; of a log, the rank of its rows"] = 128
    bits: Annotated[int, Range(1, 4096, search=(16, 256)), "M: bits of the code"] = 64
    width: Annotated[int, Range(1, 8192), "width of the hidden layers"] = 256
    tau: Annotated[float, Range(above=0, high=10), "τ: a bit says whether a mean lies within ±τ"] = 0.1
    slope: Annotated[float, Range(above=0), "steepness of the soft bits"] = 500.0
    gp: Annotated[Literal["sum", "hutchinson"], "slope held: of the sum of the means, or of random sums"] = "sum"
    gp_weight: Annotated[float, Range(0, 1e4), "weight of the slope"] = 10.0
    lipschitz: Annotated[float, Range(0, 1e3), "slope that is aimed at"] = 0.1
    reconstruction: Annotated[float, Range(0, 1e4), "weight of both reconstructions"] = 10.0
    column: Annotated[str, "vector column of the table of users to be coded; none: rows of the log"] = ""

    def plan(self) -> Plan:
        """Adam in place of three RMSProps: the losses share no parameter but those that one sum moves alike."""
        return Plan(learning_rate=1e-3, batch_size=64, epochs=60)

    def build(self, schema: Schema) -> CodeModel:
        """Empty networks."""
        return CodeModel(self)


def _layers(*sizes: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in pairwise(sizes):
        parts += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts[:-1])


class CodeModel(Model):
    """Encoder, a decoder of soft bits and one of hard bits."""

    def __init__(self, spec: LatentCode) -> None:
        super().__init__()
        self.spec = spec
        d, w, m = spec.input_dim, spec.width, spec.bits
        self.encoder = _layers(d, w, w, 2 * m)
        self.soft, self.hard = _layers(m, w, w, d), _layers(m, w, w, d)

    def prepare(self, data: Dataset, phase: Phase) -> Facts:
        """rows [n, d] in [−1, 1]; of a log also basis [items, d] and scale [d], which make them."""
        if self.spec.column:
            rows = np.asarray(data.tables["users"][self.spec.column].to_list(), np.float32)
            if rows.ndim != 2 or rows.shape[1] != self.spec.input_dim or np.abs(rows).max() > 1:
                raise DataError(
                    f"The column '{self.spec.column}' must hold {self.spec.input_dim} numbers in [−1, 1] a row; scale it first."
                )
            return {"rows": torch.from_numpy(rows)}
        _, _, basis = randomised_svd(data.matrix, self.spec.input_dim)
        pad = self.spec.input_dim - basis.shape[1]
        basis = np.ascontiguousarray(np.pad(basis, ((0, 0), (0, pad))).astype(np.float32))
        plain = project(data.matrix, basis, np.ones(self.spec.input_dim, np.float32))
        # Most of what people have lies within; the few numbers beyond are cut.
        scale = np.maximum(np.quantile(np.abs(plain[data.user_counts > 0]), 0.99, axis=0), 1e-6).astype(np.float32)
        rows = np.clip(plain / scale, -1, 1)[data.user_counts > 0]
        parts = {"rows": rows, "basis": basis, "scale": scale}
        return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in parts.items()}

    def rows(self, data: Dataset, phase: Phase) -> int:
        """Inputs."""
        return data.num_users if self.spec.column else int((data.user_counts > 0).sum())

    def batches(self, data: Dataset, phase: Phase, order: Order) -> Iterator[Batch]:
        """Every input once an epoch."""
        n = len(self.facts["rows"])
        at = np.argsort(keyed_hash(order.key("inputs"), np.arange(n)), kind="stable")
        for start in range(0, n, order.batch_size):
            yield Batch(torch.from_numpy(at[start : start + order.batch_size]))

    def represent(self, batch: Batch) -> Reps:
        """The inputs, as leaves: their slope is part of the loss."""
        return {"_input": self.facts["rows"][batch.rows].requires_grad_(True)}

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances [..., M] of inputs [..., d]."""
        mean, variance = self.encoder(x).chunk(2, -1)
        return mean, variance

    def code(self, x: Tensor) -> Tensor:
        """Bits −1 or +1 [..., M]: of the means, without noise."""
        return hard_bits(self.encode(x)[0], self.spec.tau)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs read back from their hard bits, [..., d] in [−1, 1]."""
        return torch.tanh(self.hard(self.code(x)))

    def through(self, x: Tensor) -> Tensor:
        """The same from soft bits, for whoever needs a gradient (an attack that knows the filter)."""
        return torch.tanh(self.hard(soft_bits(self.encode(x)[0], self.spec.tau, self.spec.slope)))

    def losses(self, batch: Batch, reps: Reps) -> Losses:
        """_soft, _hard [b]: reconstructions; _kl [b]; _slope [b]: (target − |∂ Σ_k r_k μ_k / ∂x|)², all weighted."""
        x, s = reps["_input"], self.spec
        mean, variance = self.encode(x)
        z = mean + s.tau / 2 * (variance / 2).exp() * torch.randn_like(mean)
        error = lambda y: s.reconstruction * (torch.tanh(y) - x.detach()).square().mean(-1)
        out = {
            "_soft": error(self.soft(soft_bits(z, s.tau, s.slope))),
            "_hard": error(self.hard(hard_bits(z, s.tau))),
            "_kl": kl_normal(mean, (variance / 2).exp(), 0.0, 1.0).mean(-1),
        }
        if s.gp_weight:
            out["_slope"] = s.gp_weight * (s.lipschitz - self.steepness(x, mean)).square()
        return out

    def steepness(self, x: Tensor, mean: Tensor) -> Tensor:
        """|∂ Σ_k r_k μ_k / ∂x| [b], differentiable; r all ones, or random signs (whose square is that of the Jacobian)."""
        sign = torch.randint(0, 2, mean.shape, device=mean.device) * 2.0 - 1 if self.spec.gp == "hutchinson" else 1.0
        (grad,) = torch.autograd.grad((mean * sign).sum(), x, create_graph=True)
        return (grad.square().sum(-1) + 1e-12).sqrt()


def project(rows: Any, basis: Floats, scale: Floats) -> Floats:
    """Rows of a log (CSR [n, items]) as dense inputs [n, d]: r V / √|r|, by coordinate over its scale, cut at ±1."""
    lengths = np.maximum(np.asarray(rows.sum(1)), 1.0)
    plain = np.asarray(rows @ basis) / np.sqrt(lengths)
    out: Floats = (
        np.clip(plain / scale, -1, 1).astype(np.float32) if not (scale == 1).all() else plain.astype(np.float32)
    )
    return out


class LatentFilter(Defence):
    """Cleans a history before the model reads it: events that do not fit with what the rest says a person likes are not
    shown to the model. For logs in which somebody adds events to people's own histories (profile pollution), over any model.

    Paper: Variational Inference with Latent Space Quantization for Adversarial Resilience, arXiv 1903.09940. An encoder with a
    small slope makes means μ and variances, z = μ + (τ/2) e^{v/2} n, a bit says whether |z| < τ, decoders read soft and hard
    bits. L = KL(N(μ, e^v) ‖ N(0, 1)) / M + 10 |x₁ − x|² + 10 |x₂ − x|² + 10 (0.1 − |∂ Σμ / ∂x|)². Small moves of the input flip
    few bits, so what is read back stays. The paper filters images; here x is a person's row, projected on `input_dim`
    singular vectors of the log and scaled to [−1, 1]. Read back and projected up, every item has a value; events whose value is
    not among the highest `keep` share of all items are left out, and where any is, the model is asked as for a newcomer with
    the rest of the history. Vectors themselves (of items, of text) are filtered by `CodeModel` over a column of vectors.
    Two dense layers in place of convolutions, Adam for RMSProp, means without noise when filtering. Trained without labels or
    attacks on the training log. Memory 4 (items + 6 width) d bytes, time one pass of two small networks a request.
    Newcomers are filtered like everybody. An attacker who knows the filter can go round it: judge by an attack that does. Rare
    tastes lose: look at accuracy by group.
    """

    slug = "quantized-latent-filter"
    input_dim: Annotated[int, Range(1, 65_536), "singular vectors that a row is projected on"] = 128
    bits: Annotated[int, Range(1, 4096, search=(16, 256)), "M: bits of the code"] = 64
    width: Annotated[int, Range(1, 8192), "width of the hidden layers"] = 256
    tau: Annotated[float, Range(above=0, high=10), "τ: a bit says whether a mean lies within ±τ"] = 0.1
    gp: Annotated[Literal["sum", "hutchinson"], "slope held: of the sum of the means, or of random sums"] = "sum"
    gp_weight: Annotated[float, Range(0, 1e4), "weight of the slope"] = 10.0
    lipschitz: Annotated[float, Range(0, 1e3), "slope that is aimed at"] = 0.1
    keep: Annotated[float, Range(above=0, high=1), "share of the items that may be kept, by value read back"] = 0.2
    epochs: Annotated[int, Range(1, 100_000), "passes over the rows when the code is trained"] = 60
    seed: Annotated[int, Range(0), "of the training of the code"] = 0

    def code(self) -> LatentCode:
        """The code that it trains."""
        names = ("input_dim", "bits", "width", "tau", "gp", "gp_weight", "lipschitz")
        return LatentCode.make(**{n: getattr(self, n) for n in names})

    def wrap(self, fitted: Any, data: Any) -> Purified:
        """The model behind a code trained on its log (of a split: on the training part)."""
        from oakum.engine.fit import fit
        from oakum.splits.protocol import Split

        log = data.train if isinstance(data, Split) else data
        code = fit(self.code(), log, plan={"epochs": self.epochs, "patience": 0}, seed=self.seed).model
        return Purified(fitted.scorer, code.eval(), self.keep)

    def restore(self, fitted: Any, state: Mapping[str, NDArray[Any]]) -> Purified:
        """The same code over a model."""
        code = CodeModel(self.code())
        tensors = {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
        code.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("weights/")})
        code.put_facts({k[6:]: v for k, v in tensors.items() if k.startswith("facts/")})
        return Purified(fitted.scorer, code.eval(), self.keep)


class Purified(Guard):
    """A scorer that is shown filtered histories."""

    def __init__(self, inner: Any, code: CodeModel, keep: float) -> None:
        super().__init__(inner)
        self.code, self.keep = code, keep
        self.basis, self.scale = (code.facts[k].numpy() for k in ("basis", "scale"))
        if hasattr(inner, "recommend_lists"):
            self.recommend_lists = self._recommend_lists

    def values(self, histories: Ragged) -> Floats:
        """What is read back of each row, [n, items]: higher fits better."""
        rows = histories.matrix(len(self.basis))
        x = torch.from_numpy(project(rows, self.basis, self.scale))
        with torch.no_grad():
            back = self.code(x).numpy()
        out: Floats = (back * self.scale) @ self.basis.T
        return out

    def purified(self, queries: Queries, *, block: int = 512) -> Queries:
        """The requests with their histories filtered; who loses an event is asked as a newcomer, who would lose all loses
        none."""
        h = queries.histories
        kept = np.ones(len(h.items), bool)
        for start in range(0, len(h), block):
            part = h.take(np.arange(start, min(start + block, len(h))))
            value = self.values(part)
            bar = np.quantile(value, 1 - self.keep, axis=1)
            own = value[part.owners(), part.items] >= bar[part.owners()]
            none = np.bincount(part.owners(), own, minlength=len(part)) == 0
            kept[h.offsets[start] : h.offsets[start + len(part)]] = own | none[part.owners()]
        lost = np.bincount(h.owners()[~kept], minlength=len(h)) > 0
        users = np.where(lost, -1, queries.users).astype(np.int32)
        return Queries(users, h.keep(kept), queries.at, queries.text, queries.fields)

    def score(self, queries: Queries, items: Ids | None = None) -> Floats:
        """The inner scores of the filtered requests."""
        out: Floats = self.inner.score(self.purified(queries), items)
        return out

    def _recommend_lists(self, queries: Queries, k: int, where: Filter, seed: int | None) -> Ranking:
        made: Ranking = self.inner.recommend_lists(self.purified(queries), k, where, seed)
        return made

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights of the code, the basis and the scale; not the rows it was trained on."""
        weights = {f"weights/{k}": v.detach().cpu().numpy() for k, v in self.code.state_dict().items()}
        return {**weights, "facts/basis": self.basis, "facts/scale": self.scale}


def flips(code: CodeModel, before: Tensor, after: Tensor) -> float:
    """Share of bits that differ between two sets of inputs [n, d]."""
    with torch.no_grad():
        return float((code.code(before) != code.code(after)).float().mean())


__all__ = ["CodeModel", "LatentCode", "LatentFilter", "Purified", "flips", "project"]
