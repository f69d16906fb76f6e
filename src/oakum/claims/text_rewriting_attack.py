"""What the sheet of rewriting item texts says must hold."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from oakum.claims.base import Claim, Context, Outcome
from oakum.seeds import generator

#: How far a text may move: cosine with the old one at least 0.7, as the sheet says.
NORM = 0.3


def hinge(context: Context) -> Outcome:
    """The margin exactly at the top, and the slope of every score."""
    from oakum.attacks.text.atr import rank_loss

    rng = generator(context.seed, "hinge")
    best = rng.random(8)
    at_top = rank_loss(np.tile(best[:, None], 3), best)
    own, off = rng.random((8, 3)), 0.0
    step = 1e-6
    for place in np.ndindex(8, 3):
        moved = own.copy()
        moved[place] += step
        slope = (rank_loss(moved, best) - rank_loss(own, best)) / step
        expected = -1 / 24 if best[place[0]] - own[place] + 0.01 > step else 0.0
        off = max(off, abs(slope - expected))
    return Outcome(f"{at_top:.4f} at the top; slopes off by {off:.1e}", abs(at_top - 0.01) < 1e-12 and off < 1e-6)


@cache
def shop(folder: Any, seed: int, users: int = 600, epochs: int = 30) -> Any:
    """A subset of amazon-games-2018 under a recommender that reads titles alone, five targets of the tail among people
    without them, and their requests."""
    import polars as pl

    from oakum.attacks.base import cold_targets
    from oakum.claims.common import ten_core
    from oakum.data.read import read
    from oakum.engine.fit import fit
    from oakum.models.language.alpharec import AlphaRec

    log = pl.read_parquet(folder / "sequences.parquet")
    busy = log.group_by("user_id").len().filter(pl.col("len") >= 8)["user_id"].sort().to_numpy()
    chosen = generator(seed, "people").choice(busy, users * 3, replace=False)
    kept = ten_core(log.filter(pl.col("user_id").is_in(chosen.tolist())), 4)
    items = pl.read_parquet(folder / "items.parquet").filter(pl.col("title").is_not_null()).select("item_id", "title")
    kept = kept.filter(pl.col("item_id").is_in(items["item_id"].to_list()))
    data = read(kept, items=items)
    spec = AlphaRec(num_layers=0, embedding_dim=32, hidden_dim=96, num_negatives=64)
    fitted = fit(spec, data, plan={"epochs": epochs, "batch_size": 1024, "learning_rate": 1e-3}, seed=seed)
    goal = cold_targets(data, 5, seed=seed)
    have = np.asarray(data.matrix[:, goal.codes].sum(1)).ravel() > 0
    people = np.flatnonzero((data.user_counts > 0) & ~have)
    people = np.sort(generator(seed, "measured").choice(people, min(300, len(people)), replace=False)).astype(np.int32)
    return data, fitted, goal, people


def _judged(fitted: Any, people: Any, targets: Any) -> Any:
    """Places among the whole catalogue, by people who have none of the targets."""
    from oakum.attacks.text.atr import promotion

    scores = fitted.score(fitted.queries(people)).astype(np.float64)
    return promotion(np.where(np.isfinite(scores), scores, -2.0), targets)


@cache
def _reworded(context: Context, words: str, looks: int = 60) -> Any:
    """The framework's own measurement after a rewriting, and what it spent."""
    from oakum.attacks.base import Budget, propose
    from oakum.attacks.text.atr import TextRewriting

    data, fitted, goal, people = shop(context.folder("amazon-games-2018"), context.seed)
    attack = TextRewriting(words=words, people=32, rounds=4, places=3, tried=8)  # type: ignore[arg-type]
    budget = Budget(edits=len(goal.targets), norm=NORM, queries=33 * looks * len(goal.targets) + 100)
    again = lambda change: fitted.refresh(change.apply(data))
    found = propose(attack, data, goal, budget, seed=context.seed, victim=fitted, retrain=again)
    return _judged(fitted.refresh(found.poisoned), people, goal.codes), found


