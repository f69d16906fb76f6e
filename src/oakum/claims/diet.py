"""What DieT's sheet says holds."""

from __future__ import annotations

from functools import cache
from typing import Any

from oakum.claims.base import Claim, Context, Outcome

PLAN = {"epochs": 60, "batch_size": 64, "learning_rate": 3e-3}
VIEWS = {"UI": ("feedback",), "mm": ("content",), "mm+ui": ("content", "feedback")}


def planted(seed: int, bundles: int = 700, *, items: int = 600, themes: int = 30, noise: float = 4.0, stray: float = 0.6) -> Any:
    """Bundles of 6 items of one theme; item vectors are the theme's and noise; shoppers have two themes each and take what
    sells (Zipf). `bundles` train, a quarter as many are held out. The best-selling fifth is spread over all themes."""
    import numpy as np
    import polars as pl

    from oakum.data import Dataset, Interactions, Relation, Vocabulary
    from oakum.seeds import generator

    rng = generator(seed, "planted bundles")
    theme = rng.permutation(items) % themes
    sells = 1.0 / (1 + rng.permutation(items))
    shoppers, events = 1000, 10
    who = np.repeat(np.arange(shoppers), events)
    tastes = rng.integers(0, themes, (shoppers, 2))[who, rng.integers(0, 2, len(who))]
    tastes = np.where(rng.random(len(who)) < stray, -1, tastes)
    draw = lambda t: rng.choice(items, p=(w := sells * ((theme == t) if t >= 0 else 1)) / w.sum())
    had = np.array([draw(t) for t in tastes], np.int32)
    vectors = rng.normal(size=(themes, 32))[theme] + noise * rng.normal(size=(items, 32))
    whole = bundles + bundles // 4
    inside = [rng.choice(np.flatnonzero(theme == t), 6, replace=False) for t in rng.integers(0, themes, whole)]
    log = Interactions(np.repeat(np.arange(whole), 6).astype(np.int32), np.concatenate(inside).astype(np.int32))
    ids = lambda letter, n: Vocabulary(pl.Series("id", [f"{letter}{k}" for k in range(n)]))
    table = pl.DataFrame({"vector": vectors.astype(np.float32).tolist()})
    feedback = Relation("shoppers", "items", who.astype(np.int32), had)
    return Dataset(log, ids("b", whole), ids("i", items), {"items": table}, {"feedback": feedback}, name="planted bundles")


def cut(data: Any, seed: int) -> Any:
    """A fifth of the bundles held out: best-sellers given, the others asked for."""
    from oakum.splits import split

    return split(data, "popular-given", seed=seed, test=0.2, valid=0.0)


def trained(parts: Any, seed: int, *, views: tuple[str, ...], beta: float | None = None, plan: Any = None, **settings: Any) -> Any:
    """DieT, or CLHE where no beta is given."""
    from oakum.engine.fit import fit
    from oakum.models.bundle.clhe import CLHE
    from oakum.models.bundle.diet import DieT

    own = {"views": views, **settings}
    if "items" in parts.train.tables and "vector" in parts.train.tables["items"].columns:
        own = {"vectors": "vector", **own}
    spec = CLHE(**own) if beta is None else DieT(beta=beta, **own)
    return fit(spec, parts.train, plan={**PLAN, **(plan or {})}, seed=seed)


def taught(fitted: Any) -> Any:
    """The teacher's opinion as something that ranks."""
    from oakum.engine.closed import pick

    class Opinion:
        def score(self, queries: Any, items: Any = None) -> Any:
            return pick(fitted.model.eval().teacher_scores(queries).numpy(), items)

    return Opinion()


def asked(parts: Any, scorer: Any, k: int = 20, *, tail_only: bool = False) -> dict[str, float]:
    """recall@k of what is asked for, and the share of best-sellers among what is shown."""
    import numpy as np

    from oakum.metrics import measure
    from oakum.recommending import rank
    from oakum.splits.bundles import popular_items

    truth, popular = parts.truth(), popular_items(parts.train)
    truth = truth.within(np.flatnonzero(~popular).astype(np.int32)) if tail_only else truth
    found = rank(scorer, truth.queries, k, where=truth.filter())
    name = f"recall@{k}"
    recall = float(np.mean(measure(found, truth, [name])[name]))
    return {name: recall, "popular": float(popular[found.items[found.items >= 0]].mean())}
