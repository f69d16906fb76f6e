"""What the sheet of the scorecard says holds, and the table of two defences against nothing and against noise."""

from __future__ import annotations

from typing import Any

from oakum.claims.against import TECHNIQUES, lorec, vat
from oakum.claims.base import Claim, Context, Outcome


def itself(context: Context) -> Outcome:
    """A model compared with itself; one that shows all targets to everybody."""
    import numpy as np

    from oakum.attacks.imitate import likeness
    from oakum.data.simulate import Market, simulate
    from oakum.engine.fit import fit
    from oakum.metrics import robustness as r
    from oakum.metrics.stability import churn, frbo, jaccard
    from oakum.models.classic.knn import ItemKNN

    data = simulate(Market(users=150, items=100, events=4000), seed=context.seed)
    model = fit(ItemKNN(), data)
    people = np.arange(data.num_users, dtype=np.int32)
    ranking = model.rank(model.queries(people), 10)
    targets = np.argsort(data.item_counts)[:5]
    hits = r.target_hits(ranking, targets, data.matrix, 10)
    ranks = r.target_ranks(model.score(model.queries(people)), targets)
    values = np.random.default_rng(context.seed).random(len(people))
    alike = likeness(model, model, model.queries(people))
    zero = {
        "lift": r.lift(hits, hits).value,
        "rank shift": float(np.nanmax(np.abs(r.rank_shift(ranks, ranks, data.num_items)))),
        "reach": float(np.nanmax(r.reach(hits, hits))),
        "churn": float(np.nanmax(churn(ranking, ranking, 10))),
    }
    one = {
        "QR": r.retention(values, values).value,
        "FRBO": float(np.nanmin(frbo(ranking, ranking, 10))),
        "Jaccard": float(np.nanmin(jaccard(ranking, ranking, 10))),
        "Agr@10": float(np.nanmin(alike["agr@10"])),
    }
    undone = r.success_reduction(hits, hits, hits).value
    nobody = np.zeros((50, data.num_items), np.int8)
    from scipy import sparse

    lists = np.tile(np.concatenate([targets, np.setdiff1d(np.arange(data.num_items), targets)])[:10], (50, 1))
    free = sparse.csr_matrix(nobody)
    full = float(np.nanmean(r.target_hits(lists, targets, free, 10)))
    ndcg = float(np.nanmean(r.target_ndcg(lists, targets, free, 10)))
    wanted = float(np.mean(1 / np.log2(np.arange(2, 7))))
    holds = not any(zero.values()) and all(abs(v - 1) < 1e-12 for v in one.values()) and undone != undone
    holds &= full == 1 and abs(ndcg - wanted) < 1e-12
    return Outcome(
        f"zero: {', '.join(f'{k} {v:g}' for k, v in zero.items())}; one: {', '.join(f'{k} {v:g}' for k, v in one.items())}; SR "
        f"{undone}; all targets to all: T-HR {full:g}, T-NDCG {ndcg:.6f} ({wanted:.6f})",
        bool(holds),
    )


def counted(context: Context) -> Outcome:
    """Sorted lists against the formula by counting, and ER against T-HR."""
    import numpy as np
    from scipy import sparse

    from oakum.data import Queries, Ragged
    from oakum.metrics import robustness as r
    from oakum.recommending import rank
    from oakum.seeds import generator

    rng = generator(context.seed, "score rows")
    n, items, k = 1000, 200, 20
    scores = rng.normal(size=(n, items)).astype(np.float32)
    targets = rng.choice(items, 5, replace=False)
    test = Ragged.of([rng.choice(items, 4, replace=False).tolist() for _ in range(n)])

    class Rows:
        """Given scores."""

        def score(self, queries: Queries, chosen: Any = None) -> Any:
            """The rows."""
            return scores[queries.users] if chosen is None else scores[queries.users][:, chosen]

    asked = Queries(np.arange(n, dtype=np.int32), Ragged.empty(n))
    ranking = rank(Rows(), asked, k + 4)
    sorted_ = r.target_hits(ranking, targets, sparse.csr_matrix((n, items)), k)
    by_count = (r.target_ranks(scores, targets) <= k).astype(float)
    wrong = int((sorted_ != by_count).sum())
    own = test.matrix(items)  # whose test item a target is does not count for it
    shown, er = r.target_hits(ranking, targets, own, k), r.exposure_ratio(ranking, targets, own, test, k)
    below = int((er < shown).sum())
    return Outcome(
        f"{wrong} of {sorted_.size:,} differ from 1 + #{{s_i > s_t}} ≤ {k}; ER below T-HR for {below} pairs, mean ER "
        f"{float(np.nanmean(er)):.4f}, T-HR {float(np.nanmean(shown)):.4f}",
        wrong == 0 and below == 0,
    )


