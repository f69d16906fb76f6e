"""What VAT's sheet says holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from oakum.claims.base import Claim, Context, Outcome

SEEDS = (0, 1)


def closed_form(context: Context) -> Outcome:
    """The perturbed margin in closed form against the one through autograd."""
    import torch

    from oakum.nn.perturb import worst

    torch.manual_seed(context.seed)
    eps = 0.3
    reps = {n: torch.randn(64, 8, dtype=torch.float64, requires_grad=True) for n in ("query", "positive")}
    reps["negative"] = torch.randn(64, 1, 8, dtype=torch.float64, requires_grad=True)

    def margin(r: dict[str, Any]) -> Any:
        return (r["query"] * (r["positive"] - r["negative"][:, 0])).sum(-1)

    x = margin(reps)
    found = margin(worst(torch.nn.functional.softplus(-x).mean(), reps, eps))
    p, q = reps["query"], reps["positive"] - reps["negative"][:, 0]
    cos = torch.nn.functional.cosine_similarity(p, q, dim=-1)
    wanted = x - eps * q.norm(dim=-1) - 2 * eps * p.norm(dim=-1) + 2 * eps**2 * cos
    gap = float((found - wanted).detach().abs().max())
    return Outcome(f"largest deviation {gap:.1e}", gap < 1e-5)


def equal_users(context: Context) -> Outcome:
    """λ = 1 for equal user losses; falling in L_u; within (0.5378, 2]."""
    import torch

    from oakum.plugins.vat import VAT, user_losses

    plugin = VAT(eps=1.0).build(None)
    losses = torch.full((8,), 0.7)
    users = torch.arange(8)
    own, mean = user_losses(users, losses, "mean")
    same = float((2 * torch.sigmoid(mean / (own + 1e-9) - 1) - 1).abs().max())
    grid = torch.linspace(1e-4, 20, 2000)
    lam = plugin.spec.rho * torch.sigmoid(1.0 / (grid + 1e-9) - 1)
    falling = bool((lam[1:] <= lam[:-1]).all()) and bool((lam[100:][1:] < lam[100:][:-1]).all())
    inside = float(lam.min()) > 0.5378 and float(lam.max()) <= 2.0
    return Outcome(
        f"λ − 1 = {same:.1e}; range [{float(lam.min()):.4f}, {float(lam.max()):.4f}]",
        same < 1e-6 and falling and inside,
    )


def no_move(context: Context) -> Outcome:
    """eps = 0 is BPR plus γ BPR; gamma = 0 is no plug-in, to the last bit."""
    import torch

    from oakum.data.simulate import Market, simulate
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF
    from oakum.plugins.vat import VAT

    data = simulate(Market(users=60, items=50, events=1500), seed=context.seed)
    plan = {"epochs": 3, "batch_size": 256, "learning_rate": 1e-2, "step": None}
    plain = fit(BPRMF(l2=1e-4), data, plan=plan, seed=1)
    off = fit(BPRMF(l2=1e-4), data, plan=plan, seed=1, plugins=[VAT(gamma=0.0, begin=0)])
    still = fit(BPRMF(l2=1e-4), data, plan=plan, seed=1, plugins=[VAT(eps=0.0, begin=0)])
    same = all(
        torch.equal(a, b)
        for a, b in zip(plain.model.state_dict().values(), off.model.state_dict().values(), strict=True)
    )
    losses = still.record.history[0]["losses"]
    twice = abs(losses["adversarial"] - losses["bpr"]) < 1e-6
    return Outcome(
        f"gamma 0 {'equal' if same else 'differs'}; eps 0: adversarial − bpr = {losses['adversarial'] - losses['bpr']:.1e}",
        same and twice,
    )


@dataclass(frozen=True)
class _Bench:
    """ML-100K, 10-core, first 80 % of each user's events train; 5 targets of 15..30 clicks; 5 % fakes of 60 events."""

    split: Any
    goal: Any
    logs: dict[str, Any]
    owned: Any


