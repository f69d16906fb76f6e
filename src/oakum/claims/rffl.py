"""What the sheet on reputation says holds. The sheet ran on pictures of digits, which are no dependency here: its stand-in
is one recommender (NCF) trained jointly by parties that share out the people of MovieLens-100K."""

from __future__ import annotations

from typing import Any

import numpy as np

from oakum.claims.base import Claim, Context, Outcome
from oakum.claims.common import folded

MODES = ("free-rider", "signs", "scale", "invert")


def together(
    context: Context,
    split: Any,
    *,
    parties: int = 7,
    mode: str | None = None,
    reputation: bool = True,
    skew: float = 0.0,
    rounds: int = 18,
    seed: int = 0,
    data: Any = None,
) -> Any:
    """One joint training: NCF, sgd 1.0, one local pass in steps of 512 rows; the last two parties tamper in a mode."""
    from oakum.attacks.federated.tamper import Tampering
    from oakum.defences.aggregate.rffl import RFFL
    from oakum.engine.federation import Federated, Hostile
    from oakum.engine.fit import fit
    from oakum.models.classic.ncf import NCF

    hostile = None if mode is None else Hostile(clients=2, rounds=1_000_000, tactic=Tampering.make(mode=mode))
    rule = RFFL(largest=0.5) if reputation else None
    step = Federated(groups=parties, skew=skew, aggregate=rule, hostile=hostile, local_batch=512)
    plan = {"optimiser": "sgd", "learning_rate": 1.0, "epochs": rounds, "patience": 0, "step": step}
    spec = NCF(hidden=(32, 16, 8), init_std=0.1)
    return fit(spec, split.train if data is None else data, plan=plan, seed=context.seed + seed)


def own_quality(fitted: Any, split: Any, parties: int, *, copies: bool = True) -> Any:
    """NDCG@20 of each party's people, float [parties]; with its own copy of the network, or with the server's."""
    from contextlib import nullcontext

    from oakum.metrics import measure

    truth, out = split.truth(), []
    owner = fitted.step.owner[truth.queries.users]
    for party in range(parties):
        own = truth.take(np.flatnonzero(owner == party))
        with fitted.step.wearing(party) if copies else nullcontext():
            ranking = fitted.rank(own.queries, 20, where=own.filter(), fallback=True)
        out.append(float(np.mean(measure(ranking, own, ["ndcg@20"])["ndcg@20"])))
    return np.array(out)


def _round(values: list[list[float]], rate: float = 0.1) -> Any:
    import torch

    from oakum.engine.uploads import gathered

    shares = torch.full((len(values),), 1 / len(values))
    shape = {"w": torch.Size((len(values[0]),))}
    return gathered([{"w": torch.tensor(v)} for v in values], torch.arange(len(values)), shares, rate, shape)