def fakes(context: Context) -> Outcome:
    """A thousand fakes in the evaluation table."""
    import numpy as np
    from scipy import sparse

    from oakum.metrics import robustness as r
    from oakum.seeds import generator

    rng = generator(context.seed, "with fakes")
    lists = np.argsort(rng.random((1400, 60)), axis=1)[:, :20].astype(np.int32)
    owned = sparse.csr_matrix(rng.random((1400, 60)) < 0.05)
    real = np.arange(1400) < 400
    targets = np.arange(5)
    alone = r.target_hits(lists[:400], targets, owned[:400], 20)
    among = r.target_hits(lists, targets, owned, 20, genuine=real)
    pairs = {
        "T-HR": (r.exposure(alone).value, r.exposure(among).value),
        "reach": tuple(float(np.nanmean(r.reach(x * 0, x))) for x in (alone, among)),
        "lift": tuple(r.lift(np.where(np.isnan(x), x, 0.0), x).value for x in (alone, among)),
    }
    moved = [n for n, (a, b) in pairs.items() if abs(a - b) > 1e-9]
    words = ", ".join(f"{n} {a:.6f} and {b:.6f}" for n, (a, b) in pairs.items())
    return Outcome(f"400 people alone and among 1,000 fakes: {words}", not moved)


def coverage(context: Context, repetitions: int = 1000, people: int = 400) -> Outcome:
    """Intervals of T-HR where its true value is known."""

    from oakum.metrics.robustness import exposure
    from oakum.seeds import generator

    rng = generator(context.seed, "coverage")
    found = {}
    for rate in (0.05, 0.2):
        inside = 0
        for i in range(repetitions):
            e = exposure((rng.random((people, 5)) < rate).astype(float), seed=i, resamples=500)
            inside += e.low <= rate <= e.high
        found[rate] = inside / repetitions
    return Outcome(
        "; ".join(f"T-HR {r:g}: {c:.1%} of {repetitions:,} intervals hold it" for r, c in found.items()),
        all(0.93 <= c <= 0.97 for c in found.values()),
    )


def quick(context: Context, people: int = 0) -> Outcome:
    """The quick audit of matrix factorisation twice, from nothing. people: of the log's people, how many; 0 takes all."""
    import time

    import numpy as np
    import polars as pl

    from oakum.audits.scorecard import audit
    from oakum.data.read import read

    frame = pl.read_parquet(context.folder("movielens-100k") / "interactions.parquet").select(
        "user_id", "item_id", "timestamp"
    )
    if people:
        chosen = frame.select("user_id").unique().sort("user_id").head(people)
        frame = frame.join(chosen, on="user_id", how="semi", maintain_order="left")
    took, planks, figures = [], [], []
    for _ in range(2):
        began = time.monotonic()
        report = audit(read(frame, name="movielens-100k"), ["bpr-mf"], seed=context.seed, workers=2)
        took.append(time.monotonic() - began)
        planks.append(report.plank)
        figures.append({(f.slug, f.subject): f.loss for f in report.findings})
    equal = figures[0].keys() == figures[1].keys() and all(
        a == b or (a is None and b is None) for a, b in ((figures[0][k], figures[1][k]) for k in figures[0])
    )
    return Outcome(
        f"{' and '.join(f'{t:.0f} s' for t in took)} with two workers; plank '{planks[0]}' and '{planks[1]}'; losses "
        f"{'equal' if equal else 'differ'} in {len(figures[0])} findings",
        bool(np.max(took) < 600 and planks[0] == planks[1] and equal),
        "" if equal and np.max(took) < 600 else "Slower than ten minutes, or the two runs part.",
    )


_SAYS = {"bandwagon-profiles": "bandwagon", "average-profiles": "average", "revadv-profiles": "gradient (revadv)"}
_LESS = "less exposure than undefended and than noise, beyond the intervals"
_ALL = ("poisoning-drill", "grid")
CLAIMS = (
    Claim("1", "A model beside itself: no lift, no shift, all agreement; targets to all: T-HR 1", "exact", itself, _ALL),
    Claim("2", "T-HR by sorting is T-HR by counting on 1,000 score rows; ER is never below", "equal; ER ≥ T-HR", counted, _ALL),
    Claim("3", "1,000 fakes in the table change no number", "equal", fakes, _ALL),
    Claim("4", "95 % intervals of T-HR hold the truth in 93 to 97 % of 1,000 draws", "93 to 97 %", coverage, _ALL, False, 5),
    Claim("5", "MovieLens-100K, BPR-MF, quick audit: within ten minutes, and twice the same plank", "600 s; equal", quick, _ALL, True, 150),
    *(
        Claim(
            f"against-vat-{t.removesuffix('-profiles')}",
            f"VAT (ε 0.3) on BPR-MF, MovieLens-100K, 5 % {_SAYS[t]} accounts, two seeds; noise: moves of the same lengths at random",
            _LESS, vat(t), ("grid",), True, 90,
        )
        for t in TECHNIQUES
    ),
    *(
        Claim(
            f"against-lorec-{t.removesuffix('-profiles')}",
            f"LoRec on SASRec, MovieLens-100K, 1 % {_SAYS[t]} accounts, taught on random ones; noise: its weights, shuffled",
            _LESS, lorec(t), ("grid",), True, 120,
        )
        for t in TECHNIQUES
    ),
)  # fmt: skip