@cache
def _bench(data_dir: Any, seed: int) -> _Bench:
    import numpy as np
    import polars as pl

    from oakum.attacks.base import Budget, Goal, owned_by, propose
    from oakum.attacks.profiles.heuristic import BandwagonProfiles, RandomProfiles
    from oakum.claims.common import ten_core
    from oakum.data.read import read
    from oakum.seeds import generator
    from oakum.splits.rules import _parts

    frame = pl.read_parquet(data_dir / "interactions.parquet").select("user_id", "item_id", "timestamp")
    data = read(ten_core(frame), name="movielens-100k, 10-core")
    log = data.interactions
    order = log.order()
    counts = np.bincount(log.users, minlength=data.num_users)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.empty(len(log), np.int64)
    place[order] = np.arange(len(log)) - starts[log.users[order]]
    late = place >= np.ceil(0.8 * counts)[log.users]
    split = _parts(data, "leave-last", ~late, np.zeros(len(log), bool), late)
    n = split.train.item_counts
    pool = np.flatnonzero((n >= 15) & (n <= 30))
    goal = Goal(tuple(int(i) for i in generator(seed, "targets of the claims").choice(pool, 5, replace=False)))
    fakes = round(0.05 * data.num_users)
    budget = Budget(users=fakes, clicks=fakes * 60)
    logs = {"clean": split.train}
    for name, technique in (("random", RandomProfiles()), ("bandwagon", BandwagonProfiles(popular_share=0.1))):
        logs[name] = propose(technique, split.train, goal, budget, seed=seed).poisoned
    return _Bench(split, goal, logs, owned_by(split.train, [split.test]))


@dataclass(frozen=True)
class _Fit:
    """Recall@20 on the test part, hits of the targets in lists of 50 [users, targets], and each user's own loss."""

    recall: float
    hits: Any
    losses: Any


@cache
def _fit(data_dir: Any, log: str, plugin: str, eps: float, seed: int, epochs: int = 60) -> _Fit:
    import numpy as np

    from oakum.attacks.drill import exposures
    from oakum.claims.common import quality
    from oakum.engine.fit import fit
    from oakum.models.classic.bpr_mf import BPRMF
    from oakum.plugins.apr import APR
    from oakum.plugins.vat import VAT, PamaCF

    bench = _bench(data_dir, 0)
    plan = {"optimiser": "adamw", "learning_rate": 5e-3, "epochs": epochs, "batch_size": 2048}
    kinds: dict[str, Any] = {
        "apr": lambda: APR(eps=eps),
        "vat": lambda: VAT(eps=eps),
        "vat-sum": lambda: VAT(eps=eps, aggregate="sum"),
        "pamacf": lambda: PamaCF(eps=eps),
        "random": lambda: APR(eps=eps, direction="random"),
    }
    plugins = [kinds[plugin]()] if plugin else []
    fitted = fit(BPRMF(l2=2e-4, draw="users"), bench.logs[log], plan=plan, plugins=plugins, seed=seed)
    train = bench.split.train
    people = np.arange(train.num_users, dtype=np.int32)
    hits = exposures(fitted, people, train, bench.goal.codes, bench.owned, (50,))["t_hr@50"]
    scores = fitted.score(fitted.queries(people)).astype(np.float64)
    losses = np.full(len(people), np.nan)
    for u in people:
        own = np.zeros(train.num_items, bool)
        own[train.histories.row(u)] = True
        losses[u] = np.logaddexp(0, scores[u][~own][None, :] - scores[u][own][:, None]).mean()
    return _Fit(quality(fitted, bench.split, ("recall@20",))["recall@20"], hits, losses)


def _runs(context: Context, log: str, plugin: str = "", eps: float = 0.0, epochs: int = 60) -> list[_Fit]:
    folder = context.folder("movielens-100k")
    return [_fit(folder, log, plugin, eps, s, epochs) for s in SEEDS]