def itself(context: Context) -> Outcome:
    """Texts replaced by themselves; the shares at their ends."""
    from oakum.attacks.base import EditText
    from oakum.attacks.text.atr import promotion

    data, fitted, goal, people = shop(context.folder("amazon-games-2018"), context.seed)
    titles = data.tables["items"]["title"].to_list()
    same = EditText(goal.targets, tuple(titles[t] for t in goal.targets)).apply(data)
    before, after = (_judged(f, people, goal.codes) for f in (fitted, fitted.refresh(same)))
    rng = generator(context.seed, "hits")
    scores = rng.random((10, 60))
    hits = [promotion(scores, rng.choice(60, n, replace=False)).hits for n in (1, 5, 20)]
    scores[:, :20] += 2
    full = promotion(scores, range(20)).hits
    inside = all(0 <= h <= n / 20 for h, n in zip(hits, (1, 5, 20), strict=True))
    return Outcome(
        f"metrics {'unchanged' if before == after else 'changed'}; hits within [0, |T|/20]: {inside}; {full:.2f} when T fills",
        before == after and inside and full == 1.0,
    )


def order(context: Context) -> Outcome:
    """Vectors moved freely, words searched, words at random: mean places of the targets."""
    import torch
    from torch.nn import functional as F

    from oakum.engine.inputs import ascend

    data, fitted, goal, people = shop(context.folder("amazon-games-2018"), context.seed)
    clean = _judged(fitted, people, goal.codes)
    greedy, spent = _reworded(context, "greedy")
    chance, _ = _reworded(context, "random")
    free = fitted.refresh(data)
    model = free.model
    at = torch.from_numpy(goal.codes.astype("int64"))
    text = model.facts["text"].clone()
    start = F.normalize(text[at], dim=-1)
    with torch.no_grad():
        asked = model.query_vectors(fitted.queries(people))

    def project(x: Any) -> Any:
        along = (x * start).sum(-1, keepdim=True)
        aside = F.normalize(x - along * start, dim=-1)
        x = F.normalize(x, dim=-1)
        least = 1 - NORM
        edge = least * start + (1 - least**2) ** 0.5 * aside
        return torch.where((x * start).sum(-1, keepdim=True) < least, edge, x)

    gain = lambda x: (F.normalize(model.map(x), dim=-1) @ asked.T).mean(-1)
    text[at] = ascend(gain, start, project, steps=60, rate=0.1, direction="unit")
    model.put_facts({**model.facts, "text": text})
    ideal = _judged(free, people, goal.codes)
    told = ", ".join(
        f"{n} {p.rank:.0f} (score {p.score:.3f}, hits@20 {p.hits:.4f})"
        for n, p in (("clean", clean), ("random", chance), ("greedy", greedy), ("free vectors", ideal))
    )
    return Outcome(
        f"mean place among {data.num_items:,}: {told}; cosine of texts at least {1 - spent.cost.norm:.2f}, "
        f"{spent.cost.edits} of {len(goal.targets)} reworded, {spent.cost.queries:,} queries",
        ideal.rank < greedy.rank < chance.rank,
    )


def control(context: Context) -> Outcome:
    """What rewording gains without an aim, against what the aim gains."""
    _, fitted, goal, people = shop(context.folder("amazon-games-2018"), context.seed)
    clean = _judged(fitted, people, goal.codes).score
    aimed, drift = (_reworded(context, w)[0].score - clean for w in ("greedy", "random"))
    return Outcome(f"mean score {drift:+.3f} without an aim, {aimed:+.3f} with it", aimed > drift)


CLAIMS = (
    Claim(
        "hinge", "L_rank is 0.01 where a target just reaches the best; its slope is −1/(|U||T|) or 0", "exact", hinge
    ),
    Claim(
        "itself",
        "A text replaced by itself changes no metric; hits lie in [0, |T|/20] and reach 1",
        "exact",
        itself,
        training=True,
        seconds=30,
    ),
    Claim(
        "order",
        "Free vectors beat the search over words, which beats random words of the category",
        "in mean place",
        order,
        training=True,
        seconds=120,
    ),
    Claim(
        "control",
        "Without a rank term what is gained is style, not attack",
        "less than the attack gains",
        control,
        training=True,
        seconds=60,
    ),
)
