"""What LightGCN's sheet says holds."""

from __future__ import annotations

from typing import Any

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import figures, published, quality


def _toy(pairs: list[tuple[int, int]], users: int, items: int) -> Any:
    import torch
    from scipy import sparse

    from oakum.nn.propagate import Bipartite

    u, i = zip(*pairs, strict=True)
    x = sparse.csr_matrix(([1.0] * len(pairs), (u, i)), shape=(users, items))
    return Bipartite(torch.from_numpy(x.indptr.astype("int64")), torch.from_numpy(x.indices.astype("int64")), items), x


def fixed_point(context: Context) -> Outcome:
    """E⁰ = sqrt(degree) is left alone by propagation, for every depth."""
    import numpy as np
    import torch

    from oakum.nn.propagate import mean_of, propagate

    rng = np.random.default_rng(context.seed)
    pairs = sorted({(int(a), int(b)) for a, b in zip(rng.integers(0, 40, 300), rng.integers(0, 60, 300), strict=True)})
    pairs += [(u, u % 60) for u in range(40)] + [(i % 40, i) for i in range(60)]
    graph, x = _toy(sorted(set(pairs)), 40, 60)
    users = torch.from_numpy(np.sqrt(np.asarray(x.sum(1)))).float()
    items = torch.from_numpy(np.sqrt(np.asarray(x.sum(0)).T)).float()
    worst = 0.0
    for layers in range(1, 6):
        a, b = propagate(graph, users, items, layers)
        worst = max(worst, float((mean_of(a) - users).abs().max()), float((mean_of(b) - items).abs().max()))
    return Outcome(f"largest deviation {worst:.1e}", worst < 1e-5)


def hand_case(context: Context) -> Outcome:
    """Edges a–x, a–y, b–y with one-hot vectors, and sparse against dense on a random graph."""
    import numpy as np
    import torch

    from oakum.nn.propagate import propagate

    graph, _ = _toy([(0, 0), (0, 1), (1, 1)], 2, 2)
    one = torch.eye(4)
    users, _ = propagate(graph, one[:2], one[2:], 1)
    expected = torch.tensor([[0, 0, 2**-0.5, 0.5], [0, 0, 0, 2**-0.5]])
    gap = float((users[1] - expected).abs().max())
    rng = np.random.default_rng(context.seed)
    pairs = sorted({(int(a), int(b)) for a, b in zip(rng.integers(0, 50, 600), rng.integers(0, 80, 600), strict=True)})
    graph, x = _toy(pairs, 50, 80)
    full = np.zeros((130, 130))
    full[:50, 50:] = x.toarray()
    full[50:, :50] = x.toarray().T
    degree = full.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    dense = scale[:, None] * full * scale[None]
    start = rng.normal(size=(130, 4))
    found = propagate(graph, torch.from_numpy(start[:50]).float(), torch.from_numpy(start[50:]).float(), 3)
    wanted = np.linalg.matrix_power(dense, 3) @ start
    gap2 = float(np.abs(torch.cat([found[0][3], found[1][3]]).numpy() - wanted).max())
    return Outcome(f"hand case {gap:.1e}, dense {gap2:.1e}", gap < 1e-6 and gap2 < 1e-5)


def no_layers(context: Context) -> Outcome:
    """L = 0: the same loss and gradients as matrix factorisation, bit by bit."""
    import torch

    from oakum.data.simulate import Market, simulate
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF
    from oakum.models.graph.lightgcn import LightGCN

    data = simulate(Market(users=60, items=50, events=1500), seed=context.seed)
    plan = {"epochs": 3, "batch_size": 256, "learning_rate": 1e-2, "step": None}
    # Without the penalty: with it, four gradients of one table are added in another order, which moves the last bit.
    a = fit(LightGCN(num_layers=0, draw="events", l2=0.0), data, plan=plan, seed=1)
    b = fit(BPRMF(draw="events", l2=0.0), data, plan=plan, seed=1)
    same = all(
        torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    )
    return Outcome("equal to the last bit after 3 epochs" if same else "differs", same)