def _figures(runs: list[_Fit]) -> tuple[float, float]:
    """Recall@20 and T-HR@50, means over seeds."""
    import numpy as np

    hits = [float(np.nanmean(np.nanmean(r.hits, 0))) for r in runs]
    return sum(r.recall for r in runs) / len(runs), sum(hits) / len(hits)


def _apart(a: list[_Fit], b: list[_Fit]) -> Any:
    """Exposure of a minus exposure of b on the same people, pooled over seeds."""
    from oakum.metrics.over_seeds import pooled
    from oakum.metrics.robustness import exposure_by_user
    from oakum.metrics.statistics import estimate

    return pooled([estimate(exposure_by_user(x.hits) - exposure_by_user(y.hits)) for x, y in zip(a, b, strict=True)])


def _words(rows: dict[str, tuple[float, float]]) -> str:
    return "; ".join(f"{k} {r:.3f} / {t:.4f}" for k, (r, t) in rows.items())


def _drill(context: Context, log: str, more: tuple[tuple[str, str, float], ...] = ()) -> Outcome:
    runs = {"BPR": _runs(context, log)}
    for name, slug, eps in (("APR", "apr", 0.3), ("VAT", "vat", 0.3), ("PamaCF", "pamacf", 0.3), *more):
        runs[f"{name}({eps})"] = _runs(context, log, slug, eps)
    rows = {k: _figures(v) for k, v in runs.items()}
    vat, apr, bpr = rows["VAT(0.3)"], rows["APR(0.3)"], rows["BPR"]
    parts = {
        "VAT's exposure below APR's": vat[1] < apr[1],
        "VAT's recall within .003 of APR's": vat[0] >= apr[0] - 0.003,
        "both better than BPR on both": min(vat[0], apr[0]) > bpr[0] and max(vat[1], apr[1]) < bpr[1],
    }
    failed = [k for k, v in parts.items() if not v]
    gap, gain = _apart(runs["VAT(0.3)"], runs["APR(0.3)"]), _apart(runs["VAT(0.3)"], runs["BPR"])
    why = f"Fails: {', '.join(failed)}. " if failed else ""
    if gap.high >= 0:
        why += "The interval of VAT − APR holds 0: in this run the two cannot be told apart. "
    if gain.high >= 0:
        why += "The interval of VAT − BPR holds 0. "
    return Outcome(
        f"{_words(rows)} (recall@20 / T-HR@50); exposure VAT − APR {gap}, VAT − BPR {gain}", not failed, why.strip()
    )


def random_fakes(context: Context) -> Outcome:
    """5 % random fakes, at two sizes, and with the sums of the paper's code."""
    more = (("APR", "apr", 0.1), ("VAT", "vat", 0.1), ("VAT with sums", "vat-sum", 0.3))
    return _drill(context, "random", more)


def bandwagon_fakes(context: Context) -> Outcome:
    """5 % bandwagon fakes."""
    return _drill(context, "bandwagon")


def clean_price(context: Context) -> Outcome:
    """On clean data adversarial training must not cost accuracy at a tuned eps."""
    rows = {
        "BPR": _figures(_runs(context, "clean")),
        "APR(0.3)": _figures(_runs(context, "clean", "apr", 0.3)),
        "VAT(0.3)": _figures(_runs(context, "clean", "vat", 0.3)),
    }
    worse = [k for k, v in rows.items() if v[0] < rows["BPR"][0]]
    return Outcome(_words(rows), not worse, f"Costs accuracy: {', '.join(worse)}." if worse else "")


def size_curve(context: Context) -> Outcome:
    """A large eps costs accuracy while BPR does not yet overfit."""
    plain = _figures(_runs(context, "clean", epochs=20))[0]
    curve = {e: _figures(_runs(context, "clean", "vat", e, 20))[0] for e in (0.1, 0.3, 0.5, 0.8)}
    words = f"BPR {plain:.3f}; " + ", ".join(f"eps {e} {r:.3f}" for e, r in curve.items())
    return Outcome(f"recall@20 after 20 epochs: {words}", curve[0.5] < plain)


