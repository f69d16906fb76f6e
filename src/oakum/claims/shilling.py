"""What the shilling sheet says holds."""

from __future__ import annotations

from typing import Any

from oakum.claims.base import Claim, Context, Outcome

_PROFILES = ("random-profiles", "average-profiles", "bandwagon-profiles", "segment-profiles")


def profiles(context: Context) -> Outcome:
    """Every generator: as many profiles as promised, of the promised length, without duplicates, seeded."""
    import numpy as np

    from oakum.attacks.base import budget_for, cold_targets, propose
    from oakum.catalogue import load_class
    from oakum.data.simulate import Market, simulate

    data = simulate(Market(users=200, items=150, events=6000), seed=context.seed)
    goal = cold_targets(data, 5, seed=1)
    budget = budget_for(data, 0.05)
    bad = []
    for slug in _PROFILES:
        a, b = (propose(load_class(slug)(), data, goal, budget, seed=4).change for _ in range(2))
        rows = [a.profiles.row(r) for r in range(len(a.profiles))]  # type: ignore[attr-defined]
        length = budget.clicks // budget.users
        fine = (
            len(rows) == budget.users
            and all(len(r) == length == len(np.unique(r)) for r in rows)
            and all(np.isin(goal.codes, r).all() for r in rows)
            and a.digest() == b.digest()
        )
        bad += [] if fine else [slug]
    return Outcome("all as promised" if not bad else f"not: {', '.join(bad)}", not bad)


def _detect(context: Context, technique: str, length: int) -> tuple[float, float]:
    """Precision at the true number of fakes, and AUC, of PCA on ML-100K ratings with 47 fakes."""
    import numpy as np

    from oakum.attacks.base import Budget, cold_targets, propose
    from oakum.catalogue import load_class
    from oakum.data.read import read
    from oakum.defences.detect.pca import PCASelectUsers
    from oakum.metrics.calibration import auc

    data = read(context.folder("movielens-100k"))
    goal = cold_targets(data, 1, seed=context.seed)
    selected = 11 if technique == "bandwagon-profiles" else 0  # best-sellers beside the fillers, as in RecAD
    budget = Budget(users=47, clicks=47 * (1 + selected + length))
    cls = load_class(technique)
    chosen = cls(popular_share=selected / (selected + length), popular_pool=1e-6) if selected else cls()
    change = propose(chosen, data, goal, budget, seed=context.seed).change
    poisoned = change.apply(data)
    scores = PCASelectUsers().scores(poisoned)
    fake = np.arange(poisoned.num_users) >= data.num_users
    top = np.argsort(-scores)[:47]
    return float(fake[top].mean()), auc(scores, fake.astype(float))


def pca(context: Context) -> Outcome:
    """PCA precision at 47 for random, average and bandwagon profiles of two lengths."""
    rows: dict[str, Any] = {}
    for technique in ("random-profiles", "average-profiles", "bandwagon-profiles"):
        for length in (84, 18):
            rows[f"{technique} {length}"] = _detect(context, technique, length)
    found = {k: v[0] for k, v in rows.items()}
    holds = (
        min(found[f"{t} {n}"] for t in ("random-profiles", "average-profiles") for n in (84, 18)) >= 0.9
        and found["bandwagon-profiles 84"] >= 0.7
        and found["bandwagon-profiles 18"] <= 0.1
    )
    words = "; ".join(f"{k} {p:.2f} (AUC {a:.2f})" for k, (p, a) in rows.items())
    return Outcome(
        words,
        holds,
        ""
        if holds
        else "The sheet does not say how many best-sellers its bandwagon profiles hold; ours have eleven beside the fillers.",
    )


def removal(context: Context) -> Outcome:
    """Removing exactly the fakes restores the clean model."""
    import numpy as np

    from oakum.attacks.base import budget_for, cold_targets, propose
    from oakum.attacks.profiles.heuristic import RandomProfiles
    from oakum.data.simulate import Market, simulate
    from oakum.defences.base import without_users
    from oakum.engine.fit import fit
    from oakum.models.classic.ease import EASE

    data = simulate(Market(users=300, items=200, events=9000), seed=context.seed)
    change = propose(RandomProfiles(), data, cold_targets(data, 5), budget_for(data, 0.05)).change
    poisoned = change.apply(data)
    restored = without_users(poisoned, np.arange(data.num_users, poisoned.num_users))
    queries = fit(EASE(), data).queries(np.arange(50, dtype=np.int32))
    a, b = fit(EASE(), data).score(queries), fit(EASE(), restored).score(queries)
    gap = float(np.nanmax(np.abs(a - b)))
    return Outcome(f"largest change of a score {gap:.1e}", gap < 1e-5)


CLAIMS = (
    Claim("profiles", "Generators keep count, length, targets and seed", "as stated", profiles, _PROFILES),
    Claim(
        "pca", "PCA finds long profiles and misses short bandwagon ones (ML-100K, 47 fakes)",
        "precision .98 random and average; bandwagon .81 at 84 fillers, .00 at 18", pca, ("pca",), True, 10,
    ),
    Claim("removal", "Removing exactly the fakes restores the clean model", "within seed noise", removal, ("pca",)),
)  # fmt: skip
