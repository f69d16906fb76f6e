"""What the plain models of labelled rows should do, and where they should stand against each other."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.clicks import frappe, said, sample, trained

#: Settings of the fits on Frappe, chosen on the validation rows; the epochs are chosen by early stopping.
FRAPPE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "logistic-regression": ({}, {"learning_rate": 2e-2}),
    "fm": ({"embedding_dim": 10, "l2": 1e-2}, {"learning_rate": 1e-2}),
    "deepfm": ({"embedding_dim": 10, "hidden": (128, 64), "norm": "batch", "l2": 1e-2}, {"learning_rate": 3e-3}),
    "dcn": ({"embedding_dim": 10, "hidden": (128, 64), "norm": "batch", "l2": 1e-2}, {"learning_rate": 3e-3}),
}
PLAN = {"batch_size": 1024, "epochs": 15, "patience": 2}


@cache
def on_frappe(data_dir: Path | None, slug: str, seed: int) -> Any:
    """Test metrics of a baseline on Frappe."""
    settings, plan = FRAPPE[slug]
    parts = frappe(Context(data_dir))
    return trained(slug, parts, {**PLAN, **plan}, seed=seed, **settings)[1]


def pairs(context: Context) -> Outcome:
    """The linear-time form against the double loop; two one-hot fields against factors with biases."""
    import torch

    from oakum.nn.interact import fm

    generator = torch.Generator().manual_seed(context.seed)
    v = torch.randn(50, 7, 5, generator=generator, dtype=torch.float64)
    loop = torch.stack([sum((r[i] * r[j]).sum() for i in range(7) for j in range(i + 1, 7)) for r in v])  # type: ignore[misc]
    gap = float((fm(v) - loop).abs().max())
    two = float((fm(v[:, :2]) - (v[:, 0] * v[:, 1]).sum(-1)).abs().max())
    return Outcome(f"loop {gap:.1e}, two fields {two:.1e}", max(gap, two) < 1e-12)


def without_network(context: Context) -> Outcome:
    """DeepFM with the last layer of its network at zero, against FM under the same vectors."""
    import torch

    from oakum.data import Schema
    from oakum.data.fields import FieldSize, Layout
    from oakum.models.ctr.deepfm import DeepFM
    from oakum.models.ctr.fm import FM

    torch.manual_seed(context.seed)
    sizes = Layout(tuple(FieldSize(n, "categorical", 20) for n in "abcd")).sizes("context")
    schema = Schema(0, 0, sizes=sizes)
    deep, plain = DeepFM(hidden=(8,), dropout=0.0).build(schema).eval(), FM().build(schema).eval()
    state = deep.state_dict()
    plain.load_state_dict({k: v for k, v in state.items() if not k.startswith("deep")})
    with torch.no_grad():
        for name, value in deep.named_parameters():
            if name.startswith("deep.net.2."):  # its last layer
                value.zero_()
        codes, values = torch.randint(0, 20, (100, 4)), torch.ones(100, 4)
        both = [m.logit(m.embed(codes, values), codes, values) for m in (deep, plain)]
    gap = float((both[0] - both[1]).abs().max())
    return Outcome(f"largest deviation {gap:.1e}", gap < 1e-7)


def order(context: Context) -> Outcome:
    """Linear, then products of pairs, then networks."""
    found = {s: on_frappe(context.data_dir, s, context.seed) for s in FRAPPE}
    score = {s: f["auc"].value for s, f in found.items()}
    holds = score["logistic-regression"] < score["fm"] < min(score["deepfm"], score["dcn"])
    text = "; ".join(f"{s} {said(f)}" for s, f in found.items())
    width = found["deepfm"]["auc"]
    why = (
        "" if holds else f"Differences are small beside the intervals ({width.low:.4f} to {width.high:.4f} for deepfm)."
    )
    return Outcome(f"auc/log loss {text}", holds, why)


def samples(context: Context) -> Outcome:
    """Ten thousand rows of Criteo and of Avazu: better than a constant, in auc and in log loss."""
    import numpy as np

    text, holds = [], True
    for name in ("criteo-sample", "avazu-sample"):
        parts = sample(context, name)
        rate = float(parts.test.values.mean())
        floor = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
        text.append(f"{name}, constant .5000/{said_number(floor)}")
        for slug, settings in SAMPLES.items():
            plan = {"batch_size": 512, "epochs": 15, "patience": 2, "learning_rate": 5e-3, "metric": "log_loss"}
            found = trained(slug, parts, plan, seed=context.seed, min_count=5, **settings)[1]
            auc, loss = found["auc"], found["log_loss"]
            holds &= auc.low > 0.5 and loss.value < floor
            text.append(f"{slug} {said(found)} (auc {auc.low:.3f} to {auc.high:.3f})")
    return Outcome("; ".join(text), holds)


SAMPLES: dict[str, dict[str, Any]] = {
    "logistic-regression": {"l2": 1e-3},
    "fm": {"embedding_dim": 8, "l2": 1e-2},
    "deepfm": {"embedding_dim": 8, "hidden": (64, 32), "l2": 1e-2},
    "dcn": {"embedding_dim": 8, "hidden": (64, 32), "num_layers": 2, "l2": 1e-2},
}


def said_number(value: float) -> str:
    """'.5231'."""
    return f"{value:.4f}".removeprefix("0")


CLAIMS = (
    Claim(
        "fm-pairs", "FM in linear time equals the double loop over pairs; two one-hot fields are a product of factors",
        "1e-12", pairs, ("fm",),
    ),
    Claim("deepfm-fm", "DeepFM with its network's last weights at 0 is FM", "equal", without_network, ("deepfm", "fm")),
    Claim(
        "frappe", "Frappe: logistic regression < FM < networks in AUC (a quarter of the papers' training rows)",
        "the order of LR .936/.308, FM .967/.207, DeepFM .984/.148, DCN-V2 .985/.149 (AUC/log loss, four times the rows)",
        order, (), True, 50, reference="BARS (four times the rows)",
    ),
    Claim(
        "samples", "The first rows of Criteo and Avazu: every baseline beats a constant in AUC (interval) and log loss",
        "AUC above .5, log loss below the constant's; too few rows to rank models", samples, (), True, 40,
    ),
)  # fmt: skip