def random_direction(context: Context) -> Outcome:
    """A random move of equal length helps less than the gradient's."""
    runs = {
        "BPR": _runs(context, "random"),
        "APR(0.3)": _runs(context, "random", "apr", 0.3),
        "random direction (0.3)": _runs(context, "random", "random", 0.3),
    }
    rows = {k: _figures(v) for k, v in runs.items()}
    gap = _apart(runs["APR(0.3)"], runs["random direction (0.3)"])
    control, apr = rows["random direction (0.3)"], rows["APR(0.3)"]
    holds = control[0] < apr[0] and gap.high < 0
    order = "have the order claimed" if control[0] < apr[0] and control[1] > apr[1] else "do not have the order claimed"
    why = (
        ""
        if holds
        else f"The means {order}, but the interval of the difference in exposure holds 0 over {len(SEEDS)} seeds."
    )
    return Outcome(f"{_words(rows)}; exposure gradient − random {gap}", holds, why)


def vulnerability(context: Context) -> Outcome:
    """Whether a low training loss tells who will be shown a target: what VAT presumes.

    Lists also change by chance between two fits. So those who were shown a target only *without* the fakes are the
    control: what tells them apart equally well tells nothing about the attack.
    """
    import numpy as np

    from oakum.metrics.calibration import auc
    from oakum.metrics.robustness import reach

    found: dict[str, list[float]] = {"won": [], "lost": []}
    errors, people = [], []
    for log in ("random", "bandwagon"):
        for clean, poisoned in zip(_runs(context, "clean"), _runs(context, log), strict=True):
            for name, labels in (("won", reach(clean.hits, poisoned.hits)), ("lost", reach(poisoned.hits, clean.hits))):
                counts = np.isfinite(labels) & np.isfinite(poisoned.losses)
                n, rest = int(labels[counts].sum()), int((1 - labels[counts]).sum())
                if n < 10:
                    continue
                found[name].append(auc(-poisoned.losses[counts], labels[counts]))
                if name == "won":
                    errors.append(float(np.sqrt((1 / n + 1 / rest) / 12)))
                    people.append(n)
    if not found["won"] or not found["lost"]:
        return Outcome("fewer than ten people were affected in every run", False, "Too few to measure an AUC.")
    won, lost = (float(np.mean(found[k])) for k in ("won", "lost"))
    half = 1.96 * float(np.mean(errors))  # the same people in every run: the error does not shrink
    holds = won - half > max(0.5, lost)
    why = "" if holds else "A low loss does not tell the affected from those whose lists change by chance alone."
    return Outcome(
        f"mean AUC {won:.2f} ± {half:.2f} for people newly shown a target ({', '.join(map(str, people))} people in four runs); "
        f"control, people no longer shown one: {lost:.2f}",
        holds,
        why,
    )


@cache
def _next_item(data_dir: Any, base: str, eps: float, seed: int) -> tuple[float, Any]:
    """Recall@20 and hits of the targets in lists of 50 [users, targets] of a sequence model on the log with random fakes."""
    import numpy as np

    from oakum.attacks.drill import exposures
    from oakum.claims.common import quality
    from oakum.engine.fit import fit
    from oakum.models.sequential.gru4rec import GRU4Rec
    from oakum.models.sequential.hstu import HSTU
    from oakum.models.sequential.sasrec import SASRec
    from oakum.plugins.vat import VAT

    size: dict[str, Any] = {"embedding_dim": 32, "max_length": 50, "dropout": 0.2}
    made = {"SASRec": SASRec(**size, loss="bce"), "GRU4Rec": GRU4Rec(**size), "HSTU": HSTU(**size, num_negatives=32)}
    bench = _bench(data_dir, 0)
    plugins = [VAT(eps=eps)] if eps else []
    plan = {"epochs": 10, "batch_size": 32, "learning_rate": 5e-3}
    fitted = fit(made[base], bench.logs["random"], plan=plan, plugins=plugins, seed=seed)
    people = np.arange(bench.split.train.num_users, dtype=np.int32)
    hits = exposures(fitted, people, bench.split.train, bench.goal.codes, bench.owned, (50,))["t_hr@50"]
    return quality(fitted, bench.split, ("recall@20",))["recall@20"], hits