def equal_parties(context: Context) -> Outcome:
    """Identical updates; one that is orthogonal to the rest."""
    from oakum.defences.aggregate.rffl import RFFL, agreement

    rule = RFFL(largest=10.0, warmup=0)
    memory = rule.memory(4)
    uploads = _round([[1.0, -2.0, 0.5]] * 4)
    for _ in range(12):
        replies = rule.combine(uploads, memory)
    phi = agreement(uploads, uploads.weights)
    equal = float((memory["reputation"] - 0.25).abs().max())
    whole = max(float((e["w"] - 2 * replies.common["w"]).abs().max()) for e in replies.each)
    stray, kept = RFFL(largest=10.0, warmup=99), RFFL().memory(3)
    stray.combine(_round([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), kept)
    worst = 0.0
    for _ in range(8):
        # the third is at right angles to whatever the sum of all three becomes
        r = kept["reputation"].numpy().copy()
        a, c = r[0] + r[1], r[2]
        stray.combine(_round([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), kept)
        before = np.array([0.95 * r[0] + 0.05, 0.95 * r[1] + 0.05, 0.95 * c])
        worst = max(worst, float(np.abs(kept["reputation"].numpy() - before / before.sum()).max()), abs(a + c - 1))
    return Outcome(
        f"φ {float(phi.min()):.6f}; reputations off by {equal:.1e}; reward off by {whole:.1e}; decay off by {worst:.1e}; "
        f"sum {float(kept['reputation'].sum()):.6f}",
        bool((phi > 1 - 1e-6).all())
        and equal < 1e-6
        and whole < 1e-5
        and worst < 1e-6
        and bool((memory["left"] < 0).all()),
    )


def masks(context: Context) -> Outcome:
    """mask(u, 1), mask(u, 0), mask(u, q)."""
    import torch

    from oakum.defences.aggregate.rffl import mask

    u = torch.randn(6, 7, generator=torch.Generator().manual_seed(context.seed))
    sizes = [int(torch.count_nonzero(mask(u, q))) for q in (0.0, 0.01, 0.3, 1.0)]
    largest = set(u.flatten().abs().topk(13).indices.tolist()) == set(
        torch.nonzero(mask(u, 0.3).flatten()).flatten().tolist()
    )
    return Outcome(
        f"entries kept at q 0, 0.01, 0.3, 1 of 42: {sizes}",
        sizes == [0, 1, 13, 42] and bool((mask(u, 1.0) == u).all()) and largest,
    )


def saboteurs(context: Context) -> Outcome:
    """5 honest parties and 2 that tamper, in each of four ways."""
    split, _ = folded(context.folder("movielens-100k"), "cv_fold")
    clean = own_quality(together(context, split, parties=7), split, 7)[:5].mean()
    text, holds = [f"nobody tampers: NDCG@20 of the five {clean:.3f}"], True
    for mode in MODES:
        fitted = together(context, split, mode=mode)
        left = fitted.step.memory["server/left"].tolist()
        good = own_quality(fitted, split, 7)[:5].mean()
        text.append(f"{mode}: left out in rounds {left[5:]}, honest ones {left[:5]}, NDCG@20 {good:.3f}")
        holds &= left[:5] == [-1] * 5 and all(10 <= r <= 16 for r in left[5:]) and good > 0.95 * clean
    plain = own_quality(together(context, split, mode="signs", reputation=False), split, 7, copies=False)[:5].mean()
    return Outcome("; ".join([*text, f"plain averaging under signs {plain:.3f}"]), bool(holds))


def clean_poison(context: Context) -> Outcome:
    """Two parties whose people all have the coldest item: honest training on false data."""
    from oakum.data import Interactions

    split, whole = folded(context.folder("movielens-100k"), "cv_fold")
    target = int(np.argmin(np.where(split.train.item_counts > 0, whole.item_counts, 10**9)))
    owner = together(context, split, rounds=1).step.owner
    users = np.flatnonzero(owner >= 5).astype(np.int32)
    log = split.train.interactions
    flipped = log.take(log.users >= 0)
    pushed = split.train.with_interactions(
        Interactions(flipped.users, flipped.items).append(
            Interactions(np.repeat(users, 10), np.full(10 * len(users), target))
        )
    )
    fitted = together(context, split, data=pushed)
    left, r = fitted.step.memory["server/left"].tolist(), fitted.step.memory["server/reputation"].numpy()
    highest = set(np.argsort(-r)[:2].tolist()) == {5, 6}
    return Outcome(
        f"left out {left}; reputations {np.round(r, 3).tolist()} (the last two push)", left == [-1] * 7 and highest,
        "" if highest else "nobody is left out, which is the point; that pushers end highest does not come out with parties as large as "
        "these, whose false events are few among honest ones",
    )  # fmt: skip


def sizes(context: Context, seeds: int = 5) -> Outcome:
    """5 parties with people in proportion to 1, 2, 3, 4, 5: rank correlation of size and reputation."""
    from scipy.stats import spearmanr

    split, _ = folded(context.folder("movielens-100k"), "cv_fold")
    found, quality = [], []
    for seed in range(seeds):
        fitted = together(context, split, parties=5, skew=1.0, rounds=12, seed=seed)
        size = np.bincount(fitted.step.owner[fitted.step.owner >= 0])
        found.append(float(spearmanr(size, fitted.step.memory["server/reputation"].numpy()).statistic))
        quality.append(float(spearmanr(size, own_quality(fitted, split, 5)).statistic))
    return Outcome(
        f"rank correlation of size with reputation {np.mean(found):.2f} ({', '.join(f'{f:.1f}' for f in found)}), "
        f"with NDCG@20 of the own people {np.mean(quality):.2f}",
        float(np.mean(found)) > 0.5,
        "accuracy is of different people at each party, so it compares parties less than one common test set does",
    )


CLAIMS = (
    Claim("equal-parties", "Equal updates earn equal reputation and all of u; an orthogonal one decays by α", "as stated", equal_parties, ("rffl",)),
    Claim("masks", "mask(u, 1) = u, mask(u, 0) = 0, mask(u, q) keeps the ceil(q · size) largest", "as stated", masks, ("rffl",)),
    Claim(
        "saboteurs", "Free-riders, sign-randomisers, rescalers and value-inverters are left out, no honest party is (NCF, ML-100K, 5 + 2 parties)",
        "in round 10, inverters by 16; accuracy of the honest kept", saboteurs, ("rffl", "tampering-clients"), True, 120,
    ),
    Claim(
        "clean-poison", "Poison that trains honestly on false data is not seen (two parties whose people all have the coldest item)",
        "nobody left out; the pushers end with the highest reputations", clean_poison, ("rffl",), True, 30,
    ),
    Claim("sizes", "Reputation rises with the size of a party's data (ML-100K, 5 seeds)", "rank correlation above 0.5", sizes, ("rffl",), True, 80),
)  # fmt: skip