def _lastfm(context: Context, layers: int, epochs: int, l2: float = 1e-4) -> tuple[Any, Any]:
    from oakum.engine.fit import fit
    from oakum.models.graph.lightgcn import LightGCN

    split = published(context.folder("lastfm-trust"))
    plan = {"learning_rate": 5e-3, "batch_size": 2048, "epochs": epochs}
    return fit(LightGCN(num_layers=layers, draw="events", l2=l2), split.train, plan=plan, seed=context.seed), split


def lastfm(context: Context) -> Outcome:
    """LightGCN against matrix factorisation on LastFM-trust, 80 epochs each."""
    three, split = _lastfm(context, 3, 80)
    one, _ = _lastfm(context, 1, 80)
    none, _ = _lastfm(context, 0, 80, l2=1e-3)
    a, b, c = (quality(f, split) for f in (three, one, none))
    gain = a["recall@20"] / c["recall@20"] - 1
    between = c["recall@20"] < b["recall@20"] < a["recall@20"]
    holds = gain >= 0.2 and between and a["recall@20"] >= 0.25 and a["ndcg@20"] >= 0.195
    return Outcome(f"L=3 {figures(a)}; L=1 {figures(b)}; MF {figures(c)}; gain {gain:.0%}", holds)


def deep(context: Context) -> Outcome:
    """L = 8 learns slowly under the mean read-out."""
    eight, split = _lastfm(context, 8, 20)
    three, _ = _lastfm(context, 3, 20)
    a, b = quality(eight, split), quality(three, split)
    return Outcome(f"L=8 {figures(a)}; L=3 {figures(b)}", a["recall@20"] < b["recall@20"])


def gowalla(context: Context) -> Outcome:
    """The port's log on Gowalla: after five epochs of 396 batches."""
    import os

    from oakum.engine.fit import fit
    from oakum.models.graph.lightgcn import LightGCN

    split = published(context.folder("gowalla"))
    threads = min(4, os.cpu_count() or 1)
    plan = {"learning_rate": 1e-3, "batch_size": 2048, "epochs": 5, "threads": threads}
    fitted = fit(LightGCN(), split.train, plan=plan, seed=context.seed)
    found = quality(fitted, split)
    loss = fitted.record.history[-1]["losses"]["bpr"]
    holds = abs(found["recall@20"] / 0.1071 - 1) < 0.1 and abs(found["ndcg@20"] / 0.0894 - 1) < 0.1
    return Outcome(f"{figures(found)}, loss {loss:.3f} after epoch 5", holds)


CLAIMS = (
    Claim("fixed-point", "E⁰ = sqrt(degree) is a fixed point for every depth", "to 1e-6 relative", fixed_point, ("lightgcn",)),
    Claim("hand-case", "Row a of ÃE⁰ = x/√2 + y/2; sparse equals dense", "1e-6; 1e-5", hand_case, ("lightgcn",)),
    Claim("no-layers", "L = 0 equals matrix factorisation", "same loss, same gradients", no_layers, ("lightgcn", "bpr-mf")),
    Claim(
        "lastfm", "LastFM-trust, 80 epochs: LightGCN beats BPR-MF by at least 20 %, L = 1 between",
        "recall@20 about .26 against .19, ndcg@20 .206 against .140, L = 1 .247", lastfm, ("lightgcn", "bpr-mf"), True, 90,
        "LightGCN-PyTorch",
    ),
    Claim("deep", "L = 8 learns slowly: 20 epochs", "recall@20 .169 against .221 for L = 3", deep, ("lightgcn",), True, 30),
    Claim(
        "gowalla-log", "Gowalla, L = 3, after epoch 5 the port's log", "recall@20 about .1071, ndcg@20 about .0894, within 10 %",
        gowalla, ("lightgcn",), True, 500, "the log of LightGCN-PyTorch",
    ),
)  # fmt: skip