def sequence_models(context: Context, eps: float = 0.3) -> Outcome:
    """VAT over three models that say what comes next, under three losses."""
    import numpy as np

    from oakum.metrics.over_seeds import pooled
    from oakum.metrics.robustness import exposure_by_user
    from oakum.metrics.statistics import estimate

    folder = context.folder("movielens-100k")
    words, failed, unsure = [], [], []
    for base in ("SASRec", "GRU4Rec", "HSTU"):
        plain, acted = ([_next_item(folder, base, e, s) for s in SEEDS] for e in (0.0, eps))
        rows = [
            (float(np.mean([r for r, _ in x])), float(np.mean([np.nanmean(h) for _, h in x]))) for x in (plain, acted)
        ]
        gap = pooled(
            [estimate(exposure_by_user(a[1]) - exposure_by_user(p[1])) for a, p in zip(acted, plain, strict=True)]
        )
        (recall, reach), (recall_vat, reach_vat) = rows
        words.append(f"{base} {recall:.3f} / {reach:.4f}, with VAT {recall_vat:.3f} / {reach_vat:.4f} (exposure {gap})")
        if recall_vat < recall - 0.003 or reach_vat > reach:
            failed.append(base)
        if gap.low <= 0 <= gap.high:
            unsure.append(base)
    why = f"Not so over {', '.join(failed)}. " if failed else ""
    why += f"The interval of the difference in exposure holds 0 over {', '.join(unsure)}." if unsure else ""
    return Outcome(f"recall@20 / T-HR@50: {'; '.join(words)}", not failed, why.strip())


_TABLE = ("apr", "vat", "pamacf")
CLAIMS = (
    Claim("closed-form", "The perturbed margin equals its closed form", "to 1e-5", closed_form, _TABLE),
    Claim("equal-users", "λ = 1 for equal losses, falls in L_u, lies in (0.5378, 2]", "as stated", equal_users, ("vat",)),
    Claim("no-move", "eps = 0 doubles BPR, gamma = 0 changes nothing", "exactly", no_move, _TABLE),
    Claim(
        "random-fakes", "ML-100K, 5 % random fakes: VAT(0.3) below APR(0.3) in exposure at equal recall, both better than BPR",
        "BPR .184 / .0070, APR(.1) .190 / .0064, VAT(.1) .196 / .0054, APR(.3) .209 / .0034, VAT(.3) .208 / .0007, "
        "PamaCF(.3) .209 / .0041", random_fakes, _TABLE, True, 180,
    ),
    Claim(
        "bandwagon-fakes", "The same with bandwagon fakes",
        "BPR .184 / .0078, APR .206 / .0043, VAT .204 / .0015, PamaCF .204 / .0043", bandwagon_fakes, _TABLE, True, 120,
    ),
    Claim("clean-price", "Clean data: no loss of recall at eps 0.3", "BPR .188, APR .209, VAT .207", clean_price, _TABLE, True, 60),
    Claim(
        "size-curve", "Clean data, few epochs: eps 0.5 costs recall", "BPR .192, eps 0.5 .174", size_curve, ("vat",), True, 60,
    ),
    Claim("random-direction", "A random direction of equal norm helps less", "less recall, more exposure", random_direction, _TABLE, True, 60),
    Claim(
        "vulnerability", "A low training loss tells who will be shown a target (AUC above 0.5)",
        "the paper presumes it; .42 to .57 in the sheet's runs", vulnerability, ("vat",), True, 10,
    ),
    Claim(
        "sequence-models", "ML-100K, 5 % random fakes, over SASRec, GRU4Rec and HSTU at eps 0.3: no more exposure, recall within .003 or above",
        "as over matrix factorisation (not in the paper)", sequence_models, ("vat",), True, 150,
    ),
)  # fmt: skip
