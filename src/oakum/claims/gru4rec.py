"""What GRU4Rec should do and reach."""

from __future__ import annotations

from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import figures, quality


def alone(context: Context) -> Outcome:
    """Each history alone, in one batch with others and behind padding; and after a change of what came later."""
    import torch

    from oakum.data import Schema
    from oakum.models.sequential.gru4rec import GRU4Rec

    torch.manual_seed(context.seed)
    model = GRU4Rec(embedding_dim=16, num_layers=2, max_length=20).build(Schema(5, 40)).double().eval()
    lengths = (12, 7, 1)
    rows = [torch.randint(0, 40, (n,)) for n in lengths]
    batch = torch.stack([torch.cat([torch.full((15 - len(r),), -1), r]) for r in rows])
    later = batch.clone()
    later[:, 12:] = (later[:, 12:] + 1) % 40
    with torch.no_grad():
        together, changed = model.states(batch), model.states(later)
        gap = max(
            float((together[k, 15 - n :] - model.states(rows[k][None])[0]).abs().max()) for k, n in enumerate(lengths)
        )
    same = bool(torch.equal(together[:2, 8:12], changed[:2, 8:12]))
    return Outcome(
        f"batch mates and padding {gap:.0e}; earlier states {'bit-equal' if same else 'differ'}", gap < 1e-10 and same
    )


def one_negative(context: Context) -> Outcome:
    """BPR-max with one negative, and a negative that is the target."""
    import torch
    from torch.nn import functional as F

    from oakum.losses import bpr_max

    torch.manual_seed(context.seed)
    positive, negative = torch.randn(32, dtype=torch.float64), torch.randn(32, 1, dtype=torch.float64)
    wanted = F.softplus(negative[:, 0] - positive) + 0.7 * negative[:, 0] ** 2
    gap = float((bpr_max(positive, negative, 0.7, torch.ones(32, 1, dtype=torch.bool)) - wanted).abs().max())
    more = torch.cat([negative, torch.full((32, 1), 9.0, dtype=torch.float64)], 1)
    other = torch.tensor([[True, False]]).expand(32, 2)
    masked = float((bpr_max(positive, more, 0.7, other) - wanted).abs().max())
    return Outcome(f"{gap:.0e}; beside a draw of the target {masked:.0e}", max(gap, masked) < 1e-9)


def lastfm(context: Context, epochs: int = 40) -> Outcome:
    """The last event asked, the one before it for the stop; SASRec and two counts beside it."""
    from oakum.api import fit as counted
    from oakum.data.read import read
    from oakum.engine.fit import fit
    from oakum.models.sequential.gru4rec import GRU4Rec
    from oakum.splits import split

    data = read(context.folder("lastfm-sequences") / "sequences.parquet", name="lastfm-sequences")
    parts = split(data, "leave-last")
    names = ("hit_rate@10", "ndcg@10")
    plan = {"epochs": epochs, "batch_size": 64, "learning_rate": 3e-3, "evaluate_every": 4, "patience": 2}
    rows: dict[str, dict[str, float]] = {
        "GRU4Rec": quality(fit(GRU4Rec(), parts, plan=plan, seed=context.seed), parts, names)
    }
    others: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("popularity", "popularity", {}), ("Markov 0.8", "markov", {"decay": 0.8}), ("ItemKNN", "item-knn", {}),
    )  # fmt: skip
    for name, slug, settings in others:
        rows[name] = quality(counted(slug, parts.train_and_valid, **settings), parts, names)
    best = max((n for n in rows if n != "GRU4Rec"), key=lambda n: rows[n]["ndcg@10"])
    holds = rows["GRU4Rec"]["hit_rate@10"] >= 0.0367 * 0.9
    why = f"{best} is better than GRU4Rec here." if rows[best]["ndcg@10"] > rows["GRU4Rec"]["ndcg@10"] else ""
    return Outcome("; ".join(f"{n} {figures(v)}" for n, v in rows.items()), holds, why)


CLAIMS = (
    Claim("alone", "Histories in one batch do not influence each other; a later event changes no earlier state", "equal; bit-equal", alone),
    Claim("one-negative", "BPR-max with one negative is −log σ(s⁺ − s⁻) + λ s⁻²; draws of the target count nothing", "equal", one_negative),
    Claim(
        "lastfm", "lastfm-sequences, last event, the whole catalogue ranked, softmax", "HR@10 .0367 within 10 % or above (S3-Rec's table)",
        lastfm, (), True, 60, reference="S3-Rec's table",
    ),
)  # fmt: skip
